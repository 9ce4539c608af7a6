// Two layers left and right of a line: what is clipped, and what is told of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
await import("../../widgets/muses_widgets/js/sections/swipe.js");
const { sectionKinds } = await import("../../widgets/muses_widgets/js/sections.js");

const row = (id) => {
  const container = document.createElement("div");
  return { entry: { id, name: id.toUpperCase() }, visible: true, layer: { getContainer: () => container }, container, setModel: () => {} };
};

function section(rows, swipe = {}) {
  const traits = { swipe };
  let saved = 0;
  const panel = {
    model: {
      get: (name) => traits[name],
      set: (name, value) => {
        traits[name] = value;
      },
      save_changes: () => {
        saved += 1;
      },
    },
    map: {
      getContainer: () => document.createElement("div"),
      getSize: () => ({ x: 1000, y: 500 }),
      containerPointToLayerPoint: () => ({ x: -20, y: 30 }),
    },
    onMap: () => {},
    onModel: () => {},
    ownRows: rows,
    visibleRows: rows,
    guard: (work) => work(),
    save: (changes) => Object.assign(traits, changes),
  };
  const made = sectionKinds().find(({ name }) => name === "swipe").make(panel);
  made.connected();
  return { made, traits, panel, saved: () => saved };
}

test("each layer is clipped to its side of the line, in the layers' own pixels", () => {
  const [a, b] = [row("a"), row("b")];
  const { made } = section([a, b], { left: "a", right: "b", at: 0.25 });
  assert.equal(a.container.style.clip, "rect(30px, 230px, 530px, -20px)");
  assert.equal(b.container.style.clip, "rect(30px, 980px, 530px, 230px)");
  assert.equal(made.line.style.left, "25.00%");
  made.remove();
  assert.equal(a.container.style.clip, "");
});

test("the keyboard moves the line, and not beyond the map", () => {
  const { made, traits, saved } = section([row("a"), row("b")], { left: "a", right: "b", at: 0.99 });
  const press = (key) => made.key({ key, preventDefault: () => {}, stopPropagation: () => {} });
  press("ArrowRight");
  assert.equal(traits.swipe.at, 1);
  press("Home");
  assert.equal(traits.swipe.at, 0);
  assert.equal(made.handle.getAttribute("aria-valuenow"), "0");
  press("x");
  assert.equal(saved(), 2);
});

test("the box compares the two uppermost layers; a layer that is gone ends it", () => {
  const rows = [row("a"), row("b"), row("c")];
  const { made, traits, panel } = section(rows);
  assert.ok(made.line.hidden);
  made.box.checked = true;
  made.toggle();
  assert.deepEqual(traits.swipe, { left: "b", right: "a", at: 0.5 });
  assert.ok(!made.line.hidden);
  panel.ownRows = [rows[0], rows[2]];
  made.layersChanged();
  assert.ok(made.line.hidden);
});

test("a layer that is chosen for both sides changes places with the other", () => {
  const { made, traits } = section([row("a"), row("b")], { left: "a", right: "b", at: 0.5 });
  made.right.value = "a";
  made.left.value = "a";
  made.choose();
  assert.deepEqual(traits.swipe, { left: "b", right: "a", at: 0.5 });
});
