// The panel of series: which date a click on the plot takes, and which images are asked for.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
/** What is in sight is told by `tell`. */
let tell;
globalThis.IntersectionObserver = class {
  constructor(callback) {
    tell = callback;
  }
  observe() {}
  disconnect() {}
};
const { SeriesPlotView } = await import("../../widgets/muses_widgets/js/series/plot.js");
const { DateStrip } = await import("../../widgets/muses_widgets/js/series/strip.js");

/** A plot of three dates, a hundred pixels wide and high from (10, 20) of the window, its frame ten pixels inside. */
function plotOfThree(plot) {
  const scale = { compute: (value) => value };
  plot.view = {
    el: { getBoundingClientRect: () => ({ left: 10, top: 20 }) },
    frame: { bbox: { contains: (x, y) => x > 10 && x < 90 && y > 10 && y < 90 }, x_scale: scale, y_scale: scale, y_scales: new Map() },
  };
  const data = { date: [1000, 2000, 3000], x: [20, 40, 60], y: [50, 50, 50] };
  plot.figure = { renderers: [{ data_source: { data }, glyph: { type: "Scatter", x: { field: "x" }, y: { field: "y" } } }] };
}

function pointer(plot, kind, x, y, more = {}) {
  const event = new window.Event(kind);
  Object.assign(event, { clientX: x, clientY: y, button: 0, shiftKey: false, ctrlKey: false, metaKey: false, ...more });
  plot.canvas.dispatchEvent(event);
}

test("a click takes the nearest date, whatever was drawn anew meanwhile; a drag and a click beside the frame take none", () => {
  const chosen = [];
  const plot = new SeriesPlotView((ms, shift) => chosen.push([ms, shift]), assert.fail);
  plotOfThree(plot);
  pointer(plot, "pointerdown", 52, 70);
  plotOfThree(plot); // drawn anew
  pointer(plot, "pointerup", 53, 70, { shiftKey: true });
  assert.deepEqual(chosen, [[2000, true]]);
  pointer(plot, "pointerdown", 52, 70);
  pointer(plot, "pointerup", 92, 70);
  pointer(plot, "pointerdown", 15, 70);
  pointer(plot, "pointerup", 15, 70);
  pointer(plot, "pointerdown", 52, 70, { button: 2 });
  pointer(plot, "pointerup", 52, 70, { button: 2 });
  assert.equal(chosen.length, 1);
});

test("what was in sight, and was given up for other dates, is asked for again when it comes back", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  const strip = new DateStrip({ show() {}, compare() {}, ask: (times) => asked.push(times.join("")) }, new AbortController().signal);
  const dates = [..."abc"].map((time, ms) => ({ time, ms, label: time, text: "", state: "valid", mask: "", clouds: null, sun: null, scene: "" }));
  strip.show(dates);
  const see = (...times) => {
    tell([...strip.chips].map(([time, target]) => ({ target, isIntersecting: times.includes(time) })));
    t.mock.timers.tick(200);
  };
  see("a", "b");
  see("a");
  see("b", "c");
  strip.showImages("", { c: "data:," });
  see("a", "b");
  assert.deepEqual(asked, ["ab", "bc", "ab"]);
});
