// @ts-check
// Values as text.

/**
 * Four significant digits, no trailing zeros: 0.1235, 12300, 1.5e-7.
 * @param {number | null | undefined} value
 */
export function formatNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "no data";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(+value.toPrecision(size >= 1000 ? 7 : 4));
}

/** @param {number} metres */
export function formatLength(metres) {
  if (metres >= 1000) return `${+(metres / 1000).toPrecision(3)} km`;
  return `${+metres.toPrecision(metres < 10 ? 2 : 3)} m`;
}

/** @param {number[]} sizes in metres */
export const formatLengths = (sizes) => sizes.map(formatLength).join(" and ");

/**
 * 2.9 ×, 90 ×
 * @param {number} factor
 */
export const formatTimes = (factor) => `${factor < 9.5 ? +factor.toFixed(1) : Math.round(factor)} ×`;

/**
 * 0.42 s, 3.1 s, 12 s, 2 min: as precise as one needs to know.
 * @param {number} seconds
 */
export function formatSeconds(seconds) {
  if (seconds < 0.995) return `${Math.max(0.01, seconds).toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  return seconds < 99.5 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/**
 * 1 tile, 2 tiles
 * @param {number} n
 * @param {string} word
 */
export const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/**
 * 3 KiB, 1.5 MiB, 2.0 GiB
 * @param {number} bytes
 */
export function formatBytes(bytes) {
  if (bytes >= 1 << 30) return `${(bytes / (1 << 30)).toFixed(1)} GiB`;
  return bytes >= 1 << 20 ? `${+(bytes / (1 << 20)).toPrecision(bytes < 10 << 20 ? 2 : 4)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}
