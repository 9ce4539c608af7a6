// @ts-check
// The panel of a map: its frame, the layers' rows, and what the sections are told. Each section is a module of its own.

/** @import { KernelMessage, LayerGroup, LeafletMap, MapView, Model, PanelTraits, WidgetManager, WidgetModel } from "./types" */
/** @import { Section } from "./sections.js" */

import { h, keepKeys } from "./dom.js";
import { nameDrawTools } from "./drawtools.js";
import { fullScreenButton } from "./fullscreen.js";
import { LayerList } from "./layerlist.js";
import { MapState } from "./mapstate.js";
import { findMapView, findModel, hasKernel, isCutOff, isDrawing, teachLeaflet } from "./mapview.js";
import { notesBar } from "./notes.js";
import { Queue } from "./queue.js";
import { Row } from "./row.js";
import { VectorRow } from "./vectorrow.js";
import { sectionKinds } from "./sections.js";
import { baseUrl, isAbort, messageOf } from "./server.js";
import { StatusLine } from "./statusline.js";
import { ViewReport } from "./viewreport.js";

/** Maps narrower than this show their panel folded at first. */
const NARROW = 480;
const CUT_OFF = "This map has lost its way to the kernel, as maps do when their notebook's tab is closed. Load the page again, or run the cell again.";

export class Panel {
  // Set by connect(), before any row is made and any section is called.
  /** @type {WidgetManager} */
  manager;
  /** @type {WidgetModel} */
  mapModel;
  /** @type {MapView} */
  mapView;
  /** @type {LeafletMap} */
  map;

  /** @type {WidgetModel | null} the real model of this panel */
  self = null;
  /** @type {boolean | undefined} by somebody; until then a narrow map's panel is folded */
  folded;
  narrow = false;
  /** @type {{ folded: number, unfolded: number } | undefined} pixels */
  widths;
  /** @type {symbol | undefined} the newest call of adoptLayers() */
  turn;

  /**
   * @param {Model<PanelTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal aborted when the panel is removed
   */
  constructor(model, el, signal) {
    this.model = model;
    this.el = el;
    this.signal = signal;
    /** @type {Map<string, Row | VectorRow>} by the layer's model id */
    this.rows = new Map();
    this.view = new ViewReport(this);
    this.queue = new Queue(this);
    this.status = new StatusLine(this);
    this.mapState = new MapState(this);
    this.fold = h(
      "button",
      { class: "muses-fold", type: "button", onclick: () => this.setFolded(!this.isFolded) },
      h("span", { class: "muses-chevron", "aria-hidden": "true" }),
      h("span", { class: "muses-title" }, "Layers"),
    );
    this.problems = h("div", { class: "muses-problems", role: "alert" });
    this.notes = notesBar(signal);
    this.list = new LayerList(this);
    /** @type {[string, Section][]} */
    this.sections = sectionKinds().map((kind) => [kind.name, kind.make(this)]);
    const parts = this.sections.map(([, section]) => section);
    // Problems and values a folded panel tells, too: it hides the body alone.
    this.scroll = h(
      "div",
      { class: "muses-scroll" },
      this.problems,
      parts.flatMap((section) => section.top ?? []),
      h("div", { class: "muses-body" }, this.list.element, parts.flatMap((section) => section.body ?? [])),
    );
    this.root = h(
      "section",
      { class: "muses-panel", "aria-label": "Map layers" },
      h("div", { class: "muses-head" }, this.fold, this.status.retry, fullScreenButton(this)),
      this.status.element,
      this.notes,
      this.scroll,
      parts.flatMap((section) => section.foot ?? []), // always in sight, however long the list is
    );
    // Leaflet looks up from a click's target for a control that keeps clicks; a button that removes itself has none.
    for (const name of ["click", "dblclick"]) this.root.addEventListener(name, (event) => event.stopPropagation());
    keepKeys(this.root, signal);
    this.el.classList.add("muses-panel-host");
    this.el.append(this.root);
    this.showFolded();
    this.guard(() => this.connect());
  }

  async connect() {
    teachLeaflet();
    this.guard(() => void baseUrl()); // a page without a Jupyter server says so at once
    const { model, signal } = this;
    this.manager = model.widget_manager;
    this.mapModel = await findModel(this.manager, model.get("map"), signal);
    this.mapView = await findMapView(this.mapModel, this.el, signal);
    this.map = this.mapView.obj;
    this.self = this.findSelf();
    // ipyleaflet notes the page's address, which would be saved with the notebook. Told to the kernel too, because
    // the kernel's echo of the address may be on its way.
    this.mapModel.set("window_url", "");
    this.mapModel.save_changes();

    this.onMap("layeradd", () => this.adoptLayers());
    this.onMap("movestart move zoomstart zoom", () => this.showStatus());
    // Both before Leaflet's requests for tiles leave, which it makes when a zoom begins.
    this.onMap("zoomanim", ({ center, zoom }) => this.view.report(center, zoom));
    this.onMap("moveend zoomend", () => {
      this.view.report();
      this.showStatus();
      this.tell((section) => section.moved?.());
    });
    this.onMap("click", ({ latlng }) => {
      if (isDrawing(this.map)) return;
      const [, taker] = this.sections.find(([, section]) => section.takesClicks?.()) ?? [];
      if (taker) return taker.clicked?.(latlng);
      this.tell((section) => section.clicked?.(latlng));
      const { lat, lng } = latlng.wrap();
      this.save({ clicked: [lat, lng] });
    });
    this.onMap("zoom viewreset", () => this.tell((section) => section.zooming?.()));
    this.onMap("zoomend", () => this.tell((section) => section.zoomed?.()));
    this.onModel("change:layers", () => this.adoptLayers());
    this.onModel("change:groups", () => this.layersMoved());
    this.onModel("change:closed", () => this.list.show());
    const adopt = () => this.guard(() => this.adoptLayers());
    this.mapModel.on("change:layers", adopt);
    this.onModel("change:folded", () => {
      this.folded = this.model.get("folded");
      this.showFolded();
    });
    this.onModel("change:sections", () => {
      const states = this.model.get("sections");
      this.tell((section, name) => (name in states ? section.told?.(states[name]) : undefined)); // others have told nothing yet
    });
    this.onModel("msg:custom", (message) => this.receive(message));
    const size = new ResizeObserver(() => this.guard(() => this.fit()));
    size.observe(this.map.getContainer());
    nameDrawTools(this.map.getContainer(), signal);
    signal.addEventListener("abort", () => {
      size.disconnect();
      this.mapModel.off("change:layers", adopt);
      this.tell((section) => section.remove?.());
      this.view.leave();
    });

    this.fit();
    if (isCutOff(this.mapModel)) this.showProblem(CUT_OFF);
    for (const fault of model.get("faults") ?? []) this.showProblem(fault);
    this.tell((section) => section.connected?.());
    await this.adoptLayers();
  }

  /** The real model of this panel: anywidget's proxy does not tell whether a kernel is behind it. */
  findSelf() {
    /** @type {(WidgetModel | undefined)[]} */
    const widgets = Object.values(this.mapModel.get("controls") ?? []).map((control) => control.get("widget"));
    return widgets.find((widget) => widget && widget.get("map") === this.model.get("map") && widget.get("_esm")) ?? null;
  }

  /**
   * @param {string} names of Leaflet's events
   * @param {(event: any) => void | Promise<void>} callback
   */
  onMap(names, callback) {
    /** @param {any} event */
    const guarded = (event) => this.guard(() => callback(event));
    this.map.on(names, guarded);
    this.signal.addEventListener("abort", () => this.map.off(names, guarded));
  }

  /**
   * @param {string} names of the model's events
   * @param {(value: any) => void | Promise<void>} callback
   */
  onModel(names, callback) {
    for (const name of names.split(" ")) this.model.on(name, (value) => this.guard(() => callback(value)));
  }

  /**
   * Calls every section; what goes wrong in one does not keep it from the others.
   * @param {(section: Section, name: string) => void | Promise<void>} call
   */
  tell(call) {
    for (const [name, section] of this.sections) this.guard(() => call(section, name));
  }

  /**
   * Runs a callback; what goes wrong in it is shown in the panel.
   * @param {() => void | Promise<void>} callback
   */
  async guard(callback) {
    try {
      await callback();
    } catch (error) {
      if (isAbort(error) || this.signal.aborted) return;
      console.error("[muses]", error);
      this.showProblem(messageOf(error));
    }
  }

  /** @param {string} text */
  showProblem(text) {
    for (const shown of this.problems.children) if (shown.getAttribute("data-text") === text) return;
    const box = h(
      "div",
      { class: "muses-problem", "data-text": text },
      h("span", {}, text),
      h("button", { type: "button", class: "muses-icon", "aria-label": "Dismiss", onclick: () => box.remove() }, "×"),
    );
    this.problems.append(box);
  }

  /** Forgets the clicked place, here and in the kernel. */
  clearPlace() {
    this.save({ clicked: null });
    this.tell((section) => section.cleared?.());
  }

  /** @param {Partial<PanelTraits>} changes */
  save(changes) {
    for (const name of /** @type {(keyof PanelTraits)[]} */ (Object.keys(changes))) {
      const value = changes[name];
      if (value !== undefined) this.model.set(name, value);
    }
    this.model.save_changes();
  }

  // ---- size

  /** The panel never covers the attribution, nor most of a map; a narrow map it covers when it is unfolded. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.map.getContainer();
    this.map.getContainer().classList.add("muses-map");
    this.narrow = width > 0 && width < NARROW;
    this.widths = { folded: Math.max(190, width * 0.42), unfolded: this.narrow ? width - 68 : width * 0.42 };
    this.root.style.setProperty("--muses-height", `${Math.max(120, height - 64)}px`);
    this.root.classList.toggle("muses-low", height < 340);
    this.map.getContainer().style.setProperty("--muses-map-width", `${width}px`);
    this.showFolded();
  }

  /** @param {boolean} folded */
  setFolded(folded) {
    this.folded = folded;
    this.save({ folded });
    this.showFolded();
  }

  /** A panel is folded as long as its map is narrow, in this page alone, until somebody folds or unfolds it. */
  get isFolded() {
    return this.folded ?? (this.narrow || this.model.get("folded"));
  }

  showFolded() {
    const folded = this.isFolded;
    const width = this.widths?.[folded ? "folded" : "unfolded"] ?? 250;
    this.root.style.setProperty("--muses-width", `${Math.min(264, width)}px`);
    this.root.classList.toggle("muses-folded", folded);
    this.fold.setAttribute("aria-expanded", String(!folded));
    this.fold.title = folded ? "Show the panel" : "Fold the panel";
  }

  // ---- layers

  /** Brings rows and Leaflet layers in line with the model; called whenever either changes. */
  async adoptLayers() {
    const turn = (this.turn = Symbol()); // a call that comes meanwhile knows what is newer, and does all of this
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
        if (turn !== this.turn) return;
        row = new (entry.features === undefined ? Row : VectorRow)(this, layerModel, entry);
        this.rows.set(entry.id, row);
      }
      row.update(entry);
    }
    this.view.report();
    for (const [, section] of this.sections) await this.guard(() => section.adopt?.());
    for (const row of [...this.rows.values()]) await row.adopt();
    if (turn !== this.turn) return;
    this.layersMoved();
  }

  /** Layers are in another order, or in other groups. */
  layersMoved() {
    const entries = this.model.get("layers");
    const top = entries.length; // the first in the list lies on top
    entries.forEach((entry, i) => this.rows.get(entry.id)?.setZIndex(10 + top - i));
    this.list.show();
    this.view.report();
    this.layersChanged();
  }

  /** Whatever follows from which layers there are, what they are of, and which of them are visible. */
  layersChanged() {
    this.showStatus();
    this.tell((section) => section.layersChanged?.());
  }

  /**
   * Shows how opaque a group makes its layers, before the model says so.
   * @param {LayerGroup} group
   */
  showGroupOpacity(group) {
    for (const id of group.members) this.rows.get(id)?.showGroup(group);
  }

  /** The layers that are chains, the top one first. */
  get ownRows() {
    return this.allRows.filter((row) => row instanceof Row);
  }

  /** Chains and features, the top one first. */
  get allRows() {
    return this.model.get("layers").flatMap((entry) => this.rows.get(entry.id) ?? []);
  }

  get visibleRows() {
    return this.ownRows.filter((row) => row.visible);
  }

  showStatus() {
    this.status.show();
  }

  // ---- the kernel

  get hasKernel() {
    return hasKernel(this.manager, this.self);
  }

  /** @param {KernelMessage} message */
  receive(message) {
    if (message.kind === "heard") this.tell((section, name) => (name === message.section ? section.heard?.() : undefined));
    if (message.kind === "problem") this.showProblem(message.text);
  }
}

export default {
  initialize() {
    teachLeaflet(); // early, so that the first tiles already go through the loader
  },
  /** @param {{ model: Model<PanelTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new Panel(model, el, signal);
  },
};
