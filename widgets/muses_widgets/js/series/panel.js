// @ts-check
// The panel of series: what is plotted, the plot, the dates of a place, and the places that are kept.

/** @import { Model, SeriesTraits } from "../types" */

import { h, keepKeys, onTheme } from "../dom.js";
import { DateStrip, inWords } from "./strip.js";
import { findModel, hasKernel } from "../mapview.js";
import { formatPlace } from "../format.js";
import { PlaceList } from "./places.js";
import { messageOf } from "../server.js";
import { loadAhead } from "../bokehplots.js";
import { SeriesPlotView } from "./plot.js";

/** The curves that can be drawn, and what they are called. */
const CURVES = {
  whittaker: "Whittaker",
  savitzky_golay: "Savitzky–Golay",
  harmonic_fit: "Harmonic",
  trend: "Trend",
  normal: "Normal of the months",
  breaks: "Break",
};
/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;

let made = 0;

class SeriesPanel {
  live = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  patience;

  /**
   * @param {Model<SeriesTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.model = model;
    this.signal = signal;
    made += 1;
    this.id = `muses-sp-${made}`;
    this.place = h("span", { class: "muses-sp-at" });
    this.keep = h("button", { type: "button", class: "muses-button muses-primary", onclick: () => this.send({ do: "keep" }) }, "+ Keep");
    this.keep.title = "Keep this place: on the map and in the plot";
    this.value = this.expression("Value", "value");
    this.second = this.expression("Beside it", "second");
    this.options = h("datalist", { id: `${this.id}-choices` });
    this.note = h("div", { class: "muses-note muses-sp-note", role: "status" });
    this.plot = new SeriesPlotView(
      (ms, shift) => this.chosen(ms, shift),
      (error) => this.say(messageOf(error), true),
    );
    this.strip = new DateStrip(
      {
        show: (time) => this.send({ do: "show", time }),
        compare: (time) => this.send({ do: "compare", time }),
        ask: (times) => this.live && this.model.send({ do: "images", times }),
      },
      signal,
    );
    this.list = new PlaceList({
      change: (id, told) => this.send({ do: "change", id, ...told }),
      remove: (id) => this.send({ do: "remove", id }),
      select: (id) => this.set("selected", this.model.get("selected") === id ? "" : id),
    });
    this.curves = h("div", { class: "muses-sp-curves", role: "group", "aria-label": "Curves" }, this.curveBoxes());
    this.root = h(
      "section",
      { class: "muses-panel muses-controls muses-seriespanel", "aria-label": "Series" },
      h("div", { class: "muses-sp-head" }, h("span", { class: "muses-title" }, "Series"), this.place, this.keep),
      h("div", { class: "muses-sp-values" }, this.value.element, this.second.element, this.options),
      this.curves,
      this.note,
      this.plot.element,
      this.strip.element,
      this.keptPart(),
    );
    keepKeys(this.root, signal);
    el.classList.add("muses-panel-host");
    el.append(this.root);
    onTheme(() => this.guard(() => this.plot.redraw(this.model.get("plot")).then(() => this.mark())), signal);
    this.listen();
    this.showAll();
    loadAhead(); // the first click waits for the kernel alone
    this.guard(() => this.look());
  }

  // ---- parts

  /**
   * @param {string} label
   * @param {"value" | "second"} trait
   */
  expression(label, trait) {
    const id = `${this.id}-${trait}`;
    const input = h("input", { type: "text", class: "muses-field muses-field-text", id, list: `${this.id}-choices`, autocomplete: "off", spellcheck: "false" });
    input.setAttribute("placeholder", trait === "second" ? "nothing: a band, index or layer" : "a band, index or layer");
    input.addEventListener("change", () => this.set(trait, input.value.trim()));
    return { input, element: h("label", { class: "muses-sp-value", for: id }, h("span", {}, label), input) };
  }

  curveBoxes() {
    const boxes = Object.entries(CURVES).map(([name, label]) => this.box(label, name, () => {
      const chosen = Object.keys(CURVES).filter((one) => this.boxOf(one)?.checked);
      this.set("curves", chosen);
    }));
    return [
      ...boxes,
      this.box("Years upon each other", "by_year", (checked) => this.set("by_year", checked)),
      this.box("Minus the normal", "anomalies", (checked) => this.set("anomalies", checked)),
    ];
  }

  /**
   * @param {string} label
   * @param {string} name
   * @param {(checked: boolean) => void} change
   */
  box(label, name, change) {
    const input = h("input", { type: "checkbox", "data-curve": name });
    input.addEventListener("change", () => change(input.checked));
    return h("label", { class: "muses-control-class" }, input, label);
  }

  /** @param {string} name */
  boxOf(name) {
    return /** @type {HTMLInputElement | null} */ (this.curves.querySelector(`[data-curve="${name}"]`));
  }

  keptPart() {
    this.filter = h("input", { type: "search", class: "muses-field muses-field-text", "aria-label": "Filter the kept places", placeholder: "Filter: a name, or crop = 'wheat'" });
    this.filter.addEventListener("change", () => this.set("filter", this.filter?.value ?? ""));
    this.file = h("input", { type: "file", accept: ".gpkg,.geojson,.json", hidden: true, "aria-label": "File of kept places" });
    this.file.addEventListener("change", () => this.guard(() => this.open()));
    /** @param {string} label @param {string} kind @param {string} title */
    const save = (label, kind, title) => h("button", { type: "button", class: "muses-button", title, onclick: () => this.send({ do: "file", kind }) }, label);
    this.files = h(
      "div",
      { class: "muses-sp-files" },
      save("CSV", "csv", "Save what is plotted as CSV"),
      save("Parquet", "parquet", "Save what is plotted as Parquet"),
      save("GeoPackage", "gpkg", "Save the kept places and their series as a GeoPackage"),
      save("GeoJSON", "geojson", "Save the kept places and their series as GeoJSON"),
      h("button", { type: "button", class: "muses-button", title: "Add the places of a GeoPackage or GeoJSON", onclick: () => this.file?.click() }, "Open…"),
      this.file,
    );
    this.keptHead = h("div", { class: "muses-sp-kept-head" }, h("span", { class: "muses-heading" }, "Kept places"), this.filter);
    return h("div", { class: "muses-sp-kept" }, this.keptHead, this.list.element, this.files);
  }

  // ---- the model

  listen() {
    const { model, signal } = this;
    /** @type {[string, (value?: any, buffers?: any) => void][]} */
    const heard = [
      ["change:value change:second change:choices", () => this.showValues()],
      ["change:curves change:by_year change:anomalies", () => this.showCurves()],
      ["change:place change:selected", () => this.showPlace()],
      ["change:kept change:filtered change:filter change:selected", () => this.showKept()],
      ["change:told", () => this.tell()],
      ["change:plot", () => this.showPlot()],
      ["change:dates", () => this.strip.show(model.get("dates"))],
      ["change:images", () => this.showImages()],
      ["change:shown", () => this.mark()],
      ["msg:custom", (message, buffers) => this.receive(message, buffers)],
    ];
    for (const [names, callback] of heard) {
      const guarded = (/** @type {any[]} */ ...given) => this.guard(() => callback(given[0], given[1]));
      for (const name of names.split(" ")) {
        model.on(name, guarded);
        signal.addEventListener("abort", () => model.off(name, guarded));
      }
    }
    signal.addEventListener("abort", () => {
      clearTimeout(this.patience);
      this.plot.clear();
    });
  }

  showAll() {
    this.showValues();
    this.showCurves();
    this.showPlace();
    this.showKept();
    this.strip.show(this.model.get("dates"));
    this.showImages();
    this.tell();
    this.guard(() => this.showPlot());
  }

  /** Whether a kernel is there that could do anything; without one the panel shows what it was saved with. */
  async look() {
    const manager = this.model.widget_manager;
    const self = await findModel(manager, this.model.get("own_id"), this.signal).catch(() => null);
    this.live = hasKernel(manager, self);
    this.root.classList.toggle("muses-controls-off", !this.live);
    const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (this.root.querySelectorAll("input, .muses-button, .muses-icon"));
    for (const input of inputs) if (!input.closest(".muses-sp-dates")) input.disabled = !this.live;
    this.tell();
  }

  /**
   * @template {keyof SeriesTraits} K
   * @param {K} name
   * @param {SeriesTraits[K]} value
   */
  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
    this.wait();
  }

  /** @param {import("../types").SeriesMessage} message */
  send(message) {
    if (!this.live) {
      this.say("This needs the notebook's kernel, and none is connected. Run the notebook's cells.");
      return;
    }
    this.model.send(message);
  }

  /** What the kernel has not begun after a while, is said to wait. */
  wait() {
    clearTimeout(this.patience);
    if (!this.live) return;
    const late = "The kernel has not answered yet. If it is busy, the series come when it is free.";
    this.patience = setTimeout(() => this.say(late), ANSWER_MS);
  }

  /** @param {() => void | Promise<void>} callback */
  async guard(callback) {
    try {
      await callback();
    } catch (error) {
      if (this.signal.aborted) return;
      console.error("[muses]", error);
      this.say(messageOf(error), true);
    }
  }

  // ---- showing

  showValues() {
    for (const [field, trait] of /** @type {[{ input: HTMLInputElement }, "value" | "second"][]} */ ([
      [this.value, "value"],
      [this.second, "second"],
    ])) {
      if (document.activeElement !== field.input || !field.input.value) field.input.value = this.model.get(trait);
    }
    const choices = this.model.get("choices");
    this.options.replaceChildren(...choices.map(({ value, label }) => h("option", { value, label })));
  }

  showCurves() {
    const chosen = this.model.get("curves");
    for (const name of Object.keys(CURVES)) {
      const box = this.boxOf(name);
      if (box) box.checked = chosen.includes(name);
    }
    for (const name of /** @type {const} */ (["by_year", "anomalies"])) {
      const box = this.boxOf(name);
      if (box) box.checked = this.model.get(name);
    }
  }

  showPlace() {
    const place = this.model.get("place");
    this.place.textContent = place ? formatPlace(place[0], place[1]) : "Click on the map";
    this.keep.hidden = !place;
  }

  showKept() {
    const kept = this.model.get("kept");
    this.list.show(kept, this.model.get("filtered"), this.model.get("selected"));
    if (this.filter && document.activeElement !== this.filter) this.filter.value = this.model.get("filter");
    if (this.keptHead) this.keptHead.hidden = !kept.length;
  }

  async showPlot() {
    const plot = this.model.get("plot");
    await this.plot.show(plot);
    this.mark();
  }

  showImages() {
    const { of = "", images = {} } = this.model.get("images");
    this.strip.showImages(of, images);
  }

  mark() {
    const { first = "", second = "" } = this.model.get("shown");
    this.plot.mark([first, second].map((time) => (time ? Date.parse(`${time}Z`) : null)));
    this.strip.mark(first, second);
  }

  tell() {
    const { state, text } = this.model.get("told");
    this.root.setAttribute("aria-busy", String(state === "working"));
    if (!this.live) this.say("This is what was saved. Run the notebook's cells to go on.");
    else this.say(text ?? "", state === "failed" || state === "partial");
  }

  /**
   * @param {string} text
   * @param {boolean} [failed]
   */
  say(text, failed = false) {
    this.note.textContent = text;
    this.note.hidden = !text;
    this.note.classList.toggle("muses-error", failed);
  }

  /**
   * A dot was clicked.
   * @param {number} ms
   * @param {boolean} shift
   */
  chosen(ms, shift) {
    const date = this.strip.nearest(ms);
    if (!date) return;
    this.strip.label.textContent = inWords(date);
    this.send({ do: shift ? "compare" : "show", time: date.time });
  }

  // ---- files

  /**
   * @param {{ kind?: string, name?: string }} message
   * @param {DataView[]} buffers
   */
  receive({ kind, name }, buffers) {
    if (kind === "heard") {
      clearTimeout(this.patience);
      this.tell();
    }
    if (kind !== "file" || !buffers?.[0]) return;
    const url = URL.createObjectURL(new Blob([/** @type {any} */ (buffers[0])]));
    const link = h("a", { href: url, download: name, hidden: true });
    this.root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async open() {
    const file = this.file?.files?.[0];
    if (!file || !this.file) return;
    this.model.send({ do: "open", name: file.name }, undefined, [await file.arrayBuffer()]);
    this.file.value = "";
  }
}

export default {
  /** @param {{ model: Model<SeriesTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new SeriesPanel(model, el, signal);
  },
};
