// @ts-check
// The colour of a value by a legend.

/** @import { ContinuousLegend } from "./types" */

/** Of a parcel without a value. */
export const NOTHING = "#9e9e9e";

/**
 * The colour of a value: linear between the legend's stops, as the tiles have it; null of a missing value.
 * @param {Pick<ContinuousLegend, "stops" | "vmin" | "vmax">} legend
 * @param {number | null | undefined} value
 */
export function colourOf({ stops, vmin, vmax }, value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return null;
  const at = vmax > vmin ? Math.min(1, Math.max(0, (value - vmin) / (vmax - vmin))) : 0;
  const next = stops.findIndex(([offset]) => offset >= at);
  const [high, upper] = stops[next < 0 ? stops.length - 1 : next] ?? [1, NOTHING];
  const [low, lower] = stops[Math.max(0, next - 1)] ?? [0, upper];
  const share = high > low ? (at - low) / (high - low) : 1;
  /** @param {number} i of red, green, blue */
  const channel = (i) => Math.round(part(lower, i) + (part(upper, i) - part(lower, i)) * share);
  return `#${[0, 1, 2].map((i) => channel(i).toString(16).padStart(2, "0")).join("")}`;
}

/**
 * @param {string} colour #rrggbb
 * @param {number} i
 */
const part = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
