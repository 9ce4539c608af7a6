// The histogram of the view: what is counted when, how the limits are moved, and what is sent of them.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { openPage } from "./page.js";

const page = openPage();
globalThis.ResizeObserver = class {
  observe() {}
  disconnect() {}
};
globalThis.requestAnimationFrame = (draw) => {
  draw();
  return null;
};
const { Look } = await import("../../widgets/muses_widgets/js/look.js");
const { Histogram, describe, outline } = await import("../../widgets/muses_widgets/js/sections/histogram.js");

const STOPS = [[0, "#000000"], [1, "#ffffff"]];
const COUNT = { state: "done", low: -1, high: 1, curves: [{ label: "", colour: "", counts: [1, 2, 4, 2] }], percentiles: [-0.5, 0.7], values: 9000, missing: 1000, text: "" };

function row(id, legend = { kind: "continuous", vmin: 0, vmax: 1, stops: STOPS }) {
  return { entry: { id, name: id, chain: `chain of ${id}`, style: "one", legend } };
}

/** The section of a panel with these layers, unfolded; what it sends, and how the kernel tells. */
function histogram({ rows = [row("NDVI")], hasKernel = true } = {}) {
  const sections = {};
  const sent = [];
  const panel = {
    signal: new AbortController().signal,
    model: { get: () => sections, send: (message) => sent.push(message) },
    map: { getBounds: () => ({ getWest: () => 1, getSouth: () => 43, getEast: () => 2, getNorth: () => 44 }), getZoom: () => 11 },
    visibleRows: rows,
    hasKernel,
    view: { id: "view" },
    guard: (work) => work(),
    tell: (call) => call(made),
    save: ({ layers }) => layers,
  };
  for (const one of rows) Object.assign(one, { look: new Look(panel, one), recolour: () => {}, drawLegend: () => {} });
  const made = new Histogram(panel);
  document.body.append(made.element);
  let seen = true;
  Object.defineProperty(made, "isSeen", { get: () => seen });
  made.update();
  return {
    made,
    panel,
    sent,
    rows,
    fold: () => (seen = false),
    answer(state = COUNT) {
      sections.histogram = { layer: rows[0].entry.id, asked: sent.findLast(({ section }) => section === "histogram").asked, ...state };
      made.told();
    },
    handle: (end) => made.element.querySelector(`.muses-histogram-${end}`),
    field: (end) => made.element.querySelectorAll("input")[end === "vmin" ? 0 : 1],
    stretch: made.element.querySelector("button"),
    note: made.element.querySelector("[role=status]"),
    stretches: () => sent.filter(({ section }) => section === "colours").map(({ values, ...told }) => ({ ...told, vmin: values["style.vmin"], vmax: values["style.vmax"] })),
  };
}

const key = (element, name) => element.dispatchEvent(new page.KeyboardEvent("keydown", { key: name, bubbles: true }));

test("the view of the layer is counted once, anew when either is another, and never folded", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { made, sent, rows, panel, fold } = histogram();
  assert.deepEqual(sent.map(({ section, layer, bounds, zoom }) => [section, layer, bounds, zoom]), [["histogram", "NDVI", [1, 43, 2, 44], 11]]);
  made.layersChanged();
  assert.equal(sent.length, 1);
  rows[0].entry.chain = "another";
  made.layersChanged();
  assert.equal(sent.length, 2);
  panel.map.getZoom = () => 12;
  made.viewChanged();
  made.viewChanged();
  mock.timers.tick(1000);
  assert.equal(sent.length, 3);
  fold();
  panel.map.getZoom = () => 13;
  made.viewChanged();
  mock.timers.tick(1000);
  assert.equal(sent.length, 3);
  mock.timers.reset();
});

test("limits stand where the style has them, named and with their values for readers of the screen", () => {
  const { answer, handle, field } = histogram();
  answer();
  assert.equal(handle("vmin").style.left, "50%");
  assert.equal(handle("vmax").style.left, "100%");
  assert.equal(handle("vmin").getAttribute("role"), "slider");
  assert.deepEqual(["aria-valuemin", "aria-valuemax", "aria-valuenow"].map((name) => handle("vmin").getAttribute(name)), ["-1", "1", "0"]);
  assert.equal(handle("vmin").tabIndex, 0);
  assert.equal(field("vmax").value, "1");
});

test("keys move a limit within the ends and not past the other; it is sent when they rest", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { answer, handle, stretches } = histogram();
  answer();
  key(handle("vmin"), "ArrowRight");
  key(handle("vmin"), "ArrowRight");
  assert.equal(stretches().length, 0);
  mock.timers.tick(500);
  assert.deepEqual(stretches().map(({ vmin, vmax }) => [vmin, vmax]), [[0.04, undefined]]);
  key(handle("vmin"), "End");
  key(handle("vmax"), "PageUp");
  mock.timers.tick(500);
  const last = stretches().at(-1);
  assert.ok(last.vmin < last.vmax && last.vmax === 1, JSON.stringify(last));
  mock.timers.reset();
});

test("a limit is dragged, and sent when it is let go of", () => {
  const { made, answer, handle, stretches } = histogram();
  answer();
  made.chart.getBoundingClientRect = () => ({ left: 100, width: 200 });
  const point = (name, clientX) => handle("vmax").dispatchEvent(new page.MouseEvent(name, { clientX, bubbles: true }));
  point("pointerdown", 300);
  point("pointermove", 280);
  point("pointermove", 260);
  assert.equal(handle("vmax").style.left, "80%");
  assert.equal(stretches().length, 0);
  point("pointerup", 260);
  assert.deepEqual(stretches().map(({ layer, vmin, vmax }) => [layer, vmin, vmax]), [["NDVI", undefined, 0.6]]);
  point("pointermove", 110);
  assert.equal(stretches().length, 1);
});

test("what was sent stays until the kernel has written it into the style", () => {
  const { made, answer, stretch, stretches, rows, field } = histogram();
  answer();
  stretch.click();
  assert.equal(field("vmin").value, "-0.5");
  made.layersChanged();
  assert.equal(field("vmin").value, "-0.5", "the kernel has not answered yet");
  Object.assign(rows[0].entry, { style: "two", legend: { kind: "continuous", vmin: -0.4, vmax: 0.7, stops: STOPS } });
  made.layersChanged();
  assert.equal(field("vmin").value, "-0.5", "that may have been somebody else");
  rows[0].look.answered(stretches().at(-1).asked);
  made.layersChanged();
  assert.equal(field("vmin").value, "-0.4");
});

test("typed limits are sent as they are, and refused where they cross", () => {
  const { answer, field, stretches, note } = histogram();
  answer();
  const type = (end, value) => {
    field(end).value = value;
    field(end).dispatchEvent(new page.Event("change"));
  };
  type("vmax", "25");
  assert.deepEqual(stretches().map(({ vmin, vmax }) => [vmin, vmax]), [[undefined, 25]]);
  type("vmin", "30");
  assert.equal(stretches().length, 1);
  assert.match(note.textContent, /below the upper/);
});

test("classes have no limits, one of several layers is chosen, and nothing is asked without a kernel", () => {
  const only = histogram({ rows: [row("Classes", { kind: "classes", entries: [] })] });
  assert.equal(only.sent.length, 0);
  assert.match(only.note.textContent, /Classes have no limits/);
  const several = histogram({ rows: [row("a"), row("b")] });
  several.made.choice.value = "b";
  several.made.choice.dispatchEvent(new page.Event("change"));
  assert.deepEqual(several.sent.map(({ layer }) => layer), ["a", "b"]);
  const saved = histogram({ hasKernel: false });
  assert.equal(saved.sent.length, 0);
  assert.match(saved.note.textContent, /needs the notebook's kernel/);
  assert.ok(saved.stretch.disabled && saved.field("vmin").disabled);
});

test("texts and outlines", () => {
  assert.equal(describe({ values: 468000, missing: 52000 }), "468 000 values in this view, 10 % without a value");
  assert.equal(outline([1, 2], 2), "polygon(0% 100%, 0.00% 50.0%, 50.00% 50.0%, 50.00% 0.0%, 100.00% 0.0%, 100% 100%)");
});
