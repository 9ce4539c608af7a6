// @ts-check
// Legends, drawn from the JSON that a style gives: {kind: "continuous" | "classes" | "rgb", …}.

/** @import { ClassesLegend, ContinuousLegend, Legend, RgbLegend } from "./types" */

import { h } from "./dom.js";
import { formatNumber } from "./format.js";

/**
 * @param {Legend | undefined} legend
 * @param {(value: number) => void} [toggle] hides a class or shows it again; without it, nobody can
 */
export function drawLegend(legend, toggle) {
  if (!legend) return null;
  if (legend.kind === "continuous") return drawRamp(legend);
  if (legend.kind === "classes") return drawClasses(legend, toggle);
  if (legend.kind === "rgb") return drawRgb(legend);
  throw new Error(`Unknown kind of legend: ${JSON.stringify(/** @type {{ kind: unknown }} */ (legend).kind)}`);
}

/**
 * A legend as the background of a small square.
 * @param {Legend | undefined} legend
 */
export function swatchOf(legend) {
  if (!legend) return "";
  if (legend.kind === "continuous") return `linear-gradient(to right, ${legend.stops.map(([offset, colour]) => `${colour} ${(offset * 100).toFixed(2)}%`).join(", ")})`;
  const colours = legend.kind === "classes" ? legend.entries.filter(({ hidden }) => !hidden).slice(0, STRIPES).map(({ colour }) => colour) : RGB;
  return `linear-gradient(to right, ${colours.map((colour, n) => `${colour} ${(100 * n) / colours.length}% ${(100 * (n + 1)) / colours.length}%`).join(", ")})`;
}

/** So many classes are told by a square. */
const STRIPES = 4;
const RGB = ["#d32f2f", "#2e7d32", "#1565c0"];

/** @param {ContinuousLegend} legend */
function drawRamp({ stops, ticks, vmin, vmax, label, unit, opacity }) {
  const title = titleOf(label, unit);
  const colours = stops.map(([offset, colour]) => `${colour} ${(offset * 100).toFixed(2)}%`).join(", ");
  return h(
    "div",
    { class: "muses-legend", role: "img", "aria-label": `Colours from ${vmin} to ${vmax} ${title}` },
    title && h("div", { class: "muses-legend-title" }, title),
    h(
      "div",
      { class: "muses-ramp" },
      h("div", { style: `background: linear-gradient(to right, ${colours}); opacity: ${opacity ?? 1}` }),
    ),
    h(
      "div",
      { class: "muses-ticks" },
      ticks.map((tick) => h("span", { style: `left: ${tick.offset * 100}%` }, tick.label)),
    ),
  );
}

/**
 * @param {ClassesLegend} legend
 * @param {(value: number) => void} [toggle]
 */
function drawClasses({ entries, label, unit }, toggle) {
  const title = titleOf(label, unit);
  return h(
    "div",
    { class: "muses-legend" },
    title && h("div", { class: "muses-legend-title" }, title),
    h(
      "ul",
      { class: "muses-classes" },
      entries.map(({ value, colour, label: text, hidden }) => {
        const parts = [h("span", { class: "muses-swatch", style: `background: ${colour}` }), h("span", {}, text)];
        const look = hidden ? "muses-class-hidden" : "";
        if (!toggle) return h("li", { class: look }, ...parts);
        const title = hidden ? `Show ${text}` : `Hide ${text}`;
        return h("li", { class: look }, h("button", { type: "button", class: "muses-class", title, "aria-pressed": String(!hidden), "data-value": String(value), onclick: () => toggle(value) }, ...parts));
      }),
    ),
  );
}

/**
 * @param {string | null} [label]
 * @param {string | null} [unit]
 */
const titleOf = (label, unit) => [label, unit && `(${unit})`].filter(Boolean).join(" ");

/** @param {RgbLegend} legend */
function drawRgb({ bands, vmin, vmax }) {
  const names = bands?.length === 3 ? bands : ["red", "green", "blue"];
  return h(
    "div",
    { class: "muses-legend" },
    h(
      "div",
      { class: "muses-rgb" },
      RGB.map((colour, i) =>
        h("span", {}, h("span", { class: "muses-swatch", style: `background: ${colour}` }), String(names[i])),
      ),
    ),
    h("div", { class: "muses-note" }, `stretched from ${formatNumber(vmin)} to ${formatNumber(vmax)}`),
  );
}
