// @ts-check
// Small plots of parcels: a line and its 10–90 % band for each, all on the same axes.

/** @import { SmallSeries } from "../types" */

import { h } from "../dom.js";
import { formatNumber } from "../format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 160;
const HEIGHT = 56;

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...Node} children
 */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * The lowest and the highest value of all of them.
 * @param {SmallSeries[]} parcels
 * @returns {[number, number]}
 */
export function extent(parcels) {
  let low = Infinity;
  let high = -Infinity;
  for (const { line, low: lows = [], high: highs = [] } of parcels) {
    for (const value of [...line, ...lows, ...highs]) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

/**
 * A path through the valid values.
 * @param {(number | null)[]} values
 * @param {number[]} xs
 * @param {(value: number) => number} y
 */
export function pathOf(values, xs, y) {
  const points = values.flatMap((value, i) => (value === null ? [] : [`${(xs[i] ?? 0).toFixed(1)},${y(value).toFixed(1)}`]));
  return points.length ? `M${points.join("L")}` : "";
}

export class ParcelPlots {
  /** @param {(number: number) => void} choose */
  constructor(choose) {
    this.choose = choose;
    this.axes = h("div", { class: "muses-note" });
    this.grid = h("div", { class: "muses-parcel-plots", role: "group", "aria-label": "Small plots of parcels" });
    this.element = h("div", {}, this.axes, this.grid);
  }

  /**
   * @param {SmallSeries[]} parcels
   * @param {string[]} names
   * @param {string[]} dates
   * @param {number} chosen
   * @param {string} quantity
   */
  show(parcels, names, dates, chosen, quantity) {
    const [low, high] = extent(parcels);
    this.axes.textContent = dates.length
      ? `${quantity}: ${formatNumber(low)} to ${formatNumber(high)}, from ${dates[0]?.slice(0, 10)} to ${dates.at(-1)?.slice(0, 10)} in every plot`
      : "The chain has no dates, so there are no series.";
    const times = dates.map((date) => Date.parse(`${date.replace(" ", "T")}Z`));
    const [first, last] = [times[0] ?? 0, times.at(-1) ?? 1];
    const xs = times.map((time) => (last > first ? ((time - first) / (last - first)) * WIDTH : WIDTH / 2));
    /** @param {number} value */
    const y = (value) => HEIGHT - 2 - ((value - low) / (high - low)) * (HEIGHT - 4);
    this.grid.replaceChildren(...(dates.length ? parcels.map((one) => this.plot(one, names, xs, y)) : []));
    this.choice(chosen);
  }

  /** @param {number} chosen */
  choice(chosen) {
    for (const button of this.grid.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.number) === chosen));
  }

  /**
   * @param {SmallSeries} parcel
   * @param {string[]} names
   * @param {number[]} xs
   * @param {(value: number) => number} y
   */
  plot({ number, line, low, high }, names, xs, y) {
    const name = names[number] ?? "";
    const valid = line.filter((value) => value !== null).length;
    const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    if (low && high) {
      const back = pathOf([...low].reverse(), [...xs].reverse(), y);
      const band = valid ? `${pathOf(high, xs, y)}${back.replace("M", "L")}Z` : "";
      drawn.append(svg("path", { class: "muses-parcel-band", d: band }));
    }
    drawn.append(svg("path", { class: "muses-parcel-curve", d: pathOf(line, xs, y) }));
    // Points are strokes without length: they stay round however the plot is stretched.
    const dots = line.map((value, i) => (value === null ? "" : `M${(xs[i] ?? 0).toFixed(1)},${y(value).toFixed(1)}h0`)).join("");
    drawn.append(svg("path", { class: "muses-parcel-dots", d: dots }));
    return h(
      "button",
      { type: "button", class: "muses-parcel-plot", "data-number": String(number), "aria-label": `${name}: values on ${valid} of ${line.length} dates`, onclick: () => this.choose(number) },
      h("span", { class: "muses-name" }, name),
      valid ? drawn : h("span", { class: "muses-note" }, "no value"),
    );
  }
}
