// @ts-check
// Coordinates as people write them.

const NUMBER = String.raw`([+-]?\d+(?:[.,]\d+)?)`;
const PART = new RegExp(String.raw`^\s*([NSEWO])?\s*${NUMBER}\s*°?(?:\s*${NUMBER}\s*['′’])?(?:\s*${NUMBER}\s*(?:["″”]|''))?\s*([NSEWO])?\s*$`, "i");

/**
 * 43.6, 1.44 (latitude first) · 43.6 1.44 · 43°36'16"N 1°26'38"E · E 1.44, N 43.6: null where it is none.
 * @param {string} text
 * @returns {{ lat: number, lng: number } | null}
 */
export function readCoordinates(text) {
  const parts = /[;,]\s|;/.test(text) ? text.split(/[;,]\s+|;/) : /[NSEWO°]/i.test(text) ? text.split(/(?<=[NSEWO])\s+(?=[\d+-])|(?<=[\d"″'′°])\s+(?=[NSEWO])/i) : text.trim().split(/\s+|,(?=\s*[+-]?\d+\.)/);
  if (parts.length !== 2) return null;
  const [first, second] = parts.map(readAngle);
  if (!first || !second) return null;
  const swapped = first.axis === "lng" || second.axis === "lat";
  if (first.axis && first.axis === second.axis) return null;
  const [lat, lng] = swapped ? [second.value, first.value] : [first.value, second.value];
  return Math.abs(lat) <= 90 && Math.abs(lng) <= 180 ? { lat, lng } : null;
}

/** @param {string} text */
function readAngle(text) {
  const found = PART.exec(text);
  if (!found) return null;
  const [, before, degrees = "", minutes, seconds, after] = found;
  const side = (before ?? after)?.toUpperCase();
  /** @param {string | undefined} digits */
  const number = (digits) => Number((digits ?? "0").replace(",", "."));
  const size = Math.abs(number(degrees)) + number(minutes) / 60 + number(seconds) / 3600;
  const negative = degrees.startsWith("-") || side === "S" || side === "W" || side === "O";
  const axis = !side ? null : side === "N" || side === "S" ? "lat" : "lng";
  return { value: negative ? -size : size, axis };
}
