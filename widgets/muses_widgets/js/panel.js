// The panel of a map: layers with their legends, what is loading and what failed, values at a click, export.

const WEB_MERCATOR_METRES = 40075016.685578488; // around the equator
const QUEUE_MS = 1000;

class Panel {
  constructor(model, el, signal) {
    this.model = model;
    this.el = el;
    this.signal = signal;
    this.id = crypto.randomUUID?.() ?? String(Math.random()); // of this map on this page
    this.rows = new Map(); // layer's model id → Row
    this.base = null;
    this.exporting = null;
    this.build();
    this.guard(() => this.connect());
  }

  // ---- set-up

  build() {
    const { model } = this;
    this.title = h("span", { class: "muses-title" }, "Layers");
    this.fold = h(
      "button",
      { class: "muses-fold", type: "button", onclick: () => this.setFolded(!model.get("folded")) },
      h("span", { class: "muses-chevron", "aria-hidden": "true" }),
      this.title,
    );
    this.summary = h("div", { class: "muses-summary", role: "status", "aria-live": "polite" });
    this.retry = h(
      "button",
      { class: "muses-button", type: "button", hidden: true, onclick: () => this.guard(() => this.retryFailed()) },
      "Retry all",
    );
    this.problems = h("div", { class: "muses-problems", role: "alert" });
    this.list = h("div", { class: "muses-layers" });
    this.baseSelect = h("select", { class: "muses-select", "aria-label": "Base map" });
    this.baseSelect.addEventListener("change", () => this.guard(() => this.chooseBase(this.baseSelect.value)));
    this.baseNote = h("div", { class: "muses-note", hidden: true });
    this.inspector = h("div", { class: "muses-inspector", "aria-live": "polite", hidden: true });
    this.hint = h("div", { class: "muses-section muses-note" }, "Click the map to read values.");
    this.exportBox = h("div", { class: "muses-section muses-export" });
    this.cluster = clusterBox(this.signal, false);
    this.body = h(
      "div",
      { class: "muses-body" },
      this.problems,
      this.list,
      h("label", { class: "muses-section muses-base" }, h("span", {}, "Base map"), this.baseSelect),
      this.baseNote,
      this.hint,
      this.exportBox,
      this.cluster,
    );
    this.root = h(
      "section",
      { class: "muses-panel", "aria-label": "Map layers" },
      h("div", { class: "muses-head" }, this.fold, this.retry),
      this.summary,
      this.inspector, // outside the body: a click tells its values in a folded panel too
      this.body,
    );
    // Leaflet looks up from a click's target for a control that keeps clicks; a button that removes itself has none.
    for (const name of ["click", "dblclick"]) this.root.addEventListener(name, (event) => event.stopPropagation());
    // To JupyterLab an arrow on a slider is its command to fold a heading; Shift+Enter and Escape it may have.
    this.root.addEventListener("keydown", (event) => {
      const command = event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || event.key === "Escape";
      if (!command) event.stopPropagation();
    });
    this.el.classList.add("muses-panel-host");
    this.el.append(this.root);
    this.showFolded();
    this.showInspector(null);
  }

  async connect() {
    teachLeaflet();
    const { model, signal } = this;
    this.manager = model.widget_manager;
    this.mapModel = await findModel(this.manager, model.get("map"), signal);
    this.mapView = await findMapView(this.mapModel, this.el, signal);
    this.map = this.mapView.obj;
    this.attribution = await findAttribution(this.mapView);
    this.self = await this.findSelf();
    // ipyleaflet notes the page's address, which would be saved with the notebook. Told to the kernel too, because
    // the kernel's echo of the address may be on its way.
    this.mapModel.set("window_url", "");
    this.mapModel.save_changes();

    this.onMap("layeradd", () => this.adoptLayers());
    // Both before Leaflet's requests for tiles leave, which it makes when a zoom begins.
    this.onMap("zoomanim", ({ center, zoom }) => this.reportView(center, zoom));
    this.onMap("moveend zoomend", () => {
      this.reportView();
      this.showStatus();
    });
    this.onMap("click", (event) => this.inspect(event.latlng));
    this.onMap("zoom viewreset zoomend", () => this.placeMarker());
    this.onModel("change:layers", () => this.adoptLayers());
    this.onModel("change:folded", () => this.showFolded());
    this.onModel("change:basemap change:basemaps", () => this.showBases());
    this.onModel("change:job", () => this.showExport());
    this.onModel("msg:custom", (message) => this.receive(message));
    const size = new ResizeObserver(() => this.guard(() => this.fit()));
    size.observe(this.map.getContainer());
    signal.addEventListener("abort", () => {
      size.disconnect();
      this.marker?.remove();
      this.leaveView();
    });

    this.fit();
    this.showBases();
    await this.adoptLayers();
    this.showExport();
  }

  /** The real model of this panel: anywidget's proxy does not tell whether a kernel is behind it. */
  async findSelf() {
    const views = Object.values(this.mapModel.get("controls") ?? []).map((control) => control.get("widget"));
    return views.find((widget) => widget && widget.get("map") === this.model.get("map") && widget.get("_esm")) ?? null;
  }

  onMap(names, callback) {
    const guarded = (event) => this.guard(() => callback(event));
    this.map.on(names, guarded);
    this.signal.addEventListener("abort", () => this.map.off(names, guarded));
  }

  onModel(names, callback) {
    for (const name of names.split(" ")) this.model.on(name, (value) => this.guard(() => callback(value)));
  }

  /** Runs a callback; what goes wrong in it is shown in the panel. */
  async guard(callback) {
    try {
      await callback();
    } catch (error) {
      if (error?.name === "AbortError" || this.signal.aborted) return;
      console.error("[muses]", error);
      this.showProblem(error?.message ?? String(error));
    }
  }

  showProblem(text) {
    for (const shown of this.problems.children) if (shown.dataset.text === text) return;
    const box = h(
      "div",
      { class: "muses-problem", "data-text": text },
      h("span", {}, text),
      h("button", { type: "button", class: "muses-icon", "aria-label": "Dismiss", onclick: () => box.remove() }, "×"),
    );
    this.problems.append(box);
  }

  save(changes) {
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.model.save_changes();
  }

  // ---- size

  /** The panel never covers the attribution, nor most of a small map. */
  fit() {
    const box = this.map.getContainer();
    this.root.style.setProperty("--muses-height", `${Math.max(120, box.clientHeight - 64)}px`);
    this.root.style.setProperty("--muses-width", `${Math.min(264, Math.max(190, box.clientWidth * 0.42))}px`);
    if (box.clientWidth > 0 && box.clientWidth < 480 && this.narrow === undefined) {
      this.narrow = true;
      this.root.classList.add("muses-folded");
      this.fold.setAttribute("aria-expanded", "false");
    }
  }

  setFolded(folded) {
    this.save({ folded });
    this.showFolded();
  }

  showFolded() {
    const folded = this.model.get("folded");
    this.root.classList.toggle("muses-folded", folded);
    this.fold.setAttribute("aria-expanded", String(!folded));
    this.fold.title = folded ? "Show the panel" : "Fold the panel";
  }

  // ---- layers

  /** Brings rows and Leaflet layers in line with the model; called whenever either changes. */
  async adoptLayers() {
    const entries = this.model.get("layers");
    const wanted = new Set(entries.map((e) => e.id));
    for (const [id, row] of this.rows) {
      if (!wanted.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    for (const entry of entries) {
      let row = this.rows.get(entry.id);
      if (!row) {
        const layerModel = await findModel(this.manager, entry.id, this.signal);
        row = this.rows.get(entry.id); // another call may have been faster
        if (!row) this.rows.set(entry.id, (row = new Row(this, layerModel)));
      }
      row.update(entry);
    }
    this.reportView();
    await this.adoptBase();
    for (const row of [...this.rows.values()]) await row.adopt();
    // The first in the list lies on top.
    const top = entries.length;
    entries.forEach((entry, i) => this.rows.get(entry.id)?.layer?.setZIndex(10 + top - i));
    this.showList(entries.map((e) => this.rows.get(e.id)?.element).filter(Boolean));
    this.showStatus();
    this.showExport();
  }

  /** Puts the rows in order; only when they are not, because a row that is moved loses the keyboard's focus. */
  showList(wanted) {
    const there = [...this.list.children];
    if (wanted.length && wanted.length === there.length && wanted.every((row, i) => row === there[i])) return;
    const focused = document.activeElement;
    this.list.replaceChildren(...wanted);
    if (!wanted.length) this.list.append(h("div", { class: "muses-note" }, "No layers yet: m.add(chain, name=…)"));
    if (focused && this.list.contains(focused)) focused.focus();
  }

  move(id, step) {
    const entries = [...this.model.get("layers")];
    const from = entries.findIndex((e) => e.id === id);
    const to = from + step;
    if (to < 0 || to >= entries.length) return;
    entries.splice(to, 0, ...entries.splice(from, 1));
    this.save({ layers: entries });
  }

  get visibleRows() {
    const rows = this.model.get("layers").map((e) => this.rows.get(e.id));
    return rows.filter((row) => row?.visible);
  }

  // ---- base map

  async adoptBase() {
    const id = this.model.get("base");
    if (!id) return;
    this.baseModel ??= await findModel(this.manager, id, this.signal);
    const layer = await findLayer(this.baseModel, this.mapView);
    if (!layer || layer === this.base) return;
    this.base = layer;
    takeOver(layer);
    tileLoader().adopt(layer);
    layer.setZIndex(1);
    layer.on("musestiles tileerror", (event) => {
      if (event.type === "tileerror" && !layer._url.startsWith("muses:")) {
        this.baseNote.textContent = "This base map does not load. Is there an internet connection?";
        this.baseNote.hidden = false;
      }
      this.showStatus();
    });
  }

  showBases() {
    const bases = this.model.get("basemaps");
    this.baseSelect.replaceChildren(
      ...bases.map((b) => h("option", { value: b.name }, b.online ? `${b.name} (internet)` : b.name)),
    );
    this.baseSelect.value = this.model.get("basemap");
  }

  chooseBase(name) {
    const chosen = this.model.get("basemaps").find((b) => b.name === name);
    if (!chosen) throw new Error(`There is no base map ${JSON.stringify(name)}`);
    this.baseNote.hidden = true;
    this.save({ basemap: name });
    // Leaflet's attribution control only looks at a layer when it is added or removed.
    this.attribution?.removeAttribution(this.baseModel.get("attribution"));
    this.attribution?.addAttribution(chosen.attribution);
    this.baseModel.set({ url: chosen.url, attribution: chosen.attribution, name });
    this.baseModel.save_changes();
    this.base?.redraw();
  }

  // ---- status

  showStatus() {
    cancelAnimationFrame(this.statusFrame);
    this.statusFrame = requestAnimationFrame(() => this.guard(() => this.drawStatus()));
  }

  drawStatus() {
    const rows = this.visibleRows;
    const failing = [];
    let loading = 0;
    let total = 0;
    let done = 0;
    let failed = 0;
    let leftOut = 0;
    for (const row of this.rows.values()) {
      const state = row.drawState();
      if (!row.visible) continue;
      loading += state.jobs.size;
      if (state.jobs.size) {
        total += state.total;
        done += tilesDone(state);
      }
      failed += state.failed.size;
      leftOut += row.unread.length;
      if (state.failed.size) failing.push(row);
    }
    const zoom = this.map.getZoom();
    const latitude = (this.map.getCenter().lat * Math.PI) / 180;
    const metres = (WEB_MERCATOR_METRES * Math.cos(latitude)) / (256 * 2 ** zoom);
    const parts = [];
    if (loading) parts.push(`${done} of ${plural(total, "tile")}…`);
    if (failed) parts.push(`${plural(failed, "tile")} failed`);
    else if (leftOut) parts.push(`${plural(leftOut, "scene")} left out`);
    else if (rows.length && !loading) parts.push("All tiles shown");
    parts.push(`zoom ${+zoom.toFixed(1)}`, `${formatLength(metres)} per pixel`);
    this.summary.textContent = parts.join(" · ");
    this.root.classList.toggle("muses-loading", loading > 0);
    this.root.classList.toggle("muses-failing", failed + leftOut > 0);
    // An unfolded panel has a button beside each layer's reason.
    this.retry.hidden = failed === 0 || (failing.length < 2 && !this.root.classList.contains("muses-folded"));
    this.root.dataset.loading = loading;
    this.root.dataset.failed = failed;
    this.keepTime(loading > 0 || failed > 0);
  }

  /** Seconds that pass, and those until the next try, are drawn anew although no tile arrives. */
  keepTime(passing) {
    if (!passing) {
      clearInterval(this.clock);
      this.clock = null;
    } else if (!this.clock) {
      this.clock = setInterval(() => this.showStatus(), 1000);
      this.signal.addEventListener("abort", () => clearInterval(this.clock));
    }
  }

  /** Asks once a second what layers that take longer are waiting for. */
  watchQueue() {
    this.queueTimer ??= setTimeout(async () => {
      try {
        await this.askQueue(this.visibleRows.filter((row) => row.loading));
      } catch (error) {
        console.debug("[muses] the queue is not known:", error); // the tiles themselves tell of a lost service
      }
      this.queueTimer = null;
      if (!this.signal.aborted && this.visibleRows.some((row) => row.loading)) this.watchQueue();
    }, QUEUE_MS);
  }

  async askQueue(rows) {
    if (!rows.length) return;
    const chains = [...new Set(rows.map((row) => row.entry.chain))];
    const status = await askJson(`muses:status?chains=${chains}&z=${this.view.z}&view=${this.id}`, { seconds: 10 });
    if (status.service?.timeout) tileLoader().patience = status.service.timeout + 10;
    for (const row of rows) row.showQueue(status.chains[row.entry.chain]?.progress, status.queue);
    this.showStatus();
  }

  /** Tells the service what is looked at: it puts its work in order by that, and works ahead around it. */
  reportView(center = this.map.getCenter(), zoom = this.map.getZoom()) {
    const { min, max } = this.map.getPixelBounds(center, zoom);
    const { lng: west, lat: south } = this.map.unproject([min.x, max.y], zoom);
    const { lng: east, lat: north } = this.map.unproject([max.x, min.y], zoom);
    const { lng, lat } = this.map.wrapLatLng(center);
    return this.tellView({
      id: this.id,
      z: Math.round(zoom),
      center: [lng, lat],
      bounds: [west, south, east, north],
      layers: this.visibleRows.map(({ entry }) => `${entry.chain}/${entry.style}`),
    });
  }

  /** Nobody looks at this map any more. */
  leaveView() {
    if (this.view) this.tellView({ ...this.view, layers: [] });
  }

  /** One message at a time, so that the newest comes last; those that come in between are left out. */
  async tellView(view) {
    this.view = view;
    this.untold = JSON.stringify(view);
    if (this.telling) return;
    this.telling = true;
    try {
      while (this.untold && this.untold !== this.told) {
        this.told = this.untold;
        const headers = { "Content-Type": "application/json" };
        await askJson("muses:view", { method: "POST", headers, body: this.told, seconds: 10 });
      }
    } catch (error) {
      this.told = null;
      console.debug("[muses] the view was not told:", error); // tiles come all the same, in another order
    } finally {
      this.telling = false;
    }
  }

  retryFailed() {
    for (const row of this.visibleRows) row.askAgain();
  }

  // ---- values at a click

  async inspect(latlng) {
    const { lat, lng } = latlng.wrap();
    this.clicked = latlng;
    this.save({ clicked: [lat, lng] });
    this.placeMarker();
    const rows = this.visibleRows;
    const asked = (this.asked = Symbol());
    this.showInspector({ lat, lng, results: rows.map((row) => ({ name: row.entry.name, pending: true })) });
    const results = await Promise.all(rows.map((row) => this.valuesAt(row, lng, lat)));
    if (this.asked === asked) this.showInspector({ lat, lng, results });
  }

  async valuesAt(row, lon, lat) {
    const { name, chain, style, legend } = row.entry;
    try {
      const z = Math.round(this.map.getZoom());
      const answer = await askJson(`muses:values/${chain}?lon=${lon}&lat=${lat}&z=${z}&style=${style}`, {
        seconds: tileLoader().patience,
      });
      return { name, answer, legend };
    } catch (error) {
      return { name, reason: error.message };
    }
  }

  showInspector(found) {
    this.inspector.hidden = !found;
    this.hint.hidden = Boolean(found);
    if (!found) return;
    const close = () => {
      this.asked = null;
      this.clicked = null;
      this.marker?.remove();
      this.marker = null;
      this.showInspector(null);
    };
    this.inspector.replaceChildren(
      h(
        "div",
        { class: "muses-place" },
        h("span", {}, `${found.lat.toFixed(5)}° ${found.lng.toFixed(5)}°`),
        h("button", { type: "button", class: "muses-icon", "aria-label": "Clear the clicked place", onclick: close }, "×"),
      ),
      h("div", { class: "muses-values" }, found.results.flatMap(drawValues)),
    );
  }

  placeMarker() {
    if (!this.clicked) return;
    if (!this.marker) {
      this.marker = h("div", { class: "muses-marker leaflet-zoom-hide", "aria-hidden": "true" });
      this.map.getPane("markerPane").append(this.marker);
    }
    const { x, y } = this.map.latLngToLayerPoint(this.clicked);
    this.marker.style.transform = `translate3d(${x}px, ${y}px, 0)`;
  }

  // ---- export

  get hasKernel() {
    const kernel = this.manager?.kernel; // JupyterLab's; elsewhere only the widget itself is asked
    if (kernel && (kernel.isDisposed || ["dead", "unknown", "terminating"].includes(kernel.status))) return false;
    return Boolean(this.self?.comm_live);
  }

  showExport() {
    const job = this.model.get("job");
    const rows = this.model.get("layers").map((e) => this.rows.get(e.id)).filter(Boolean);
    const running = job.state === "running" && this.hasKernel;
    const button = h(
      "button",
      { class: "muses-button muses-primary", type: "button", onclick: () => this.guard(() => this.startExport()) },
      "Export this view",
    );
    button.disabled = running || !rows.length;
    this.exportLayer = h(
      "select",
      { class: "muses-select", "aria-label": "Layer to export", onchange: () => (this.chosen = this.exportLayer.value) },
      rows.map((row) => h("option", { value: row.entry.id }, row.entry.name)),
    );
    const first = rows.find((row) => row.visible)?.entry.id;
    this.exportLayer.value = rows.some((row) => row.entry.id === this.chosen) ? this.chosen : (first ?? "");
    this.exportLayer.hidden = rows.length < 2;
    const parts = [h("div", { class: "muses-export-row" }, button, this.exportLayer)];
    if (running) {
      parts.push(
        h("progress", { max: "1", value: String(job.progress ?? 0), "aria-label": "Export progress" }),
        h("div", { class: "muses-note" }, job.text),
      );
    } else if (job.state === "done") {
      parts.push(h("div", { class: "muses-note muses-done" }, job.text));
    } else if (job.state === "failed") {
      parts.push(h("div", { class: "muses-note muses-error" }, job.text));
    }
    this.exportNote = h("div", { class: "muses-note", hidden: true });
    this.exportBox.replaceChildren(...parts, this.exportNote);
  }

  startExport() {
    if (!this.hasKernel) {
      this.noteExport("Exporting needs the notebook's kernel, and none is connected. Run the notebook's cells, then try again.");
      return;
    }
    const bounds = this.map.getBounds();
    clearTimeout(this.exportTimer);
    this.exportTimer = setTimeout(() => this.noteExport("The kernel has not answered yet. If it is busy, the export starts when it is free."), 2500);
    this.model.send({
      kind: "export",
      layer: this.exportLayer.value,
      bounds: [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()],
      zoom: this.map.getZoom(),
    });
  }

  noteExport(text) {
    this.exportNote.textContent = text;
    this.exportNote.hidden = false;
  }

  receive(message) {
    if (message?.kind === "export-started") clearTimeout(this.exportTimer);
    if (message?.kind === "problem") this.showProblem(message.text);
  }
}

/** Rows of name and value for one layer at the clicked place. */
function drawValues({ name, pending, reason, answer, legend }) {
  const row = (label, value, kind = "") =>
    h("div", { class: `muses-value ${kind}` }, h("span", {}, label), value === undefined ? null : h("output", {}, value));
  if (pending) return [row(name, "…", "muses-pending")];
  if (reason) return [row(name, reason, "muses-bad")];
  const { bands, values } = answer;
  const unit = legend?.unit ? ` ${legend.unit}` : "";
  const text = (value) => {
    const known = legend?.entries?.find((entry) => entry.value === value);
    if (known) return `${known.label} (${formatNumber(value)})`;
    return formatNumber(value) + (value === null ? "" : unit);
  };
  if (values.length === 1) return [row(name, text(values[0]))];
  return [row(name), ...values.map((value, i) => row(bands[i] ?? `band ${i + 1}`, text(value), "muses-band"))];
}

export default {
  initialize() {
    teachLeaflet(); // early, so that the first tiles already go through the loader
  },
  render({ model, el, signal }) {
    new Panel(model, el, signal);
  },
};
