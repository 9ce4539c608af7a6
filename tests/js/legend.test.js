// Legends and the values at a click, as elements.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { drawLegend } from "../../widgets/muses_widgets/js/legend.js";
import { describePixel, drawValues } from "../../widgets/muses_widgets/js/sections/inspector.js";
import { openPage } from "./page.js";

beforeEach(openPage);

const RAMP = {
  kind: "continuous", vmin: 0, vmax: 1, label: "NDVI", unit: null,
  stops: [[0, "#a50026"], [1 / 3, "#ffffbf"], [1, "#006837"]],
  ticks: [{ offset: 0, label: "0" }, { offset: 0.5, label: "0.5" }, { offset: 1, label: "≥ 1" }],
};

test("a ramp has every stop of the palette at its place", () => {
  const style = drawLegend(RAMP).querySelector(".muses-ramp div").getAttribute("style");
  assert.match(style, /linear-gradient\(to right, #a50026 0\.00%, #ffffbf 33\.33%, #006837 100\.00%\)/);
  assert.match(style, /opacity: 1/);
});

test("ticks stand where their values are", () => {
  const ticks = [...drawLegend(RAMP).querySelectorAll(".muses-ticks span")];
  assert.deepEqual(ticks.map((tick) => [tick.style.left, tick.textContent]), [["0%", "0"], ["50%", "0.5"], ["100%", "≥ 1"]]);
});

test("a title has the unit in brackets, and is left out where there is neither", () => {
  const title = (changes) => drawLegend({ ...RAMP, ...changes }).querySelector(".muses-legend-title")?.textContent;
  assert.equal(title({ label: "Height", unit: "m" }), "Height (m)");
  assert.equal(title({ label: null, unit: null }), undefined);
});

test("classes have a swatch each", () => {
  const legend = drawLegend({ kind: "classes", entries: [{ value: 4, colour: "#00ff00", label: "Vegetation" }] });
  assert.equal(legend.querySelector("li").textContent, "Vegetation");
  assert.match(legend.querySelector(".muses-swatch").getAttribute("style"), /#00ff00/);
  assert.equal(legend.querySelector("button"), null); // nothing to be clicked where nobody hears it
});

test("a class that is hidden says so, and its button tells its value", () => {
  const toggled = [];
  const entries = [{ value: 4, colour: "#00ff00", label: "Vegetation", hidden: true }, { value: 6, colour: "#0000ff", label: "Water" }];
  const legend = drawLegend({ kind: "classes", entries }, (value) => toggled.push(value));
  const buttons = [...legend.querySelectorAll("button")];
  assert.deepEqual(buttons.map((one) => [one.title, one.getAttribute("aria-pressed")]), [["Show Vegetation", "false"], ["Hide Water", "true"]]);
  for (const one of buttons) one.click();
  assert.deepEqual(toggled, [4, 6]);
});

test("three bands are named, without names they are red, green, blue", () => {
  const names = (bands) => [...drawLegend({ kind: "rgb", bands, vmin: 0, vmax: 3000 }).querySelectorAll(".muses-rgb > span")].map((s) => s.textContent);
  assert.deepEqual(names(["nir", "red", "green"]), ["nir", "red", "green"]);
  assert.deepEqual(names(undefined), ["red", "green", "blue"]);
});

test("a kind that is not known is an error, no empty legend", () =>
  assert.throws(() => drawLegend({ kind: "hexagons" }), /Unknown kind of legend: "hexagons"/));

test("names of others are text, never markup", () => {
  const legend = drawLegend({ kind: "classes", entries: [{ value: 1, colour: "red", label: "<img src=x onerror=alert(1)>" }] });
  assert.equal(legend.querySelector("img"), null);
  assert.equal(legend.querySelector("li").textContent, "<img src=x onerror=alert(1)>");
});

// ---- values at a click

const ANSWER = { bands: ["ndvi"], values: [0.61234], metres_per_pixel: [10], native_metres_per_pixel: [10], scenes_here: 3, failed: [] };
const lines = (answer, { legend = null, empty = "", asking = false, reason = null } = {}) =>
  drawValues({ entry: { id: "1", name: "Layer", legend }, empty }, { answer, asking, reason }).map((line) =>
    [...line.children].map((part) => part.textContent).join(": "),
  );

test("a value has its unit, a class its name", () => {
  assert.deepEqual(lines(ANSWER, { legend: { unit: "m" } }), ["Layer: 0.6123 m"]);
  assert.deepEqual(lines({ ...ANSWER, values: [4] }, { legend: { entries: [{ value: 4, label: "Vegetation" }] } }), ["Layer: Vegetation (4)"]);
});

test("several bands have a line each, under the layer's name", () =>
  assert.deepEqual(lines({ ...ANSWER, bands: ["red", "nir"], values: [1, null] }), ["Layer", "red: 1", "nir: no data here"]));

test("where there is no value it is said why", () => {
  const nothing = { ...ANSWER, values: [null] };
  assert.deepEqual(lines(nothing, { legend: { missing: "no clear date" } }), ["Layer: no clear date here"]);
  assert.deepEqual(lines({ ...nothing, scenes_here: 0 }), ["Layer: no scenes here"]);
  assert.deepEqual(lines({ ...nothing, failed: [{ id: "a", reason: "b" }] }), ["Layer: no data here; 1 scene left out"]);
  assert.deepEqual(lines(null, { reason: "The cluster is gone" }), ["Layer: The cluster is gone"]);
  assert.deepEqual(lines(null, { empty: "no scene of May" }), ["Layer: no scenes"]);
  assert.deepEqual(lines(null, { asking: true }), ["Layer: …"]);
});

test("an answer of what was shown before is marked as old", () => {
  const [line] = drawValues({ entry: { id: "1", name: "Layer" }, empty: "" }, { answer: ANSWER, asking: true, reason: null });
  assert.ok(line.classList.contains("muses-old"));
});

test("a value says of which pixel it is", () => {
  assert.equal(describePixel(ANSWER), "Native pixel of 10 m");
  assert.equal(describePixel({ ...ANSWER, metres_per_pixel: [40] }), "Pixel of 40 m, from averaged bands; native: 10 m");
});
