// @ts-check
// Reads a tile's values as the service packs them: muses_lab/service/value_tile.py.

/** @import { BandValues, TileValues } from "./types" */

export const VALUES_TYPE = "application/vnd.muses.values";

/** @param {string} text in base64 */
export const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array, float64: Float64Array };

/**
 * The values of an answer's body, whose arrays are views into it.
 * @param {ArrayBuffer} body
 * @returns {TileValues}
 */
export function readValues(body) {
  const bytes = new Uint8Array(body);
  const end = bytes.indexOf(10);
  const { size, type, bands } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const [height, width] = size;
  let at = end + 1;
  /** @param {keyof typeof ARRAYS} name @param {number} count */
  const next = (name, count) => {
    const found = new ARRAYS[name](body, at, count);
    at += Math.ceil(found.byteLength / 8) * 8;
    return found;
  };
  return {
    width,
    height,
    bands: bands.map((/** @type {{ codes: "uint8" | "uint16" | null, table: number }} */ { codes, table }) =>
      /** @type {BandValues} */ (
        codes ? { numbers: next(type, table), codes: next(codes, width * height) } : { numbers: next(type, width * height), codes: null }
      ),
    ),
  };
}
