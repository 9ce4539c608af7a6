// One layer in the panel's list, and its hold on the Leaflet layer.

class Row {
  constructor(panel, layerModel) {
    this.panel = panel;
    this.layerModel = layerModel;
    this.layer = null;
    this.entry = null;
    this.unread = []; // scenes that could not be read, with the service's reasons
    this.queue = null; // what goes before this layer's tiles, while they load
    this.build();
    this.listener = () =>
      panel.guard(() => {
        panel.reportView();
        this.showModel();
      });
    layerModel.on("change:visible change:opacity", this.listener);
  }

  build() {
    const { panel } = this;
    this.box = h("input", { type: "checkbox" });
    this.box.addEventListener("change", () => panel.guard(() => this.setModel({ visible: this.box.checked })));
    this.name = h("span", { class: "muses-name" });
    this.up = this.arrow("Move up", "▲", -1);
    this.down = this.arrow("Move down", "▼", +1);
    this.opacity = h("input", { type: "range", min: "0", max: "100", step: "5", "aria-label": "Opacity" });
    this.opacity.addEventListener("input", () => this.layer?.setOpacity(this.opacity.value / 100));
    this.opacity.addEventListener("change", () => panel.guard(() => this.setModel({ opacity: this.opacity.value / 100 })));
    this.percent = h("span", { class: "muses-percent" });
    this.legend = h("div");
    this.note = h("div", { class: "muses-note muses-told" });
    this.failures = h("details", { class: "muses-failures" });
    this.retry = h("button", { class: "muses-button", type: "button", onclick: () => panel.guard(() => this.askAgain()) }, "Retry");
    this.trouble = h("div", { class: "muses-trouble", hidden: true }, this.failures, this.retry);
    this.filled = h("div");
    this.bar = h("div", { class: "muses-bar", role: "progressbar", "aria-label": "Tiles shown" }, this.filled);
    this.details = h(
      "div",
      { class: "muses-details" },
      this.legend,
      h("label", { class: "muses-opacity" }, h("span", {}, "Opacity"), this.opacity, this.percent),
      this.note,
      this.trouble,
    );
    this.element = h(
      "div",
      { class: "muses-layer" },
      h("div", { class: "muses-layer-head" }, h("label", {}, this.box, this.name), this.up, this.down),
      this.bar,
      this.details,
    );
  }

  arrow(label, sign, step) {
    const move = () => this.panel.guard(() => this.panel.move(this.entry.id, step));
    return h("button", { type: "button", class: "muses-icon", "aria-label": label, title: label, onclick: move }, sign);
  }

  get visible() {
    return this.layerModel.get("visible");
  }

  /** Takes over what the kernel says of the layer. */
  update(entry) {
    const old = this.entry;
    this.entry = entry;
    this.name.textContent = entry.name;
    this.name.title = `${entry.name}\nchain ${entry.chain}\nstyle ${entry.style}`;
    this.element.dataset.name = entry.name;
    const entries = this.panel.model.get("layers");
    this.up.disabled = entries[0].id === entry.id;
    this.down.disabled = entries[entries.length - 1].id === entry.id;
    this.up.hidden = this.down.hidden = entries.length < 2;
    if (old?.chain !== entry.chain) this.unread = [];
    if (JSON.stringify(old?.legend) !== JSON.stringify(entry.legend)) {
      this.legend.replaceChildren(...[drawLegend(entry.legend)].filter(Boolean));
    }
    this.showModel();
  }

  /** Finds the Leaflet layer once ipyleaflet has made it, and lets its tiles come if it is visible. */
  async adopt() {
    const layer = await findLayer(this.layerModel, this.panel.mapView);
    if (!layer) return;
    if (layer !== this.layer) {
      this.layer = layer;
      takeOver(layer);
      layer.on("musestiles", () => this.tilesChanged());
    }
    this.applyVisibility();
    tileLoader().adopt(layer);
  }

  setModel(changes) {
    this.layerModel.set(changes);
    this.layerModel.save_changes();
  }

  showModel() {
    const percent = Math.round(this.layerModel.get("opacity") * 100);
    this.box.checked = this.visible;
    this.opacity.value = percent;
    this.percent.textContent = `${percent} %`;
    this.element.classList.toggle("muses-hidden", !this.visible);
    this.applyVisibility();
    this.panel.showStatus();
  }

  /** ipyleaflet hides a layer by opacity 0 and goes on loading it; what is not looked at must not be computed. */
  applyVisibility() {
    const { layer, visible } = this;
    const { map } = this.panel;
    if (!layer || !map) return;
    if (visible && !map.hasLayer(layer)) map.addLayer(layer);
    if (!visible && map.hasLayer(layer)) map.removeLayer(layer);
  }

  tilesChanged() {
    this.panel.showStatus();
    this.panel.watchQueue();
    clearTimeout(this.reportTimer);
    const state = tileLoader().state(this.layer);
    if (state.jobs.size) return;
    this.queue = null;
    const unread = [...state.reports.values()].some((report) => report.failed);
    if (!unread) this.unread = [];
    else this.reportTimer = setTimeout(() => this.panel.guard(() => this.askReasons()), 150);
  }

  /** Why scenes could not be read: the tiles themselves tell only how many. */
  async askReasons() {
    const { chain } = this.entry;
    const status = await askJson(`muses:status/${chain}?z=${Math.round(this.panel.map.getZoom())}`);
    if (chain !== this.entry.chain) return;
    this.unread = status.failed;
    this.panel.showStatus();
  }

  /** How long this layer's tiles still have to wait, and for what. */
  showQueue(progress, cluster) {
    this.queue = this.loading ? { ...progress, cluster } : null;
  }

  askAgain() {
    if (this.layer) tileLoader().retry(this.layer);
  }

  get state() {
    return this.layer ? tileLoader().state(this.layer) : NOTHING;
  }

  get loading() {
    return this.visible && this.state.jobs.size > 0;
  }

  /** Draws progress, scenes, time and failures; gives the state it drew. */
  drawState() {
    const { state } = this;
    this.element.classList.toggle("muses-busy", state.jobs.size > 0);
    const done = tilesDone(state);
    this.filled.style.width = `${state.total ? (100 * done) / state.total : 0}%`;
    this.element.dataset.seconds = state.seconds ?? "";
    this.element.dataset.tiles = state.total;
    this.bar.setAttribute("aria-valuenow", done);
    this.bar.setAttribute("aria-valuemax", state.total);
    const loading = state.jobs.size > 0;
    // Tiles that are still those of the chain before do not count.
    const reports = [...state.reports.values()].filter((report) => report.source === this.layer._url);
    showLines(this.note, [
      loading && describeWait(state, this.queue),
      ...describeReport(joinReports(reports), loading ? null : describeTime(state)),
    ]);
    this.drawTrouble(describeFailures(state.failed, this.unread), state.failed);
    return state;
  }

  drawTrouble(lines, failed) {
    this.trouble.hidden = lines.length === 0;
    this.retry.hidden = failed.size === 0;
    const key = JSON.stringify(lines);
    if (key === this.failureKey) return;
    this.failureKey = key;
    const { open } = this.failures;
    this.failures.replaceChildren(
      h("summary", {}, lines.map((l) => l.heading).filter((x, i, all) => all.indexOf(x) === i).join(", ")),
      h("ul", {}, lines.map((l) => h("li", {}, l.text))),
    );
    this.failures.open = open;
  }

  remove() {
    clearTimeout(this.reportTimer);
    this.layerModel.off("change:visible change:opacity", this.listener);
    this.element.remove();
  }
}

const NOTHING = { jobs: new Map(), failed: new Map(), reports: new Map(), total: 0, seconds: null };

/** Texts of one line each; unchanged ones are left alone, so that a reader of the screen is not told twice. */
function showLines(element, lines) {
  const texts = lines.filter(Boolean);
  if (element.dataset.lines === texts.join("\n")) return;
  element.dataset.lines = texts.join("\n");
  element.replaceChildren(...texts.map((text) => h("div", {}, text)));
}

/** What the tiles shown are made of. */
function describeReport(report, time) {
  if (!report) return [time];
  const { used, found, levels, native, thinned } = report;
  const list = (sizes) => sizes.map(formatLength).join(" and ");
  const scenes = found ? `${used} of ${plural(found, "scene")}` : "No scenes here";
  const level = list(levels) === list(native) ? ", native" : `; native: ${list(native)}`;
  return [
    [scenes, time].filter(Boolean).join(" · "),
    thinned && `Thinned to ${thinned[0]} of ${thinned[1]} dates: zoom in for all`,
    levels.length && `Computed at ${list(levels)}${level}`,
  ];
}

/** While tiles load: how many are there, for how long, and what is known of the rest. */
function describeWait(state, queue) {
  const { jobs, total, begun } = state;
  const seconds = (performance.now() - begun) / 1000;
  const refusal = [...jobs.values()].find((job) => job.refusal)?.refusal;
  const parts = [`${tilesDone(state)} of ${plural(total, "tile")}`];
  if (seconds >= 1) parts.push(`${Math.floor(seconds)} s`);
  if (queue?.cluster && queue.cluster.state !== "ready") parts.push(`cluster: ${queue.cluster.state}`);
  else if (queue?.expected_seconds) parts.push(`about ${expected(jobs.size, queue)} left`);
  if (queue?.position) parts.push(`${plural(queue.position, "block")} ahead`);
  if (refusal) parts.push(refusal);
  return parts.join(" · ");
}

/** The service knows of the tiles that have been asked for; those that wait here for a connection take as long each. */
function expected(tiles, { expected_seconds, waiting }) {
  const seconds = Math.ceil(expected_seconds * Math.max(1, tiles / Math.max(1, waiting)));
  return seconds < 100 ? `${seconds} s` : formatSeconds(seconds);
}

function describeTime(state) {
  const done = tilesDone(state);
  return state.seconds === null || !done ? null : `${plural(done, "tile")} in ${formatSeconds(state.seconds)}`;
}

const tilesDone = ({ total, jobs, failed }) => Math.max(0, total - jobs.size - failed.size);

/** One line per reason for failed tiles, one per scene that was left out. */
function describeFailures(failedTiles, failedScenes) {
  const reasons = new Map();
  let next = Infinity;
  for (const { reason, again } of failedTiles.values()) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    if (again) next = Math.min(next, again);
  }
  const seconds = Math.max(1, Math.ceil((next - performance.now()) / 1000));
  const later = Number.isFinite(seconds) ? `, again in ${seconds} s` : "";
  const tiles = [...reasons].map(([reason, n]) => ({
    heading: `${plural(failedTiles.size, "tile")} failed${later}`,
    text: `${plural(n, "tile")}: ${reason}`,
  }));
  const scenes = failedScenes.map(({ id, reason }) => ({
    heading: `${plural(failedScenes.length, "scene")} left out`,
    text: `${id}: ${reason}`,
  }));
  return [...tiles, ...scenes];
}
