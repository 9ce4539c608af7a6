// @ts-check
// Values to colours, to the last bit as the service draws them: muses_lab/render.py. No page here, only numbers.

/** @import { BandValues, Colours, TileValues } from "./types" */

import { bytesOf } from "./values.js";

/** Steps of a range to which a gamma is applied, by a table. */
const GAMMA_STEPS = 65534;

/**
 * RGBA of a tile's pixels; transparent where a value is missing, or a class not listed or hidden.
 * @param {TileValues} values
 * @param {Colours} colours
 */
export function coloured({ width, height, bands }, colours) {
  const shown = colours.bands.map((n) => indices(/** @type {BandValues} */ (bands[n]), colours));
  const pixels = new Uint8ClampedArray(4 * width * height);
  if (colours.kind === "rgb") paintThree(pixels, /** @type {Three} */ (shown), colours.opacity);
  else paintOne(new Uint32Array(pixels.buffer), /** @type {Uint8Array} */ (shown[0]), palette(colours));
  return pixels;
}

/** @typedef {[Uint8Array, Uint8Array, Uint8Array]} Three */

/**
 * @param {Uint32Array} pixels
 * @param {Uint8Array} index
 * @param {Uint32Array} table
 */
function paintOne(pixels, index, table) {
  for (let i = 0; i < index.length; i += 1) pixels[i] = /** @type {number} */ (table[/** @type {number} */ (index[i])]);
}

/**
 * @param {Uint8ClampedArray} pixels
 * @param {Three} shown
 * @param {number} opacity
 */
function paintThree(pixels, [red, green, blue], opacity) {
  const alpha = rint(255 * opacity);
  for (let i = 0, at = 0; i < red.length; i += 1, at += 4) {
    const [r, g, b] = [red[i] ?? 0, green[i] ?? 0, blue[i] ?? 0];
    if (!(r && g && b)) continue;
    pixels[at] = INTENSITIES[r] ?? 0;
    pixels[at + 1] = INTENSITIES[g] ?? 0;
    pixels[at + 2] = INTENSITIES[b] ?? 0;
    pixels[at + 3] = alpha;
  }
}

/**
 * Number of each pixel's colour: 0 where there is none, 1 for the first.
 * @param {BandValues} band
 * @param {Colours} colours
 */
function indices({ numbers, codes }, colours) {
  const found = colours.kind === "classes" ? classified(numbers, colours.classes, colours.hidden) : stretched(numbers, colours);
  if (!codes) return found;
  const table = new Uint8Array(found.length + 1);
  table.set(found, 1);
  const out = new Uint8Array(codes.length);
  for (let i = 0; i < codes.length; i += 1) out[i] = /** @type {number} */ (table[/** @type {number} */ (codes[i])]);
  return out;
}

/**
 * Indices 1 at `vmin` and below to 255 at `vmax` and above, in the precision of the values.
 * @param {Float32Array | Float64Array} numbers
 * @param {Pick<Colours, "vmin" | "vmax" | "gamma">} range
 */
export function stretched(numbers, { vmin, vmax, gamma }) {
  const as = numbers instanceof Float32Array ? Math.fround : asIs;
  const table = gamma === 1 ? null : indexTable(gamma);
  const steps = table ? GAMMA_STEPS : 254;
  const low = as(vmin);
  const scale = as(steps / (vmax - vmin));
  const out = new Uint8Array(numbers.length);
  for (let i = 0; i < numbers.length; i += 1) {
    const t = as(as(/** @type {number} */ (numbers[i]) - low) * scale);
    if (Number.isNaN(t)) continue;
    const step = Math.trunc(as(Math.min(Math.max(t, 0), steps) + 1.5));
    out[i] = table ? /** @type {number} */ (table[step]) : step;
  }
  return out;
}

/** @param {number} x */
const asIs = (x) => x;

/** @type {{ gamma: number, table: Uint8Array }} the one that was used last: one slider moves at a time */
let known = { gamma: 0, table: new Uint8Array() };

/**
 * The index of each step, of which 0 is missing.
 * @param {number} gamma
 */
function indexTable(gamma) {
  if (known.gamma === gamma) return known.table;
  const table = new Uint8Array(GAMMA_STEPS + 2);
  for (let i = 0; i <= GAMMA_STEPS; i += 1) table[i + 1] = 1 + rint(254 * (i === GAMMA_STEPS ? 1 : i * (1 / GAMMA_STEPS)) ** (1 / gamma));
  known = { gamma, table };
  return table;
}

/**
 * Indices 1, 2, … of the classes in order of value.
 * @param {Float32Array | Float64Array} numbers
 * @param {number[]} classes
 * @param {number[]} [hidden]
 */
function classified(numbers, classes, hidden = []) {
  const as = numbers instanceof Float32Array ? Math.fround : asIs;
  /** @type {Map<number, number>} */
  const places = new Map();
  classes.forEach((value, n) => {
    if (!places.has(as(value))) places.set(as(value), hidden.includes(value) ? 0 : n + 1);
  });
  return Uint8Array.from(numbers, (value) => places.get(value) ?? 0);
}

/**
 * RGBA of each index, of which 0 is transparent.
 * @param {Pick<Colours, "table" | "opacity">} colours
 */
function palette({ table, opacity }) {
  const rgb = bytesOf(table);
  const bytes = new Uint8Array(4 * 256);
  const alpha = opacity >= 1 ? 255 : rint(255 * opacity);
  for (let n = 0; 3 * n < rgb.length; n += 1) bytes.set([rgb[3 * n] ?? 0, rgb[3 * n + 1] ?? 0, rgb[3 * n + 2] ?? 0, alpha], 4 * (n + 1));
  return new Uint32Array(bytes.buffer);
}

/**
 * Rounds halves to the even number, as NumPy does.
 * @param {number} x not negative
 */
export function rint(x) {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 ? up - 1 : up;
}

/** From black to white, the intensity of each index. */
const INTENSITIES = Uint8Array.from({ length: 256 }, (_, n) => (n ? rint((n - 1) * (255 / 254)) : 0));
