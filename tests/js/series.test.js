// The series of the clicked place: what is asked, what is shown of the answers, and what is told where there are none.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage, setServer } from "./page.js";

const page = openPage();
globalThis.ResizeObserver = class {
  observe() {}
  disconnect() {}
};
await import("../../widgets/muses_widgets/js/sections/series.js");
const { sectionKinds } = await import("../../widgets/muses_widgets/js/sections.js");

const PLACE = { lat: 43.6, lng: 1.4, wrap: () => ({ lat: 43.6, lng: 1.4 }) };
const row = (id) => ({ entry: { id, name: id, chain: "c", style: "s" } });

/** A section, as it is seen in a panel with these layers; what it sends, and which problems are shown. */
function section({ rows = [row("NDVI")], hasKernel = true } = {}) {
  const sections = {};
  const sent = [];
  const problems = [];
  const panel = {
    signal: new AbortController().signal,
    model: { get: () => sections, send: (message) => sent.push(message) },
    root: document.createElement("section"),
    visibleRows: rows,
    hasKernel,
    guard: async (work) => {
      try {
        await work();
      } catch (error) {
        problems.push(error.message);
      }
    },
  };
  const made = sectionKinds().find(({ name }) => name === "series").make(panel);
  Object.defineProperty(made, "isSeen", { get: () => true });
  const [element] = made.top;
  const tell = (state) => {
    sections.series = state;
    made.told();
  };
  return { made, element, panel, sent, problems, sections, tell, note: element.querySelector("[role=status]") };
}

const titles = (element) => [...element.querySelectorAll(".muses-series-title")].map((title) => title.textContent);
const answer = (asked, ...names) => ({
  asked,
  place: [1.4, 43.6],
  busy: false,
  plots: names.map((title) => ({ key: title, title, text: "No scene lies here." })),
  bokeh: "3",
});

test("a click asks for the visible layers, once", () => {
  const { made, sent, element } = section({ rows: [row("a"), row("b")] });
  assert.ok(element.hidden);
  made.clicked(PLACE);
  made.layersChanged();
  assert.ok(!element.hidden);
  assert.deepEqual(sent.map(({ place, layers }) => [place, layers]), [[[1.4, 43.6], ["a", "b"]]]);
});

test("layers that come and go are asked for anew, and an answer to what is no longer asked is not shown", () => {
  const { made, sent, panel, tell, element } = section();
  made.clicked(PLACE);
  panel.visibleRows = [row("Other")];
  made.layersChanged();
  assert.equal(sent.length, 2);
  tell(answer(sent[0].asked, "NDVI"));
  assert.deepEqual(titles(element), []);
  tell(answer(sent[1].asked, "Other"));
  assert.deepEqual(titles(element), ["Other"]);
  assert.equal(element.getAttribute("aria-busy"), null);
});

test("what is still being computed says so, and a plot that is there stays the same element", () => {
  const { made, sent, tell, element, note } = section();
  made.clicked(PLACE);
  tell({ ...answer(sent[0].asked, "NDVI"), busy: true });
  assert.equal(note.textContent, "Computing the series…");
  assert.equal(element.getAttribute("aria-busy"), "true");
  const first = element.querySelector(".muses-series-plot");
  tell(answer(sent[0].asked, "NDVI", "Water"));
  assert.ok(note.hidden);
  assert.equal(element.querySelector(".muses-series-plot"), first);
  assert.deepEqual(titles(element), ["NDVI", "Water"]);
});

test("a kernel that is not there, or does not answer, is told", (t) => {
  const without = section({ hasKernel: false });
  without.made.clicked(PLACE);
  assert.match(without.note.textContent, /need the notebook's kernel/);
  assert.deepEqual(without.sent, []);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { made, note } = section();
  made.clicked(PLACE);
  t.mock.timers.tick(3000);
  assert.match(note.textContent, /has not answered yet/);
  made.heard();
  assert.equal(note.textContent, "Computing the series…");
});

test("a place that is cleared takes its series along, also those that come later", () => {
  const { made, sent, tell, element } = section();
  made.clicked(PLACE);
  tell(answer(sent[0].asked, "NDVI"));
  made.cleared();
  assert.ok(element.hidden);
  tell(answer(sent[0].asked, "NDVI"));
  assert.ok(element.hidden);
  assert.deepEqual(titles(element), []);
});

test("a saved notebook shows the plots that it was saved with, and of which place they are", () => {
  const { made, sections, element, note } = section({ hasKernel: false });
  sections.series = answer("before", "NDVI");
  made.connected();
  assert.ok(!element.hidden);
  assert.deepEqual(titles(element), ["NDVI"]);
  assert.equal(note.textContent, "At lon 1.40000°, lat 43.60000°");
});

test("a server that does not hand out Bokeh is a problem that names it", async () => {
  setServer("/user/ann/");
  const { made, sent, tell, problems } = section();
  made.clicked(PLACE);
  const { plots } = answer("", "NDVI");
  tell({ ...answer(sent[0].asked), plots: [{ ...plots[0], item: JSON.stringify({ root_id: "p1", doc: {} }) }] });
  const script = document.head.querySelector("script[src]");
  assert.equal(script.getAttribute("src"), "/user/ann/panel-preview/static/js/bokeh.min.js");
  script.dispatchEvent(new page.Event("error"));
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  assert.match(problems[0], /^The series cannot be drawn: the Jupyter server does not hand out Bokeh/);
});
