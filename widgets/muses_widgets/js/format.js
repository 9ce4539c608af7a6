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

/** @param {number} square metres */
export function formatArea(square) {
  if (square >= 1e6) return `${+(square / 1e6).toPrecision(4)} km²`;
  return square >= 1e4 ? `${+(square / 1e4).toPrecision(4)} ha` : `${+square.toPrecision(4)} m²`;
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
 * 1st, 2nd, 3rd, 4th, 11th, 22nd.
 * @param {number} n
 */
export function ordinal(n) {
  const teen = n % 100 > 10 && n % 100 < 14;
  return `${n}${(!teen && ["th", "st", "nd", "rd"][n % 10]) || "th"}`;
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

/**
 * 05:42 of today, 2026-05-31 05:42 of another day; in the clock of who looks.
 * @param {string} when as `Date` reads it
 * @param {Date} [now]
 */
export function formatWhen(when, now = new Date()) {
  const at = new Date(when);
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return at.toDateString() === now.toDateString() ? clock : `${at.toLocaleDateString("sv")} ${clock}`;
}

/**
 * lon 1.40000°, lat 43.60000°: as the API takes a place, longitude first.
 * @param {number} lon
 * @param {number} lat
 * @param {number} [digits] after the point; five are a metre
 */
export const formatPlace = (lon, lat, digits = 5) => `lon ${lon.toFixed(digits)}°, lat ${lat.toFixed(digits)}°`;
