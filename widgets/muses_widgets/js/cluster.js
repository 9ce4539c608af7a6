// The cluster panel: what computes, how large it is, what it does; start and stop. Asks the page's server, so it works
// without a kernel and while the kernel is busy.

const CLUSTER_STATES = { off: "off", starting: "starting", idle: "ready", busy: "computing", silent: "no answer" };
const CLUSTER_KINDS = { gateway: "Your Dask cluster", embedded: "Embedded Dask cluster", threads: "Threads" };
const CLUSTER_UNITS = { workers: "workers", cores: "threads each", memory: "GiB each" };

/** A box that shows and drives the user's cluster until `signal` aborts; `open`: with its details shown. */
function clusterBox(signal, open = true) {
  return new ClusterBox(signal, open).root;
}

class ClusterBox {
  constructor(signal, open) {
    this.signal = signal;
    this.look = null;
    this.chosen = {};
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

  pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wake = () => (clearTimeout(timer), resolve());
      this.signal.addEventListener("abort", this.wake, { once: true });
    });
  }

  async refresh() {
    try {
      const look = await askJson("muses:cluster", { signal: this.signal });
      if (!this.pressed) this.show(look);
    } catch (error) {
      if (error.name !== "AbortError") this.show({ state: "silent", doing: error.message, reason: "" });
    }
  }

  show(look) {
    this.look = look;
    this.root.dataset.state = look.state;
    this.root.dataset.workers = look.workers ?? 0;
    this.title.textContent = CLUSTER_KINDS[look.kind] ?? "Cluster";
    this.state.textContent = CLUSTER_STATES[look.state] ?? look.state;
    this.doing.textContent = look.doing;
    this.memory.hidden = !look.limit;
    if (look.limit) {
      this.memory.max = look.limit;
      this.memory.value = look.memory;
      this.memory.title = `${formatBytes(look.memory)} of ${formatBytes(look.limit)}`;
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

  /** What may be chosen before the start. Built once: a number being typed must not be replaced. */
  showSizes(offered) {
    const names = Object.keys(offered).filter((name) => offered[name].max > (offered[name].min ?? 0));
    this.sizes.hidden = !names.length;
    if (this.sizes.dataset.names === names.join()) return;
    this.sizes.dataset.names = names.join();
    this.sizes.replaceChildren(
      ...names.map((name) => {
        const { min, max, default: value } = offered[name];
        const input = h("input", { type: "number", min: String(min ?? 1), max: String(max), value: String(this.chosen[name] ?? value) });
        input.step = Number.isInteger(value) && name !== "memory" ? "1" : "0.5";
        input.addEventListener("change", () => (this.chosen[name] = Number(input.value)));
        return h("label", {}, input, CLUSTER_UNITS[name] ?? name);
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
      const look = await askJson("muses:cluster", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(wish),
        signal: this.signal,
      });
      this.pressed = false;
      if (look.kind) this.show(look);
      else this.wake?.();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.pressed = false;
      this.button.disabled = false;
      this.reason.hidden = false;
      this.reason.textContent = error.message;
    }
  }
}

function clusterFacts(look) {
  if (!look.workers) return "";
  const parts = [plural(look.workers, "worker"), plural(look.threads, "thread")];
  if (look.limit) parts.push(`${formatBytes(look.memory)} of ${formatBytes(look.limit)}`);
  if (look.since) parts.push(`since ${new Date(look.since * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
  return parts.join(" · ");
}

function formatBytes(bytes) {
  return bytes >= 1 << 30 ? `${(bytes / (1 << 30)).toFixed(1)} GiB` : `${Math.round(bytes / (1 << 20))} MiB`;
}
