// The sentences of a layer's row and of the panel's head.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  describeFailures,
  describeReport,
  describeTime,
  describeWait,
  enlargement,
  tilesDone,
} from "../../widgets/muses_widgets/js/describe.js";
import { describeStatus } from "../../widgets/muses_widgets/js/statusline.js";

const report = (changes) => ({ tiles: 4, used: 12, found: 30, levels: [10], native: [10], thinned: null, failed: 0, holes: 0, ...changes });
const images = (n) => new Map(Array.from({ length: n }, (_, i) => [i, {}]));
const state = (changes) => ({ total: 12, jobs: images(0), failed: images(0), begun: 0, seconds: null, ...changes });

test("tiles that failed or are under way are not done", () => {
  assert.equal(tilesDone(state({ jobs: images(3), failed: images(2) })), 7);
  assert.equal(tilesDone(state({ total: 1, jobs: images(3) })), 0);
});

test("a layer says of how many scenes its tiles are, and in which time they came", () =>
  assert.equal(describeReport(report(), "4 tiles in 0.50 s", null)[0], "12 of 30 scenes · 4 tiles in 0.50 s"));

test("a layer where no scene is says so", () => assert.equal(describeReport(report({ found: 0, used: 0 }), null, null)[0], "No scenes here"));

test("a coarser level names the native one", () =>
  assert.equal(describeReport(report({ levels: [40] }), null, null)[2], "Computed at 40 m; native: 10 m"));

test("thinning is told", () =>
  assert.equal(describeReport(report({ thinned: [12, 90] }), null, null)[1], "Thinned to 12 of 90 dates: zoom in for all"));

test("it is enlarged where a native pixel is two of the screen or more, and only at the native level", () => {
  assert.equal(enlargement(report(), 5), 2);
  assert.equal(enlargement(report(), 6), null);
  assert.equal(enlargement(report({ levels: [40] }), 5), null);
});

test("while tiles load it is told how many are there and for how long they load", () => {
  const loading = state({ jobs: images(5), begun: 1000 });
  assert.equal(describeWait(loading, null, null, 1900), "7 of 12 tiles");
  assert.equal(describeWait(loading, null, null, 4200), "7 of 12 tiles · 3 s");
});

test("an expected time is told while it may still be right, and then since when nothing came", () => {
  const loading = state({ jobs: images(5), begun: 0 });
  const expected = { since: 2000, until: 12000 };
  assert.match(describeWait(loading, null, expected, 3000), /· about 9 s left$/);
  assert.match(describeWait(loading, null, expected, 11900), /· about 1 s left$/);
  assert.match(describeWait(loading, null, expected, 14001), /· nothing new for 13 s$/);
});

test("no time is expected of a block that came before this view", () =>
  assert.equal(describeWait(state({ jobs: images(5), begun: 2500 }), null, { since: 2000, until: 12000 }, 3000), "7 of 12 tiles"));

test("a cluster that starts is told in place of an expected time, the blocks ahead and a refusal as well", () => {
  const jobs = new Map([["a", { refusal: "Too much to do" }]]);
  const queue = { cluster: { state: "starting" }, position: 3 };
  assert.equal(
    describeWait(state({ jobs, begun: 0 }), queue, { since: 1, until: 9000 }, 500),
    "11 of 12 tiles · cluster: starting · 3 blocks ahead · Too much to do",
  );
});

test("where a class shares an evaluator, one's place in its queue is told, and why one's own cluster computes", () => {
  const loading = state({ jobs: images(5), begun: 0 });
  const wait = (told) => describeWait(loading, { position: 3, class: told }, null, 500);
  assert.equal(wait({ state: "ready", position: 11 }), "7 of 12 tiles · 12th in the class's queue");
  assert.equal(wait({ state: "ready", position: 0 }), "7 of 12 tiles · 3 blocks ahead");
  assert.equal(
    wait({ state: "away", position: null, reason: "the class's evaluator is away" }),
    "7 of 12 tiles · 3 blocks ahead · on your own cluster: the class's evaluator is away",
  );
  assert.equal(wait(null), "7 of 12 tiles · 3 blocks ahead");
});

test("the time of a view is told once all is there", () => {
  assert.equal(describeTime(state({ seconds: 2.345 })), "12 tiles in 2.3 s");
  assert.equal(describeTime(state({ seconds: null })), null);
  assert.equal(describeTime(state({ seconds: 2, failed: images(12) })), null);
});

test("failed tiles are counted by reason, with the time of the next try", () => {
  const failed = new Map([
    ["a", { reason: "The cluster is gone", again: 5500 }],
    ["b", { reason: "The cluster is gone", again: 9000 }],
    ["c", { reason: "No such band", again: null }],
  ]);
  assert.deepEqual(describeFailures(failed, [], 1000), [
    { heading: "3 tiles failed, again in 5 s", text: "2 tiles: The cluster is gone" },
    { heading: "3 tiles failed, again in 5 s", text: "1 tile: No such band" },
  ]);
});

test("failures that the user has to decide about name no time", () => {
  const [line] = describeFailures(new Map([["a", { reason: "No such band", again: null }]]), [], 0);
  assert.equal(line.heading, "1 tile failed");
});

test("scenes that were left out are told by their id", () =>
  assert.deepEqual(describeFailures(new Map(), [{ id: "S2A_1", reason: "truncated file" }], 0), [
    { heading: "1 scene left out", text: "S2A_1: truncated file" },
  ]));

// ---- the head of the panel

const layer = (changes) => ({
  name: "NDVI", empty: false, loading: 0, total: 6, done: 6, failed: 0, leftOut: 0, shown: true, found: 3, enlarged: null, ...changes,
});

test("tiles of layers that are ready do not count as awaited", () =>
  assert.equal(
    describeStatus([layer({ loading: 4, total: 6, done: 2, shown: false }), layer()], 11, 38.2),
    "2 of 6 tiles… · zoom 11 · 38.2 m per pixel",
  ));

test("all is shown only when every layer covers the view", () => {
  assert.match(describeStatus([layer(), layer()], 11, 38), /^All tiles shown · /);
  assert.doesNotMatch(describeStatus([layer(), layer({ shown: false })], 11, 38), /All tiles shown/);
});

test("it is never said that all is shown beside a failure", () => {
  assert.match(describeStatus([layer({ failed: 1 })], 11, 38), /^1 tile failed · /);
  assert.match(describeStatus([layer({ leftOut: 2 })], 11, 38), /^2 scenes left out · /);
});

test("no scenes here, if none of the layers has any", () => {
  assert.match(describeStatus([layer({ found: 0 })], 11, 38), /^No scenes here · /);
  assert.match(describeStatus([layer({ found: 0 }), layer()], 11, 38), /^All tiles shown · /);
});

test("layers whose chain fits no scene are named, in their order", () =>
  assert.match(describeStatus([layer({ name: "B", empty: true }), layer({ name: "A", empty: true })], 11, 38), /No scenes: B, A · /));

test("it is past native when all layers are, by the least of them", () => {
  assert.match(describeStatus([layer({ enlarged: 4 }), layer({ enlarged: 2.5 })], 16, 2), / · 2.5 × past native$/);
  assert.doesNotMatch(describeStatus([layer({ enlarged: 4 }), layer()], 16, 2), /past native/);
});
