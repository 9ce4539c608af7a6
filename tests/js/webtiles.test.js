// Tiles of others: what the row says while they come, do not come, or nobody answers.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { describeWebTiles, watchWebTiles } from "../../widgets/muses_widgets/js/webtiles.js";

function watched() {
  let heard;
  const told = [];
  const end = new AbortController();
  const layer = { on: (_, callback) => (heard = callback), off: () => (heard = () => {}) };
  watchWebTiles(layer, (tiles) => told.push(describeWebTiles(tiles, "maps.example")), end.signal);
  return { say: (...types) => types.forEach((type) => heard({ type })), told, end };
}

test("nothing is said of tiles that come", () => {
  const { say, told } = watched();
  say("loading", "tileloadstart", "tileload");
  assert.deepEqual([...new Set(told)], [""]);
});

test("tiles that do not come are counted, and forgotten with the next view", () => {
  const { say, told } = watched();
  say("loading", "tileloadstart", "tileloadstart", "tileerror");
  assert.match(told.at(-1), /^maps\.example does not give this map/);
  say("tileload");
  assert.equal(told.at(-1), "1 tile of 2 did not come from maps.example");
  say("loading");
  assert.equal(told.at(-1), "");
});

test("a server that does not answer is named, until it does", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { say, told, end } = watched();
  say("loading", "tileloadstart");
  mock.timers.tick(21_000);
  assert.equal(told.at(-1), "maps.example has not answered for 20 s");
  say("tileload");
  assert.equal(told.at(-1), "");
  say("tileloadstart");
  end.abort();
  const before = told.length;
  mock.timers.tick(60_000);
  assert.equal(told.length, before);
  mock.timers.reset();
});
