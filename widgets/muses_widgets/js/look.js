// @ts-check
// How a layer looks in this page: as its style in the kernel says, and what somebody changes of that by hand. It is seen
// at once; the kernel is told when the hand lets go, and then says the same as a style.

/** @import { Panel } from "./panel.js" */
/** @import { Colours, ContinuousLegend, Legend, RgbLegend } from "./types" */

import { bytesOf } from "./values.js";

/** By this name the kernel hears of changes: muses_widgets/sections/colours.py. */
export const LOOK = "colours";

/** @typedef {Partial<Pick<Colours, "cmap" | "table" | "vmin" | "vmax" | "gamma" | "hidden">>} Changes */
/** @typedef {Pick<import("./row.js").Row, "entry" | "recolour" | "drawLegend">} LookRow */

let sent = 0;

export class Look {
  /** @type {Changes} */
  changes = {};
  /** @type {string | null} by which the kernel's answer to the last message is known */
  asked = null;
  /** @type {number | null} */
  frame = null;

  /**
   * @param {Panel} panel
   * @param {LookRow} row
   */
  constructor(panel, row) {
    this.panel = panel;
    this.row = row;
  }

  /** @returns {Colours | null} null where the service draws the tiles: then only the kernel can change them */
  get colours() {
    const { colours } = this.row.entry;
    return colours ? { ...colours, ...this.changes } : null;
  }

  /** @returns {Legend | undefined} */
  get legend() {
    const { legend } = this.row.entry;
    if (!legend || !Object.keys(this.changes).length) return legend;
    const { hidden } = this.changes;
    if (legend.kind === "classes") return hidden ? { ...legend, entries: legend.entries.map((one) => ({ ...one, hidden: hidden.includes(one.value) })) } : legend;
    return changedLegend({ ...legend, ...limitsOf(this.changes) }, this.colours);
  }

  /**
   * Hides a class that the legend lists, or shows it again.
   * @param {number} value
   */
  toggle(value) {
    const { legend } = this;
    if (legend?.kind !== "classes") return;
    if (!this.colours && !this.panel.hasKernel) throw new Error("The server draws this layer, so its classes are hidden through the notebook's kernel, and none is connected. Run the notebook's cells, then try again.");
    const hidden = legend.entries.filter((one) => (one.value === value ? !one.hidden : one.hidden));
    this.preview({ hidden: hidden.map((one) => one.value) });
    this.commit();
  }

  /** @returns {{ vmin: number, vmax: number } | null} null of classes */
  get limits() {
    const { legend } = this.row.entry;
    return legend && legend.kind !== "classes" ? { vmin: legend.vmin, vmax: legend.vmax, ...limitsOf(this.changes) } : null;
  }

  /**
   * Shows changes in this page.
   * @param {Changes} changes
   */
  preview(changes) {
    this.changes = { ...this.changes, ...changes };
    this.asked = null;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.row.recolour();
      this.row.drawLegend();
    });
  }

  /** Writes the changes into the layer's style; without a kernel, into what the page knows of the layer. */
  commit() {
    const { entry } = this.row;
    const values = { ...this.changes };
    delete values.table; // of the palette's name
    if (!Object.keys(values).length) return;
    if (this.panel.hasKernel) {
      this.asked = `${this.panel.view.id}-${(sent += 1)}`;
      const named = Object.fromEntries(Object.entries(values).map(([name, value]) => [`style.${name}`, value]));
      this.panel.model.send({ section: LOOK, asked: this.asked, layer: entry.id, values: named });
      return;
    }
    const told = { ...entry, colours: this.colours, legend: this.legend };
    this.changes = {};
    this.panel.save({ layers: this.panel.model.get("layers").map((one) => (one.id === entry.id ? told : one)) });
  }

  /**
   * The kernel has written changes into the style, or refused them: what it tells of the layer holds.
   * @param {string} asked
   */
  answered(asked) {
    if (asked !== this.asked) return;
    this.asked = null;
    this.changes = {};
    this.row.recolour();
    this.row.drawLegend();
  }
}

/**
 * @param {Changes} changes
 * @returns {Partial<{ vmin: number, vmax: number }>}
 */
function limitsOf({ vmin, vmax }) {
  return { ...(vmin !== undefined && { vmin }), ...(vmax !== undefined && { vmax }) };
}

/**
 * @param {ContinuousLegend | RgbLegend} legend with its new limits
 * @param {Colours | null} colours
 * @returns {Legend}
 */
function changedLegend(legend, colours) {
  if (legend.kind === "rgb") return legend;
  const stops = colours ? stopsOf(colours) : legend.stops;
  return { ...legend, stops, ticks: ticksOf(legend.vmin, legend.vmax) };
}

/** A palette of so few colours has hard edges. */
const FEW = 64;
const STOPS = 32;

/**
 * What a ramp of a palette is drawn from: [offset, colour], linear in between.
 * @param {Pick<Colours, "table" | "gamma">} colours
 * @returns {[number, string][]}
 */
export function stopsOf({ table, gamma }) {
  const rgb = bytesOf(table);
  const count = rgb.length / 3;
  /** @param {number} n */
  const colour = (n) => "#" + [...rgb.subarray(3 * n, 3 * n + 3)].map((part) => part.toString(16).padStart(2, "0")).join("");
  const starts = [];
  for (let n = 0; n < count; n += 1) if (n === 0 || colour(n) !== colour(n - 1)) starts.push(n);
  if (starts.length <= FEW) {
    const edges = [...starts, count].map((n) => (n / count) ** gamma);
    return starts.flatMap((n, i) => [edges[i], edges[i + 1]].map((edge) => /** @type {[number, string]} */ ([edge, colour(n)])));
  }
  return Array.from({ length: STOPS + 1 }, (_, i) => [i / STOPS, colour(Math.round((i / STOPS) ** (1 / gamma) * (count - 1)))]);
}

/**
 * A few round values between two, and where they lie.
 * @param {number} low
 * @param {number} high
 */
export function ticksOf(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 2.5, 5, 10].find((n) => n * power >= raw * (1 - 1e-9)) ?? 10);
  const round = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) round.push(n * step);
  return (round.length > 1 ? round : [low, high]).map((value) => ({
    offset: Math.min(1, Math.max(0, (value - low) / (high - low))),
    label: String(Number(value.toPrecision(6))).replace("-", "−"),
  }));
}
