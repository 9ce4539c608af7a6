// Moving through time: which frame is meant by a date, and what is told of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
globalThis.ResizeObserver = class {
  observe() {}
  disconnect() {}
};
const { indexOf, joined, until } = await import("../../widgets/muses_widgets/js/sections/time.js");
const { sectionKinds } = await import("../../widgets/muses_widgets/js/sections.js");

const frame = (day, chain = day) => ({ label: day, date: day, time: `${day}T10:30:00.000000Z`, chain });
const FRAMES = [frame("2018-01-06"), frame("2018-02-10"), frame("2018-03-12")];

/** The section in a panel with one layer of these frames; what is saved and sent. */
function section(frames = FRAMES) {
  const traits = { date: "", sections: {}, layers: [{ id: "a", name: "NDVI", chain: frames.at(-1).chain, style: "s", frames }] };
  const sent = [];
  const model = { get: (name) => traits[name], send: (message) => sent.push(message) };
  const changed = [];
  const row = { entry: traits.layers[0], shown: false, layer: null, setModel: (changes) => changed.push(changes) };
  const panel = {
    model,
    map: { getContainer: () => document.createElement("div"), getZoom: () => 12, getBounds: () => ({ getWest: () => 1, getSouth: () => 2, getEast: () => 3, getNorth: () => 4 }) },
    hasKernel: true,
    onModel: () => {},
    visibleRows: [row],
    guard: (work) => work(),
    save: (changes) => {
      Object.assign(traits, changes);
      row.entry = traits.layers[0];
    },
    showProblem: () => {},
  };
  const made = sectionKinds().find(({ name }) => name === "time").make(panel);
  made.connected();
  made.update();
  return { made, traits, changed, sent, row };
}

test("a date is the frame of its label, or the last one until then", () => {
  assert.equal(indexOf(FRAMES, "2018-02-10"), 1);
  assert.equal(indexOf(FRAMES, "2018-03-01"), 1);
  assert.equal(indexOf(FRAMES, "2018-03-12"), 2);
  assert.equal(indexOf(FRAMES, "2017-01-01"), -1);
  assert.equal(until(FRAMES, "2018-02-28T00:00:00Z").chain, "2018-02-10");
  assert.equal(until(FRAMES, "2000-01-01T00:00:00Z").chain, "2018-01-06");
});

test("the dates of several layers are each there once, in order", () => {
  const rows = [{ entry: { frames: [FRAMES[2], FRAMES[0]] } }, { entry: { frames: [FRAMES[1], FRAMES[0]] } }];
  assert.deepEqual(joined(rows).map(({ label }) => label), ["2018-01-06", "2018-02-10", "2018-03-12"]);
});

test("a date means the same here and in the kernel", () => {
  const day = [
    { label: "2018-02-10 10:30", date: "2018-02-10 10:30", time: "2018-02-10T10:30:05.000000Z", chain: "a" },
    { label: "2018-02-10 10:40", date: "2018-02-10 10:40", time: "2018-02-10T10:40:05.000000Z", chain: "b" },
  ];
  const chains = (frames, ...dates) => dates.map((date) => until(frames, date).chain);
  assert.deepEqual(chains(day, "2018-02-10", "2018-02-10 10:30", "2018-02-10 10:39", "2018-02-09", ""), ["b", "a", "a", "a", "b"]);
  const dekads = [
    { label: "2018-01", date: "2018-01-01", time: "2018-01-01T00:00:00.000000Z", chain: "first" },
    { label: "2018-02", date: "2018-01-11", time: "2018-01-11T00:00:00.000000Z", chain: "second" },
    { label: "2018-04", date: "2018-02-01", time: "2018-02-01T00:00:00.000000Z", chain: "fourth" },
  ];
  assert.deepEqual(chains(dekads, "2018-01-20", "2018-02-01"), ["second", "fourth"], "not what is called so");
});

test("the steps pass every date of layers that were observed on the same day", () => {
  const other = { label: "2018-02-10", date: "2018-02-10", time: "2018-02-10T11:00:00.000000Z", chain: "other" };
  const { made, traits } = section();
  made.panel.visibleRows.push({ entry: { id: "b", name: "L8", style: "s", chain: "other", frames: [other] }, shown: true, setModel: () => {} });
  made.follow();
  const seen = [];
  for (let n = 0; n < 3; n += 1) {
    made.step(1);
    seen.push(traits.date);
  }
  assert.deepEqual(seen, ["2018-01-06", "2018-02-10", "2018-03-12"]);
  made.remove();
});

test("a layer that was hidden while the date was chosen follows when it is shown", () => {
  const { made, traits, changed, row } = section();
  made.panel.visibleRows.length = 0;
  traits.date = "2018-01-06";
  made.follow();
  assert.deepEqual(changed, []);
  made.panel.visibleRows.push(row);
  made.layersChanged();
  assert.deepEqual(changed, [{ url: "muses:tiles/2018-01-06/s/{z}/{x}/{y}.png" }]);
  assert.equal(made.label.textContent, "2018-01-06");
  made.remove();
});

test("other code of a private layer is asked about anew", () => {
  const { made, sent, row } = section(FRAMES.map((one, n) => ({ ...one, chain: `private-${n}` })));
  made.ask();
  row.entry = { ...row.entry, frames: FRAMES.map((one, n) => ({ ...one, chain: `private-9${n}` })) };
  made.ask();
  assert.equal(sent.length, 2);
  made.remove();
});

test("the newest date is shown first, and the arrows go on from it", () => {
  const { made, traits, changed } = section();
  assert.equal(made.label.textContent, "2018-03-12");
  made.step(-1);
  assert.equal(traits.date, "2018-02-10");
  assert.equal(traits.layers[0].chain, "2018-02-10");
  assert.deepEqual(changed, [{ url: "muses:tiles/2018-02-10/s/{z}/{x}/{y}.png" }]);
  made.step(-1);
  made.step(-1);
  assert.equal(traits.date, "2018-03-12", "it goes round");
  made.remove();
});

test("the bars are as high as what the kernel tells, for the layer that was asked about", () => {
  const { made, sent, traits } = section();
  made.ask();
  assert.deepEqual(sent[0].bounds, [1, 2, 3, 4]);
  traits.sections.time = { asked: sent[0].asked, layer: "a", shares: [0.25, null, 1], busy: true };
  made.told();
  assert.deepEqual([...made.bars.children].map((bar) => bar.style.height), ["25%", "18%", "100%"]);
  assert.match(made.note.textContent, /3 of 3 · 100 % of the view/);
  assert.equal(made.slider.getAttribute("aria-valuetext"), "2018-03-12, 100 % of the view");
  made.ask();
  assert.equal(sent.length, 1, "the same is not asked twice");
  made.remove();
});

test("it plays on only when the frame is there", async () => {
  const { made, traits, row } = section();
  made.speed.value = "4";
  made.start();
  await new Promise((resolve) => {
    setTimeout(resolve, 350);
  });
  assert.equal(traits.date, "", "the tiles are not there yet");
  row.shown = true;
  await new Promise((resolve) => {
    setTimeout(resolve, 500);
  });
  assert.notEqual(traits.date, "");
  made.toggle();
  assert.equal(made.play.getAttribute("aria-label"), "Play");
  made.remove();
});

test("one date needs no bar", () => {
  const { made } = section([FRAMES[0]]);
  assert.ok(made.element.hidden);
});
