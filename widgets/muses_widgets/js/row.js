// One layer in the panel's list, and its hold on the Leaflet layer.

class Row {
  constructor(panel, layerModel) {
    this.panel = panel;
    this.layerModel = layerModel;
    this.layer = null;
    this.entry = null;
    this.report = null;
    this.build();
    this.listener = () => panel.guard(() => this.showModel());
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
    this.note = h("div", { class: "muses-note" });
    this.failures = h("details", { class: "muses-failures", hidden: true });
    this.bar = h("div", { class: "muses-bar" });
    this.details = h(
      "div",
      { class: "muses-details" },
      this.legend,
      h("label", { class: "muses-opacity" }, h("span", {}, "Opacity"), this.opacity, this.percent),
      this.note,
      this.failures,
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
    if (old?.chain !== entry.chain) this.report = null;
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
    clearTimeout(this.reportTimer);
    if (tileLoader().state(this.layer).jobs.size) return;
    this.reportTimer = setTimeout(() => this.panel.guard(() => this.askReport()), 150);
  }

  /** What the service knows of the chain: scenes used and found, levels, scenes that could not be read. */
  async askReport() {
    const { chain } = this.entry;
    const report = await askJson(`muses:status/${chain}?z=${Math.round(this.panel.map.getZoom())}`);
    if (chain !== this.entry.chain) return;
    this.report = report;
    this.panel.showStatus();
  }

  /** Draws loading, scenes and failures; gives the state it drew. */
  drawState() {
    const state = this.layer ? tileLoader().state(this.layer) : { jobs: new Map(), failed: new Map() };
    this.element.classList.toggle("muses-busy", state.jobs.size > 0);
    this.note.textContent = describeReport(this.report);
    const lines = describeFailures(state.failed, this.report?.failed ?? []);
    this.failures.hidden = lines.length === 0;
    const key = lines.map((l) => l.text).join("\n");
    if (key !== this.failureKey) {
      this.failureKey = key;
      const open = this.failures.open;
      this.failures.replaceChildren(
        h("summary", {}, lines.map((l) => l.heading).filter((x, i, all) => all.indexOf(x) === i).join(", ")),
        h("ul", {}, lines.map((l) => h("li", {}, l.text))),
      );
      this.failures.open = open;
    }
    return state;
  }

  remove() {
    clearTimeout(this.reportTimer);
    this.layerModel.off("change:visible change:opacity", this.listener);
    this.element.remove();
  }
}

function describeReport(report) {
  if (!report?.tiles) return ""; // the service has computed nothing of it: the tiles came from the browser's cache
  const parts = [`${report.scenes_used} of ${plural(report.scenes_found, "scene")}`];
  const sizes = report.metres_per_pixel;
  if (report.thinned) parts.push(`thinned to ${report.thinned.used} of ${report.thinned.of} dates: zoom in for all`);
  if (sizes.length) parts.push(`computed at ${sizes.map(formatLength).join(" and ")}`);
  return parts.join(" · ");
}

/** One line per reason for failed tiles, one per scene that was left out. */
function describeFailures(failedTiles, failedScenes) {
  const reasons = new Map();
  for (const { reason } of failedTiles.values()) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const tiles = [...reasons].map(([reason, n]) => ({
    heading: `${plural(failedTiles.size, "tile")} failed`,
    text: `${plural(n, "tile")}: ${reason}`,
  }));
  const scenes = failedScenes.map(({ id, reason }) => ({
    heading: `${plural(failedScenes.length, "scene")} left out`,
    text: `${id}: ${reason}`,
  }));
  return [...tiles, ...scenes];
}
