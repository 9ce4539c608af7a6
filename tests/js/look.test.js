// Colours changed by hand: seen at once, told when the hand lets go, and what the kernel says in the end.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Look, stopsOf, ticksOf } from "../../widgets/muses_widgets/js/look.js";
import { sectionKinds } from "../../widgets/muses_widgets/js/sections.js";
import { reversedTable } from "../../widgets/muses_widgets/js/sections/colours.js";
import { bytesOf } from "../../widgets/muses_widgets/js/values.js";
import { openPage } from "./page.js";

let page;
beforeEach(() => {
  page = openPage();
  globalThis.requestAnimationFrame = (draw) => {
    draw();
    return null;
  };
});

const tableOf = (colour) => btoa(String.fromCharCode(...Array.from({ length: 255 }, (_, n) => colour(n)).flat()));
const GREY = tableOf((n) => [n, n, n]);
const RED = tableOf((n) => [255, n, n]);
const COLOURS = { kind: "continuous", bands: [0], vmin: 0, vmax: 1, gamma: 1, opacity: 1, cmap: "Greys", table: GREY, classes: [] };
const LEGEND = { kind: "continuous", vmin: 0, vmax: 1, stops: [[0, "#000000"], [1, "#fefefe"]], ticks: [] };

/** A panel with one layer of these colours, and the section in its row. */
function opened({ colours = COLOURS, legend = LEGEND, hasKernel = true } = {}) {
  const sent = [];
  const drawn = [];
  const traits = { palettes: [{ name: "Greys", table: GREY }, { name: "Reds", table: RED }], layers: [{ id: "a", chain: "c", style: "s", colours, legend }] };
  const row = {
    entry: traits.layers[0],
    legend: document.createElement("div"),
    recolour: () => drawn.push(row.look.colours),
    drawLegend: () => {},
  };
  document.body.append(row.legend);
  const panel = {
    model: { get: (name) => traits[name], send: (message) => sent.push(message) },
    view: { id: "view" },
    hasKernel,
    ownRows: [row],
    guard: (work) => work(),
    tell: () => {},
    save: (changes) => {
      Object.assign(traits, changes);
      row.entry = traits.layers[0];
    },
  };
  row.look = new Look(panel, row);
  const section = sectionKinds().find(({ name }) => name === "colours").make(panel);
  section.layersChanged();
  const element = document.querySelector(".muses-colours");
  const field = (name) => element.querySelector(`[aria-label="${name}"]`);
  const set = (input, value, event = "change") => {
    input[input.type === "checkbox" || input.type === "radio" ? "checked" : "value"] = value;
    input.dispatchEvent(new page.Event(event));
  };
  const choose = (name) => set([...element.querySelectorAll(".muses-palette-choice")].find((one) => one.textContent === name).querySelector("input"), true);
  return { section, row, traits, sent, drawn, element, field, set, choose };
}

test("a palette is seen at once, and written into the style", () => {
  const { row, sent, drawn, choose, field, set, element } = opened();
  choose("Reds");
  assert.deepEqual([drawn.at(-1).cmap, drawn.at(-1).table], ["Reds", RED]);
  assert.deepEqual(sent.map(({ section, layer, values }) => [section, layer, values]), [["colours", "a", { "style.cmap": "Reds" }]]);
  assert.equal(row.look.legend.stops.at(0)[1], "#ff0000");
  set(element.querySelector("input[type=checkbox]"), true);
  assert.deepEqual(sent.at(-1).values, { "style.cmap": "Reds_r" });
  assert.deepEqual([...bytesOf(drawn.at(-1).table).subarray(0, 3)], [255, 254, 254]);
  set(field("Colours to"), "0.5");
  assert.deepEqual([sent.at(-1).values, drawn.at(-1).vmax], [{ "style.cmap": "Reds_r", "style.vmax": 0.5 }, 0.5]);
});

test("a slider is seen while it moves, and told when it is let go", () => {
  const { sent, drawn, element, set } = opened();
  const slider = element.querySelector("input[type=range]");
  set(slider, "2", "input");
  set(slider, "3", "input");
  assert.deepEqual([drawn.map(({ gamma }) => gamma), sent.length], [[2, 3], 0]);
  set(slider, "3");
  assert.deepEqual(sent.map(({ values }) => values), [{ "style.gamma": 3 }]);
});

test("what the kernel says holds once it has answered the last change; until then what the hand did", () => {
  const { row, section, sent, choose } = opened();
  choose("Reds");
  const [first] = sent;
  choose("Greys");
  choose("Reds");
  section.told({ asked: first.asked });
  assert.equal(row.look.colours.cmap, "Reds", "the answer to a change before");
  row.entry = { ...row.entry, colours: { ...COLOURS, cmap: "Blues" } };
  section.told({ asked: sent.at(-1).asked });
  assert.equal(row.look.colours.cmap, "Blues");
});

test("without a kernel the page keeps the colours with the notebook", () => {
  const { row, traits, sent, choose } = opened({ hasKernel: false });
  choose("Reds");
  assert.equal(sent.length, 0);
  assert.deepEqual([traits.layers[0].colours.cmap, traits.layers[0].legend.stops.at(0)[1]], ["Reds", "#ff0000"]);
  assert.deepEqual(row.look.changes, {});
});

test("ends that cross are refused with the reason", () => {
  const { sent, field, set, element } = opened();
  set(field("Colours from"), "2");
  assert.equal(sent.length, 0);
  assert.match(element.querySelector("[role=alert]").textContent, /below the upper/);
  assert.equal(field("Colours from").getAttribute("aria-invalid"), "true");
});

test("three bands have a range and a gamma, classes nothing; a list of colours is kept until another is chosen", () => {
  const rgb = opened({ colours: { ...COLOURS, kind: "rgb", bands: [0, 1, 2], table: "" }, legend: { kind: "rgb", vmin: 0, vmax: 0.3 } });
  assert.ok(!rgb.element.hidden && rgb.element.querySelector(".muses-colours-ramp").hidden);
  rgb.element.remove();
  const classes = opened({ colours: { ...COLOURS, kind: "classes" }, legend: { kind: "classes", entries: [] } });
  assert.ok(classes.element.hidden);
  classes.element.remove();
  const own = opened({ colours: { ...COLOURS, cmap: null } });
  assert.match(own.element.querySelector("summary + div summary").textContent, /own colours/);
  own.choose("Reds");
  assert.deepEqual(own.sent.map(({ values }) => values), [{ "style.cmap": "Reds" }]);
});

test("a ramp of few colours has hard edges, one of many is linear in between", () => {
  const two = tableOf((n) => (n < 102 ? [0, 0, 0] : [255, 0, 0]));
  assert.deepEqual(stopsOf({ table: two, gamma: 1 }), [[0, "#000000"], [0.4, "#000000"], [0.4, "#ff0000"], [1, "#ff0000"]]);
  const many = stopsOf({ table: GREY, gamma: 2 });
  assert.deepEqual([many.length, many.at(0), many.at(8), many.at(-1)], [33, [0, "#000000"], [0.25, "#7f7f7f"], [1, "#fefefe"]]);
});

test("ticks are round values", () => {
  assert.deepEqual(ticksOf(0, 1).map(({ label }) => label), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
  assert.deepEqual(ticksOf(-0.2, 0.9).map(({ label }) => label), ["0", "0.25", "0.5", "0.75"]);
  assert.deepEqual(ticksOf(-3000, 2000).map(({ label }) => label), ["−3000", "−2000", "−1000", "0", "1000", "2000"]);
});

test("a table reversed twice is what it was", () => {
  assert.equal(reversedTable(reversedTable(RED)), RED);
});

const TWO = { kind: "classes", entries: [{ value: 0, colour: "#aaaaaa", label: "bare" }, { value: 1, colour: "#00ff00", label: "green" }] };

test("a class is hidden at once and told, and shown again", () => {
  const { row, sent } = opened({ colours: { ...COLOURS, kind: "classes", classes: [0, 1], hidden: [] }, legend: TWO });
  row.look.toggle(1);
  assert.deepEqual([row.look.colours.hidden, row.look.legend.entries.map((one) => one.hidden)], [[1], [false, true]]);
  assert.deepEqual(sent.at(-1).values, { "style.hidden": [1] });
  row.look.toggle(1);
  assert.deepEqual([row.look.colours.hidden, sent.at(-1).values], [[], { "style.hidden": [] }]);
});

test("without a kernel a class is hidden in what the page knows, and where the server draws that is refused", () => {
  const { row } = opened({ colours: { ...COLOURS, kind: "classes", classes: [0, 1], hidden: [] }, legend: TWO, hasKernel: false });
  row.look.toggle(0);
  assert.deepEqual([row.entry.colours.hidden, row.entry.legend.entries[0].hidden], [[0], true]);
  assert.throws(() => opened({ colours: null, legend: TWO, hasKernel: false }).row.look.toggle(0), /through the notebook's kernel, and none is connected/);
});
