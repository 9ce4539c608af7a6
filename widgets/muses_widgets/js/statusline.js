// @ts-check
// The line at the head of the panel: what is loading, what failed, how large a pixel is.

/** @import { Panel } from "./panel.js" */

import { tilesDone } from "./describe.js";
import { h } from "./dom.js";
import { formatLength, formatTimes, plural } from "./format.js";
import { groundResolution } from "./mapview.js";

/**
 * What is told of a visible layer.
 * @typedef {object} LayerStatus
 * @property {string} name
 * @property {boolean} empty no scene fits its chain
 * @property {number} loading tiles under way
 * @property {number} total tiles that its view needs
 * @property {number} done
 * @property {number} failed
 * @property {number} leftOut scenes that could not be read
 * @property {boolean} shown every part of the view has its tile
 * @property {number | null} found scenes that touch the tiles shown
 * @property {number | null} enlarged
 */

/**
 * The line of a map.
 * @param {LayerStatus[]} layers the visible ones
 * @param {number} zoom
 * @param {number} metres of a pixel of the screen
 */
export function describeStatus(layers, zoom, metres) {
  /** @param {(layer: LayerStatus) => number} count */
  const sum = (count) => layers.reduce((all, layer) => all + count(layer), 0);
  const busy = layers.filter((layer) => layer.loading);
  const drawn = layers.filter((layer) => !layer.empty);
  const empty = layers.filter((layer) => layer.empty);
  const failed = sum((layer) => layer.failed);
  const leftOut = sum((layer) => layer.leftOut);
  const parts = [];
  if (busy.length) {
    const [done, total] = [sum((l) => (l.loading ? l.done : 0)), sum((l) => (l.loading ? l.total : 0))];
    parts.push(`${done} of ${plural(total, "tile")}…`);
  }
  if (failed) parts.push(`${plural(failed, "tile")} failed`);
  else if (leftOut) parts.push(`${plural(leftOut, "scene")} left out`);
  else if (drawn.length && !busy.length && drawn.every((layer) => layer.shown)) {
    parts.push(drawn.every((layer) => layer.found === 0) ? "No scenes here" : "All tiles shown");
  }
  if (empty.length) parts.push(`No scenes: ${empty.map((layer) => layer.name).join(", ")}`);
  parts.push(`zoom ${+zoom.toFixed(1)}`, `${formatLength(metres)} per pixel`);
  const past = drawn.flatMap((layer) => layer.enlarged ?? []);
  if (past.length && past.length === drawn.length) parts.push(`${formatTimes(Math.min(...past))} past native`);
  return parts.join(" · ");
}

export class StatusLine {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  clock;
  frame = 0;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.element = h("div", { class: "muses-summary", role: "status", "aria-live": "polite" });
    this.retry = h(
      "button",
      { class: "muses-button", type: "button", hidden: true, onclick: () => panel.guard(() => this.retryFailed()) },
      "Retry all",
    );
    panel.signal.addEventListener("abort", () => clearInterval(this.clock));
  }

  retryFailed() {
    for (const row of this.panel.visibleRows) row.askAgain();
  }

  /** Draws it with the next picture of the page, however often this is called before. */
  show() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.panel.guard(() => this.draw()));
  }

  draw() {
    const { map, root, rows, visibleRows } = this.panel;
    const zoom = map.getZoom();
    const metres = groundResolution(map, zoom);
    for (const row of rows.values()) row.drawState(metres);
    const layers = visibleRows.map((row) => ({
      name: row.entry.name,
      empty: Boolean(row.empty),
      loading: row.state.jobs.size,
      total: row.state.total,
      done: tilesDone(row.state),
      failed: row.state.failed.size,
      leftOut: row.unread.length,
      shown: row.shown,
      found: row.found,
      enlarged: row.enlarged,
    }));
    this.element.textContent = describeStatus(layers, zoom, metres);
    const loading = layers.reduce((sum, layer) => sum + layer.loading, 0);
    const failed = layers.reduce((sum, layer) => sum + layer.failed, 0);
    const failing = layers.filter((layer) => layer.failed).length;
    root.classList.toggle("muses-loading", loading > 0);
    root.classList.toggle("muses-failing", layers.some((layer) => layer.failed || layer.leftOut));
    // An unfolded panel has a button beside each layer's reason.
    this.retry.hidden = failed === 0 || (failing < 2 && !root.classList.contains("muses-folded"));
    root.dataset.loading = String(loading);
    root.dataset.failed = String(failed);
    this.panel.mapState.report();
    this.keepTime(loading > 0 || failed > 0);
  }

  /**
   * Seconds that pass, and those until the next try, are drawn anew although no tile arrives.
   * @param {boolean} passing
   */
  keepTime(passing) {
    if (!passing || this.panel.signal.aborted) {
      clearInterval(this.clock);
      this.clock = undefined;
    } else this.clock ??= setInterval(() => this.show(), 1000);
  }
}
