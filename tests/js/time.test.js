// Moving through time: which frame is meant by a date, and what is told of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
globalThis.ResizeObserver = class {
  observe() {}
  disconnect() {}
};
const { passes } = await import("../../widgets/muses_widgets/js/datefilter.js");
const { indexOf, joined, until } = await import("../../widgets/muses_widgets/js/sections/time.js");
const { sectionKinds } = await import("../../widgets/muses_widgets/js/sections.js");

const frame = (day, chain = day) => ({ label: day, date: day, time: `${day}T10:30:00.000000Z`, chain });
const address = (chain) => `muses:tiles/${chain}/{z}/{x}/{y}.v1`;
const FRAMES = [frame("2018-01-06"), frame("2018-02-10"), frame("2018-03-12")];

/** The section in a panel with one layer of these frames; what is saved and sent. */
function section(frames = FRAMES) {
  const traits = { date: "", filter: {}, sections: {}, layers: [{ id: "a", name: "NDVI", chain: frames.at(-1).chain, style: "s", frames }] };
  const sent = [];
  const model = { get: (name) => traits[name], send: (message) => sent.push(message) };
  const changed = [];
  const row = { entry: traits.layers[0], shown: false, layer: null, layerModel: new Map([["url", address(frames.at(-1).chain)]]) };
  row.setModel = (changes) => {
    changed.push(changes);
    for (const [name, value] of Object.entries(changes)) row.layerModel.set(name, value);
  };
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
  made.panel.visibleRows.push({ entry: { id: "b", name: "L8", style: "s", chain: "other", frames: [other] }, shown: true, setModel: () => {}, layerModel: new Map([["url", address("other")]]) });
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
  assert.deepEqual(changed, [{ url: address("2018-01-06") }]);
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
  assert.deepEqual(changed, [{ url: address("2018-02-10") }]);
  made.step(-1);
  made.step(-1);
  assert.equal(traits.date, "2018-03-12", "it goes round");
  made.remove();
});

test("the bars are as high as what the kernel tells, for the layer that was asked about", () => {
  const { made, sent, traits } = section();
  made.ask();
  assert.deepEqual(sent[0].bounds, [1, 2, 3, 4]);
  traits.sections.time = { asked: sent[0].asked, layer: "a", basis: "by the scenes' SCL", shares: [[0.1, 0.4], null, [1, 1]], busy: true };
  made.told();
  assert.deepEqual([...made.bars.children].map((bar) => bar.style.height), ["40%", "18%", "100%"]);
  assert.match(made.bars.children[0].getAttribute("style"), /--muses-clear: ?25%/);
  assert.match(made.bars.children[0].title, /10 % clear, 40 % covered/);
  assert.match(made.note.textContent, /3 of 3 · 100 % clear/);
  assert.equal(made.slider.getAttribute("aria-valuetext"), "2018-03-12, 100 % clear");
  assert.match(made.key.textContent, /clear.*clouded.*of this view, by the scenes' SCL/);
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

const SEEN = FRAMES.map((one, n) => ({ ...one, platforms: [`s2${"aab"[n]}`], orbits: [`${[51, 8, 51][n]} descending`], clouds: [80, 10, null][n] }));

test("the filter narrows which dates one steps through, and tells how many of how many are left", () => {
  const { made, traits } = section(SEEN);
  made.filter.platform.value = "s2a";
  made.filter.platform.dispatchEvent(new window.Event("change"));
  assert.deepEqual(traits.filter, { platform: "s2a" });
  assert.equal(made.filter.count.textContent, "2 of 3 dates; 2018-03-12 is not one of them: the map shows 2018-02-10");
  assert.equal(traits.date, "2018-02-10", "the last one of those until the date that was shown");
  made.step(1);
  assert.equal(traits.date, "2018-01-06", "it goes round among those that are left");
  assert.equal(made.slider.max, "1");
  made.filter.reset.click();
  assert.deepEqual(traits.filter, {});
  assert.equal(made.filter.count.textContent, "3 dates");
  made.remove();
});

test("what the kernel or a saved notebook chose is heeded; a date that it leaves out is shown and said to be so", () => {
  const { made, traits } = section(SEEN);
  traits.filter = { orbit: "51 descending" };
  traits.date = "2018-02-10";
  made.follow();
  assert.equal(made.label.textContent, "2018-02-10");
  assert.match(made.note.textContent, /not among the 2 chosen, 3 in all/);
  made.step(-1);
  assert.equal(traits.date, "2018-01-06");
  traits.date = "2018-02-10";
  made.follow();
  made.step(1);
  assert.equal(traits.date, "2018-03-12");
  made.remove();
});

test("a limit of clouds goes by what is seen of the view, else by what the scenes state; without either a date stays", () => {
  const clouds = { clouds: 20 };
  assert.deepEqual(SEEN.map((frame) => passes(frame, clouds, null)), [false, true, true]);
  assert.ok(passes(SEEN[0], clouds, [0.4, 0.5]), "clear here");
  assert.ok(!passes(SEEN[1], clouds, [0.1, 0.5]), "clouded here");
  assert.ok(!passes(SEEN[1], clouds, [0, 0]), "nothing of the view");
  assert.ok(passes(SEEN[1], {}, [0, 0]));
});

test("a limit of clouds moves the date only where it leaves it out, and says so; what is told later moves nothing", () => {
  const { made, traits, sent } = section(SEEN);
  made.choose({ clouds: 20 });
  assert.equal(traits.date, "", "the newest date, of which nobody knows the clouds, stays");
  assert.equal(made.filter.count.textContent, "2 of 3 dates");
  made.step(-1);
  assert.equal(traits.date, "2018-02-10");
  made.choose({ clouds: 5 });
  assert.equal(traits.date, "2018-03-12", "none is before it: the first of those that are left");
  assert.equal(made.filter.count.textContent, "1 of 3 dates; 2018-02-10 is not one of them: the map shows 2018-03-12");
  made.choose({ clouds: 50 });
  assert.equal(traits.date, "2018-03-12");
  assert.equal(made.filter.count.textContent, "2 of 3 dates");
  made.ask();
  traits.sections.time = { asked: sent[0].asked, layer: "a", basis: "by SCL", shares: [[1, 1], [1, 1], [0, 1]], busy: false };
  made.told();
  assert.equal(traits.date, "2018-03-12", "clouded here, as is known now");
  assert.match(made.note.textContent, /not among the 2 chosen/);
  made.remove();
});

test("the slider goes to the date that it was dragged to, whatever is told meanwhile", async () => {
  const { made, traits, sent } = section(SEEN);
  traits.filter = { clouds: 90 };
  made.update();
  made.ask();
  made.slider.value = "1";
  made.slider.dispatchEvent(new window.Event("input"));
  traits.sections.time = { asked: sent[0].asked, layer: "a", basis: "by SCL", shares: [[0, 1], [1, 1], [1, 1]], busy: false };
  made.told();
  assert.equal(made.slider.value, "0", "it stays on that date, which is the first now");
  await new Promise((resolve) => {
    setTimeout(resolve, 250);
  });
  assert.equal(traits.date, "2018-02-10");
  made.remove();
});

test("days are both included", () =>
  assert.deepEqual(SEEN.map((frame) => passes(frame, { start: "2018-01-06", end: "2018-02-10" }, null)), [true, true, false]));

test("where nothing is left, that is said, and what was chosen can be taken back", () => {
  const { made } = section(SEEN);
  made.choose({ start: "2030-01-01" });
  assert.equal(made.filter.count.textContent, "0 of 3 dates");
  assert.ok(made.strip.hidden && made.play.disabled && !made.element.hidden);
  assert.ok(!made.filter.reset.hidden);
  made.remove();
});

test("another period is the kernel's work, and said to be under way until it answers", () => {
  const { made, sent, traits } = section(SEEN);
  made.filter.period.value = "month";
  made.filter.period.dispatchEvent(new window.Event("change"));
  const [message] = sent;
  assert.deepEqual([message.layers, message.period, message.reducer], [["a"], "month", "median"]);
  assert.match(made.note.textContent, /Making/);
  traits.sections.time = { handled: message.asked, shares: [] };
  made.told();
  assert.doesNotMatch(made.note.textContent, /Making/);
  made.remove();
});

test("one image of a range keeps the bar, by which one comes back", () => {
  const { made, traits } = section([FRAMES[0]]);
  traits.layers[0].period = { name: "intervals", reducer: "median" };
  made.update();
  assert.ok(!made.element.hidden);
  assert.equal(made.filter.period.value, "range");
  made.remove();
});
