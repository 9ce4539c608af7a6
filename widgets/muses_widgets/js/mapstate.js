// @ts-check
// What the page knows of a map's layers, for the kernel: whether their tiles came, and why not.

/** @import { Panel } from "./panel.js" */
/** @import { Row } from "./row.js" */
/** @import { LayerState } from "./types" */

import { tilesDone } from "./describe.js";

/** Milliseconds between two messages. */
const REST_MS = 300;
/** So many reasons are told of a layer. */
const REASONS = 5;

/**
 * @param {Pick<Row, "entry" | "state" | "unread" | "found" | "used" | "shown">} row
 * @returns {LayerState}
 */
export function stateOf({ entry, state, unread, found, used, shown }) {
  const failures = [...state.failed.values()].map(({ reason }) => reason);
  const why = [...new Set([...failures, ...unread.map(({ id, reason }) => `${id}: ${reason}`)])];
  const loading = state.jobs.size > 0 || !(shown || failures.length);
  const part = failures.length >= state.total ? "failed" : "partial";
  const told = { chain: entry.chain ?? "", style: entry.style ?? "", state: loading ? "loading" : failures.length ? part : unread.length ? "partial" : "ok" };
  // Counts change with every tile; while they come, that they come is all.
  if (loading) return { ...told, why: [] };
  return {
    ...told,
    why: why.slice(0, REASONS),
    tiles: { total: state.total, done: tilesDone(state), failed: failures.length },
    ...(found !== null && { scenes: { used: used ?? 0, found, left_out: unread.length } }),
  };
}

export class MapState {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  told = "";

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    panel.signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /** Tells the kernel, if there is one, soon; called whenever anything may be another. */
  report() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.panel.guard(() => this.tell());
    }, REST_MS);
  }

  tell() {
    if (!this.panel.hasKernel || this.panel.signal.aborted) return;
    const rows = this.panel.allRows.filter((row) => row.visible && !row.empty);
    const shown = Object.fromEntries(rows.map((row) => [row.entry.id, row.told()]));
    const text = JSON.stringify(shown);
    if (text === this.told) return;
    this.told = text;
    this.panel.save({ shown: { layers: shown } });
  }
}
