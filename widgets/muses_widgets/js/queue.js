// @ts-check
// Asks the service what layers that take longer are waiting for, once a second.

/** @import { Panel } from "./panel.js" */
/** @import { Row } from "./row.js" */
/** @import { QueueStatus } from "./types" */

import { askJson } from "./server.js";
import { tileLoader } from "./tiles.js";

const INTERVAL_MS = 1000;

export class Queue {
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;
  /** @type {number | null} blocks that the cluster has finished; null while nobody waits: blocks of that time do not count */
  finished = null;
  /** When the last one came. */
  since = 0;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
  }

  get loadingRows() {
    return this.panel.visibleRows.filter((row) => row.loading);
  }

  /** Goes on as long as a layer loads. */
  watch() {
    this.timer ??= setTimeout(async () => {
      try {
        await this.ask(this.loadingRows);
      } catch (error) {
        console.debug("[muses] the queue is not known:", error); // the tiles themselves tell of a lost service
      }
      this.timer = null;
      if (!this.panel.signal.aborted && this.loadingRows.length) this.watch();
      else this.finished = null;
    }, INTERVAL_MS);
  }

  /** @param {Row[]} rows */
  async ask(rows) {
    const { view } = this.panel;
    if (!rows.length || !view.view) return;
    const chains = [...new Set(rows.map((row) => row.entry.chain))];
    /** @type {QueueStatus} */
    const status = await askJson(`muses:status?chains=${chains}&z=${view.view.z}&view=${view.id}`, { seconds: 10 });
    this.noteWork(status.queue?.counts?.finished);
    if (status.service?.timeout) tileLoader().patience = status.service.timeout + 10;
    for (const row of rows) row.showQueue(status.chains[row.entry.chain ?? ""]?.progress, status.queue, this.since);
    this.panel.showStatus();
  }

  /**
   * When the cluster last gave a block back: an expected time is told only while it does.
   * @param {number | undefined} finished
   * @param {number} [now] milliseconds, as performance.now()
   */
  noteWork(finished, now = performance.now()) {
    if (finished === undefined) return;
    if (this.finished !== null && finished > this.finished) this.since = now;
    this.finished = finished;
  }
}
