// @ts-check
// What tiles tell of themselves, and that of several tiles as one.

/** @import { TileHeader, TileReport, ViewReport } from "./types" */

import { bytesOf } from "./values.js";

/** The header in which the service sends it. */
export const REPORT_HEADER = "X-Muses-Report";

/**
 * What a tile told of itself, its scenes as bits by their number in the chain: see `service/tile_report.py`.
 * @param {TileHeader} header
 * @returns {TileReport}
 */
export function readReport({ scenes, bits = {}, levels = [], native = [], thinned = null, failed = 0, holes = [0, 0] }) {
  const found = bytesOf(bits.found ?? "");
  const used = bytesOf(bits.used ?? "");
  const numbered = new Uint8Array(found.length);
  let nth = 0;
  for (let n = 0; n < found.length * 8; n += 1) {
    if (!bit(found, n)) continue;
    if (bit(used, nth)) setBit(numbered, n);
    nth += 1;
  }
  return { scenes, found, used: numbered, levels, native, thinned, failed, holes };
}

/**
 * The reports of several tiles as one; null if none of them told anything.
 * @param {TileReport[]} reports
 * @returns {ViewReport | null}
 */
export function joinReports(reports) {
  if (!reports.length) return null;
  const thinned = reports.flatMap((r) => (r.thinned ? [r.thinned] : []));
  return {
    tiles: reports.length,
    // Too many scenes for bits: the tile that has most of them.
    used: countBits(reports.map((r) => r.used)) || Math.max(...reports.map((r) => r.scenes[0])),
    found: countBits(reports.map((r) => r.found)) || Math.max(...reports.map((r) => r.scenes[1])),
    levels: ascending(reports.flatMap((r) => r.levels)),
    native: ascending(reports.flatMap((r) => r.native)),
    thinned: thinned.sort((a, b) => b[1] - a[1])[0] ?? null,
    failed: Math.max(...reports.map((r) => r.failed)),
    holes: shareOfHoles(reports),
  };
}

/** @param {number[]} sizes */
const ascending = (sizes) => [...new Set(sizes)].sort((a, b) => a - b);

/**
 * The share of pixels without a value among those for which there are scenes.
 * @param {TileReport[]} reports
 */
function shareOfHoles(reports) {
  const empty = reports.reduce((sum, { holes }) => sum + holes[0], 0);
  const all = reports.reduce((sum, { holes }) => sum + holes[1], 0);
  return all ? empty / all : 0;
}

/**
 * How many bits are set in any of several sets.
 * @param {Uint8Array[]} sets
 */
function countBits(sets) {
  const joined = new Uint8Array(Math.max(...sets.map((set) => set.length)));
  for (const set of sets) set.forEach((byte, i) => (joined[i] = (joined[i] ?? 0) | byte));
  let n = 0;
  for (let byte of joined) for (; byte; byte &= byte - 1) n += 1;
  return n;
}

/**
 * Bits are counted from the highest of each byte, as numpy.packbits does.
 * @param {Uint8Array} bytes
 * @param {number} n
 */
const bit = (bytes, n) => Boolean((bytes[n >> 3] ?? 0) & (128 >> (n & 7)));

/**
 * @param {Uint8Array} bytes
 * @param {number} n
 */
function setBit(bytes, n) {
  bytes[n >> 3] = (bytes[n >> 3] ?? 0) | (128 >> (n & 7));
}
