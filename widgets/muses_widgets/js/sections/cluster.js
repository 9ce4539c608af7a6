// @ts-check
// The cluster panel: what computes, how large it is, what it does; start and stop. Asks the page's server, so it works
// without a kernel and while the kernel is busy.

/** @import { ClusterLook } from "../types" */

import { h } from "../dom.js";
import { formatBytes, plural } from "../format.js";
import { addSection } from "../sections.js";
import { askJson, isAbort, messageOf, postJson } from "../server.js";

/** @type {Record<string, string>} */
const STATES = { off: "off", starting: "starting", idle: "ready", busy: "computing", silent: "no answer" };
/** @type {Record<string, string>} */
const KINDS = { gateway: "Your Dask cluster", embedded: "Embedded Dask cluster", threads: "Threads" };
/** @type {Record<string, string>} */
const UNITS = { workers: "workers", cores: "threads each", memory: "GiB each" };

/**
 * A box that shows and drives the user's cluster.
 * @param {AbortSignal} signal until when
 * @param {boolean} [open] with its details shown
 */
export function clusterBox(signal, open = true) {
  return new ClusterBox(signal, open).root;
}

class ClusterBox {
  /**
   * @param {AbortSignal} signal
   * @param {boolean} open
   */
  constructor(signal, open) {
    this.signal = signal;
    /** @type {ClusterLook | null} */
    this.look = null;
    /** @type {Record<string, number>} sizes by name, for the next start */
    this.chosen = {};
    this.pressed = false; // the button, and the service has not answered yet
    this.wake = () => {};
    this.state = h("span", { class: "muses-cluster-state" });
    this.title = h("span", {}, "Cluster");
    this.doing = h("div", { class: "muses-cluster-doing", role: "status", "aria-live": "polite" });
    this.memory = h("progress", { class: "muses-cluster-memory", "aria-label": "Memory of the workers", hidden: true });
    this.facts = h("div", { class: "muses-note" });
    this.reason = h("div", { class: "muses-note muses-error", role: "alert", hidden: true });
    this.sizes = h("div", { class: "muses-cluster-sizes", hidden: true });
    this.button = h("button", { class: "muses-button", type: "button", onclick: () => this.press() }, "Start");
    this.root = h(
      "details",
      { class: "muses-cluster", open },
      h("summary", {}, this.title, this.state),
      h(
        "div",
        { class: "muses-cluster-body" },
        this.doing,
        this.memory,
        this.facts,
        this.reason,
        this.sizes,
        h("div", { class: "muses-export-row" }, this.button),
      ),
    );
    this.watch();
  }

  async watch() {
    while (!this.signal.aborted) {
      const seen = this.root.isConnected && document.visibilityState === "visible" && this.root.offsetParent !== null;
      if (seen && !this.pressed) await this.refresh();
      await this.pause(this.root.open && this.root.isConnected ? 2000 : 500 + (this.look ? 4500 : 0));
    }
  }

  /**
   * Ends early when `wake` is called or the box is no longer wanted.
   * @param {number} milliseconds
   * @returns {Promise<void>}
   */
  pause(milliseconds) {
    return new Promise((resolve) => {
      this.wake = () => {
        clearTimeout(timer);
        this.signal.removeEventListener("abort", this.wake);
        resolve();
      };
      const timer = setTimeout(this.wake, milliseconds);
      this.signal.addEventListener("abort", this.wake);
    });
  }

  async refresh() {
    try {
      const look = await askJson("muses:cluster", { signal: this.signal });
      if (!this.pressed) this.show(look);
    } catch (error) {
      if (!isAbort(error)) this.show({ state: "silent", doing: messageOf(error) });
    }
  }

  /** @param {ClusterLook} look */
  show(look) {
    this.look = look;
    this.root.dataset.state = look.state;
    this.root.dataset.workers = String(look.workers ?? 0);
    this.title.textContent = KINDS[look.kind ?? ""] ?? "Cluster";
    this.state.textContent = STATES[look.state] ?? look.state;
    this.doing.textContent = look.doing;
    this.memory.hidden = !look.limit;
    if (look.limit) {
      this.memory.max = look.limit;
      this.memory.value = look.memory ?? 0;
      this.memory.title = `${formatBytes(look.memory ?? 0)} of ${formatBytes(look.limit)}`;
    }
    this.facts.textContent = clusterFacts(look);
    this.reason.hidden = !look.reason;
    this.reason.textContent = look.reason || "";
    const there = ["idle", "busy", "starting"].includes(look.state);
    this.button.textContent = there ? "Stop" : "Start";
    this.button.hidden = look.kind === "threads" || (look.state === "silent" && !look.kind);
    this.button.disabled = false;
    this.showSizes(there ? {} : (look.offered ?? {}));
  }

  /**
   * What may be chosen before the start. Built once: a number being typed must not be replaced.
   * @param {NonNullable<ClusterLook["offered"]>} offered
   */
  showSizes(offered) {
    const sizes = Object.entries(offered).filter(([, { min = 0, max }]) => max > min);
    const names = sizes.map(([name]) => name).join();
    this.sizes.hidden = !sizes.length;
    if (this.sizes.dataset.names === names) return;
    this.sizes.dataset.names = names;
    this.sizes.replaceChildren(
      ...sizes.map(([name, { min = 1, max, default: value }]) => {
        const input = h("input", { type: "number", min: String(min), max: String(max), value: String(this.chosen[name] ?? value) });
        input.step = Number.isInteger(value) && name !== "memory" ? "1" : "0.5";
        input.addEventListener("change", () => (this.chosen[name] = Number(input.value)));
        return h("label", {}, input, UNITS[name] ?? name);
      }),
    );
  }

  async press() {
    const starts = this.button.textContent === "Start";
    const wish = starts ? { do: "start", options: this.chosen } : { do: "stop" };
    this.pressed = true;
    this.button.disabled = true;
    this.doing.textContent = starts ? "starting" : "stopping; what it computes is dropped";
    try {
      const look = await postJson("muses:cluster", JSON.stringify(wish), { signal: this.signal });
      this.pressed = false;
      if (look.kind) this.show(look);
      else this.wake();
    } catch (error) {
      if (isAbort(error)) return;
      this.pressed = false;
      this.button.disabled = false;
      this.reason.hidden = false;
      this.reason.textContent = messageOf(error);
    }
  }
}

/** @param {ClusterLook} look */
export function clusterFacts({ workers, threads = 0, memory = 0, limit, since }) {
  if (!workers) return "";
  const parts = [plural(workers, "worker"), plural(threads, "thread")];
  if (limit) parts.push(`${formatBytes(memory)} of ${formatBytes(limit)}`);
  if (since) parts.push(`since ${new Date(since * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
  return parts.join(" · ");
}

addSection("cluster", (panel) => ({ body: [clusterBox(panel.signal, false)] }), { order: 40 });
