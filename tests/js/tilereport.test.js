// What tiles tell of themselves.

import assert from "node:assert/strict";
import { test } from "node:test";

import { joinReports, readReport } from "../../widgets/muses_widgets/js/tilereport.js";

/** As numpy.packbits and base64 write it: scene numbers → text. */
function packed(flags) {
  const bytes = new Uint8Array(Math.ceil(flags.length / 8));
  flags.forEach((flag, n) => flag && (bytes[n >> 3] |= 128 >> n % 8));
  return btoa(String.fromCharCode(...bytes));
}

/** The header of a tile that found these of ten scenes, and used those. */
function header(found, used, rest = {}) {
  const all = Array.from({ length: 10 }, (_, n) => n);
  return {
    scenes: [used.length, found.length],
    bits: { found: packed(all.map((n) => found.includes(n))), used: packed(found.map((n) => used.includes(n))) },
    ...rest,
  };
}

const joined = (...headers) => joinReports(headers.map(readReport));

test("a scene that several tiles found counts once", () => {
  const report = joined(header([0, 3, 9], [3, 9]), header([3, 4, 9], [3]));
  assert.equal(report.found, 4); // 0, 3, 4, 9
  assert.equal(report.used, 2); // 3, 9
});

test("the bits of used scenes are counted among the found ones", () => {
  const report = joined(header([8, 9], [9]), header([8, 9], [8]));
  assert.equal(report.used, 2);
});

test("without bits the tile with most scenes counts", () => {
  const report = joined({ scenes: [3, 5] }, { scenes: [4, 4] });
  assert.equal(report.found, 5);
  assert.equal(report.used, 4);
});

test("levels are listed once, the finest first", () => {
  const report = joined(header([1], [1], { levels: [20, 10], native: [10] }), header([1], [1], { levels: [20], native: [10] }));
  assert.deepEqual(report.levels, [10, 20]);
  assert.deepEqual(report.native, [10]);
});

test("the thinning of the longest series is told", () => {
  const report = joined(header([1], [1], { thinned: [12, 40] }), header([1], [1], { thinned: [12, 90] }), header([1], [1]));
  assert.deepEqual(report.thinned, [12, 90]);
});

test("the share of holes is that of all pixels with scenes, not the mean of the tiles' shares", () => {
  assert.equal(joined(header([1], [1], { holes: [10, 10] }), header([1], [1], { holes: [0, 90] })).holes, 0.1);
});

test("where no tile has a scene there are no holes", () => assert.equal(joined(header([], [])).holes, 0));

test("no tile, no report", () => assert.equal(joinReports([]), null));
