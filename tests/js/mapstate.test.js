// What the kernel is told of a map's layers.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { MapState, stateOf } from "../../widgets/muses_widgets/js/mapstate.js";

const failure = (reason) => [{}, { reason }];

function row({ jobs = 0, failed = [], total = 9, unread = [], shown = true, found = 4, used = 3 } = {}) {
  const state = { jobs: new Map(Array.from({ length: jobs }, (_, i) => [i, {}])), failed: new Map(failed.map(failure)), total };
  const made = { entry: { id: "a", chain: "c", style: "s" }, visible: true, state, unread, shown, found, used, empty: "" };
  return { ...made, told: () => stateOf(made) };
}

test("a layer is loading, ok, partial or failed, and says why", () => {
  assert.deepEqual(stateOf(row()), {
    chain: "c", style: "s", state: "ok", why: [], tiles: { total: 9, done: 9, failed: 0 }, scenes: { used: 3, found: 4, left_out: 0 },
  });
  assert.deepEqual(stateOf(row({ jobs: 2, failed: ["died"] })), { chain: "c", style: "s", state: "loading", why: [] });
  assert.equal(stateOf(row({ shown: false })).state, "loading");
  const part = stateOf(row({ failed: ["died", "died"], shown: false }));
  assert.deepEqual([part.state, part.why, part.tiles.failed], ["partial", ["died"], 2]);
  assert.equal(stateOf(row({ failed: ["x", "x"], total: 2, shown: false })).state, "failed");
  const left = stateOf(row({ unread: [{ id: "S2A", reason: "truncated" }] }));
  assert.deepEqual([left.state, left.why, left.scenes.left_out], ["partial", ["S2A: truncated"], 1]);
  assert.equal(stateOf(row({ found: null })).scenes, undefined);
});

test("it is told when it is another, once for many changes, and to a kernel alone", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const saved = [];
  const rows = [row({ jobs: 1 })];
  const panel = { signal: new AbortController().signal, hasKernel: true, allRows: rows, guard: (work) => work(), save: (change) => saved.push(change) };
  const state = new MapState(panel);
  const report = () => {
    state.report();
    state.report();
    mock.timers.tick(500);
  };
  report();
  report();
  assert.deepEqual(saved.map(({ shown }) => shown.layers.a.state), ["loading"]);
  rows[0] = row();
  panel.hasKernel = false;
  report();
  assert.equal(saved.length, 1);
  panel.hasKernel = true;
  report();
  assert.deepEqual(saved.map(({ shown }) => shown.layers.a.state), ["loading", "ok"]);
  mock.timers.reset();
});
