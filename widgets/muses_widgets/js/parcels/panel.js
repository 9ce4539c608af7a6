// @ts-check
// The panel of parcels: what the kernel has computed of them as a table or small plots, and the series of the chosen one.
// The map's part is ../sections/parcels.js.

/** @import { Model, ParcelsMessage, ParcelsTraits, TableShape, WidgetModel } from "../types" */

import { drawPlot } from "../bokehplots.js";
import { h, keepKeys, onTheme } from "../dom.js";
import { plural } from "../format.js";
import { findModel, hasKernel } from "../mapview.js";
import { ParcelFrame } from "./frame.js";
import { ParcelPlots } from "./plots.js";
import { FilterError, nothingFits, rowsOf } from "./rows.js";
import { ParcelTable } from "./table.js";
import { baseUrl, messageOf } from "../server.js";

const ROWS = 20;
const PLOTS = 12;
/** Milliseconds that the filter rests before it is used. */
const REST_MS = 200;
/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;
const NO_KERNEL = "These are the values that were saved. Run the notebook's cells for other dates and plots.";

export class Parcels {
  /** @type {WidgetModel | null} the real model of this panel: anywidget's proxy does not tell whether a kernel is behind it */
  self = null;
  live = true;
  /** @type {number[]} numbers of the parcels that fit the filter, in order */
  rows = [];
  /** @type {string | undefined} the small plots that were asked for */
  asked;
  /** @type {{ key: string, views: Promise<{ clear(): void } | null> } | null} the series that is drawn */
  drawn = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  rest;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  patience;

  /**
   * @param {Model<ParcelsTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.model = model;
    this.signal = signal;
    this.table = new ParcelTable((column) => this.sort(column), (number) => this.choose(number));
    this.plots = new ParcelPlots((number) => this.choose(number));
    this.ui = new ParcelFrame({
      table: this.table.element,
      plots: this.plots.element,
      send: (message) => this.send(message),
      save: (changes) => this.save(changes),
      shape: (changes) => this.shape(changes),
      setDate: (date) => this.setDate(date),
      step: (dates) => this.setDate(model.get("date") + dates),
      turn: (pages) => this.shape({ page: model.get("shape").page + pages }),
      filtered: (filter) => this.filtered(filter),
    });
    this.root = h("section", { class: "muses-panel muses-parcels", "aria-label": "Parcels" }, this.ui.elements);
    keepKeys(this.root, signal);
    el.classList.add("muses-panel-host");
    el.append(this.root);
    /** @type {[string, () => void][]} */
    const heard = [
      ["change:told change:notes", () => this.tell()],
      ["change:names change:columns change:values change:legends change:statistic change:shape", () => this.show()],
      ["change:dates change:date change:bands change:band change:follows change:statistic change:quantity", () => this.showChoices()],
      ["change:chosen", () => this.showChosen()],
      ["change:series", () => this.showSeries()],
      ["change:small change:chosen", () => this.showPlots()],
      ["change:exported", () => this.showFile()],
    ];
    for (const [names, callback] of heard) {
      for (const name of names.split(" ")) {
        model.on(name, callback);
        signal.addEventListener("abort", () => model.off(name, callback));
      }
    }
    signal.addEventListener("abort", () => {
      clearTimeout(this.rest);
      clearTimeout(this.patience);
      this.forget();
    });
    onTheme(() => this.redraw(), signal);
    this.tell();
    this.showChoices();
    this.show();
    this.showSeries();
    this.showFile();
    this.look();
  }

  /** Whether a kernel is there that could do anything; without one the panel shows what it was saved with. */
  async look() {
    this.self = await findModel(this.model.widget_manager, this.model.get("own_id"), this.signal).catch(() => null);
    this.live = hasKernel(this.model.widget_manager, this.self);
    this.tell();
    this.showChoices();
    this.showPlots();
  }

  // ---- what is told

  tell() {
    const { state = "ok", text = "", done = 0, total = 0 } = this.model.get("told");
    const working = state === "working" && this.live;
    clearTimeout(this.patience);
    this.ui.title.textContent = this.model.get("title");
    this.ui.bar.hidden = this.ui.cancel.hidden = !working;
    this.ui.bar.max = total || 1;
    this.ui.bar.value = done;
    this.ui.again.hidden = working || state === "ok" || !this.live;
    for (const button of this.ui.exports) button.disabled = !this.live || !this.model.get("values").columns;
    if (!this.live) this.ui.state.textContent = NO_KERNEL;
    else this.ui.state.textContent = working ? `Computing: ${done} of ${plural(total, "parcel")}` : text;
    this.ui.state.classList.toggle("muses-error", state === "failed");
    this.ui.state.hidden = !this.ui.state.textContent;
    this.root.setAttribute("aria-busy", String(working));
    this.root.dataset.state = state;
    const notes = this.model.get("notes");
    this.ui.notes.hidden = !notes.length;
    this.ui.notes.replaceChildren(...notes.map((note) => h("li", {}, note)));
  }

  showChoices() {
    const { model } = this;
    const get = model.get.bind(model);
    const dates = get("dates");
    const date = get("date");
    this.ui.quantity.textContent = get("quantity");
    fill(this.ui.statistic, get("columns").filter((column) => column.statistic).map(({ name, title }) => [name, title]), get("statistic"));
    fill(this.ui.date, dates.map((text, i) => [String(i), text]), String(date));
    fill(this.ui.band, get("bands").map((text, i) => [String(i), text]), String(get("band")));
    this.ui.bandLabel.hidden = get("bands").length < 2;
    this.ui.dateBox.hidden = dates.length < 2;
    this.ui.followBox.hidden = dates.length < 2 || !get("layer_id");
    this.ui.follows.checked = get("follows");
    for (const input of [this.ui.date, this.ui.band, this.ui.follows]) input.disabled = !this.live;
    this.ui.before.disabled = !this.live || date <= 0;
    this.ui.after.disabled = !this.live || date >= dates.length - 1;
  }

  /** @param {number} date */
  setDate(date) {
    this.save({ date, follows: false });
  }

  // ---- the table and the small plots

  show() {
    const { model } = this;
    const { sort, down, filter, plots } = model.get("shape");
    const names = model.get("names");
    const columns = model.get("columns");
    const attributes = model.get("attributes");
    const statistics = model.get("values").columns ?? {};
    /** @param {string} column */
    const cells = (column) => statistics[column] ?? attributes[column] ?? [];
    if (document.activeElement !== this.ui.filter) this.ui.filter.value = filter;
    const table = { names, columns, cells };
    try {
      this.rows = rowsOf(table, { sort, down, filter });
      this.ui.problem.hidden = this.rows.length > 0 || !filter.trim();
      this.ui.problem.textContent = this.ui.problem.hidden ? "" : nothingFits(table, filter);
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      this.ui.problem.textContent = error.message;
      this.ui.problem.hidden = false;
    }
    this.ui.count.textContent = this.rows.length === names.length ? plural(names.length, "parcel") : `${this.rows.length} of ${plural(names.length, "parcel")}`;
    this.ui.asTable.setAttribute("aria-pressed", String(!plots));
    this.ui.asPlots.setAttribute("aria-pressed", String(plots));
    this.table.element.hidden = plots;
    this.plots.element.hidden = !plots;
    const rows = this.page();
    const statistic = model.get("statistic");
    if (plots) this.showPlots();
    else this.table.show({ rows, names, columns, cells, sort, down, statistic, legend: model.get("legends")[statistic], chosen: model.get("chosen") });
  }

  /** The parcels of the page that is shown; says which they are. */
  page() {
    const { page, plots } = this.model.get("shape");
    const size = plots ? PLOTS : ROWS;
    const last = Math.max(0, Math.ceil(this.rows.length / size) - 1);
    const at = Math.min(Math.max(0, page), last);
    const rows = this.rows.slice(at * size, (at + 1) * size);
    this.ui.previous.disabled = at === 0;
    this.ui.next.disabled = at === last;
    this.ui.previous.hidden = this.ui.next.hidden = last === 0;
    this.ui.pages.textContent = rows.length ? `${at * size + 1}–${at * size + rows.length} of ${this.rows.length}` : "";
    return rows;
  }

  showPlots() {
    const { model } = this;
    if (!model.get("shape").plots) return;
    const wanted = this.page();
    const { parcels = [], band } = model.get("small");
    const known = new Map(parcels.map((one) => [one.number, one]));
    const there = band === model.get("band") && wanted.every((number) => known.has(number));
    const key = JSON.stringify([wanted, model.get("band"), model.get("values").columns !== undefined]);
    if (!there && this.live && key !== this.asked) {
      this.asked = key;
      this.send({ do: "small", numbers: wanted });
    }
    const first = model.get("columns").find((column) => column.statistic)?.title ?? "";
    const shown = wanted.flatMap((number) => known.get(number) ?? []);
    this.plots.show(shown, model.get("names"), model.get("dates"), model.get("chosen"), `${first} ${model.get("quantity")}`.trim());
  }

  /** @param {string} column */
  sort(column) {
    const { sort, down } = this.model.get("shape");
    this.shape({ sort: column, down: sort === column && !down, page: 0 });
  }

  /** @param {string} filter */
  filtered(filter) {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.shape({ filter, page: 0 }), REST_MS);
  }

  /** @param {Partial<TableShape>} changes */
  shape(changes) {
    const shape = { ...this.model.get("shape"), ...changes };
    const last = Math.max(0, Math.ceil(this.rows.length / (shape.plots ? PLOTS : ROWS)) - 1);
    this.save({ shape: { ...shape, page: Math.min(Math.max(0, shape.page), last) } });
  }

  // ---- the chosen parcel

  /** @param {number} number */
  choose(number) {
    this.save({ chosen: number });
    this.self?.trigger("muses:zoom", number);
  }

  showChosen() {
    const { model } = this;
    const chosen = model.get("chosen");
    const at = this.rows.indexOf(chosen);
    const { plots, page } = model.get("shape");
    const wanted = Math.floor(at / (plots ? PLOTS : ROWS));
    if (at >= 0 && wanted !== page) this.shape({ page: wanted });
    this.table.choice(chosen);
    this.plots.choice(chosen);
    this.showSeries();
  }

  showSeries() {
    const { model } = this;
    const chosen = model.get("chosen");
    const series = model.get("series");
    const name = model.get("names")[chosen] ?? "";
    if (chosen < 0) {
      this.forget();
      this.ui.series.replaceChildren(h("div", { class: "muses-note" }, "Click on a row, or on a parcel on the map, to see its series."));
      return;
    }
    if (series.number !== chosen) {
      const note = this.live ? `Drawing the series of ${name}…` : `The series of ${name} was not saved.`;
      this.forget();
      this.ui.series.replaceChildren(h("div", { class: "muses-parcel-name" }, name), h("div", { class: "muses-note", role: "status" }, note));
      return;
    }
    const key = `${series.number} ${series.text} ${series.item?.length ?? 0} ${series.item ?? ""}`;
    if (key === this.drawn?.key) return;
    this.forget();
    const canvas = h("div", { class: "muses-parcel-canvas", role: "img", "aria-label": `Series of ${series.title}: ${series.text}` });
    const close = h("button", { type: "button", class: "muses-icon", "aria-label": "Close the series", onclick: () => this.save({ chosen: -1 }) }, "×");
    this.ui.series.replaceChildren(
      h("div", { class: "muses-parcel-name" }, h("span", {}, series.title ?? ""), h("span", { class: "muses-soft" }, model.get("quantity")), close),
      h("div", { class: `muses-note ${series.failed ? "muses-error" : ""}` }, series.text ?? ""),
      series.item ? canvas : "",
    );
    this.drawn = { key, views: series.item ? this.draw(series.item, series.bokeh ?? "", canvas) : Promise.resolve(null) };
  }

  /**
   * @param {string} item
   * @param {string} release
   * @param {HTMLElement} canvas
   */
  async draw(item, release, canvas) {
    try {
      return await drawPlot(item, release, canvas);
    } catch (error) {
      canvas.replaceChildren(h("div", { class: "muses-note muses-error" }, messageOf(error)));
      return null;
    }
  }

  async forget() {
    const { drawn } = this;
    this.drawn = null;
    (await drawn?.views)?.clear();
  }

  /** Bokeh takes the theme's colours when it draws. */
  redraw() {
    this.forget();
    this.showSeries();
  }

  // ---- files

  showFile() {
    const { text, name, place, failed } = this.model.get("exported");
    this.ui.file.classList.toggle("muses-error", failed ?? false);
    this.ui.file.hidden = !text;
    if (!text) return;
    const address = place && `${baseUrl()}files/${place.split("/").map(encodeURIComponent).join("/")}`;
    clearTimeout(this.patience);
    this.ui.file.replaceChildren(...(failed ? [text] : ["Wrote ", address ? h("a", { href: address, target: "_blank", rel: "noopener", download: name, title: text }, name ?? "") : text]));
  }

  // ---- the kernel

  /** @param {Partial<ParcelsTraits>} changes */
  save(changes) {
    for (const name of /** @type {(keyof ParcelsTraits)[]} */ (Object.keys(changes))) {
      const value = changes[name];
      if (value !== undefined) this.model.set(name, value);
    }
    this.model.save_changes();
  }

  /** @param {ParcelsMessage} message */
  send(message) {
    this.model.send(message);
    clearTimeout(this.patience);
    if (message.do === "small") return;
    const said = "The kernel has not answered yet. If it is busy, it does so when it is free.";
    this.patience = setTimeout(() => {
      this.ui.state.textContent = said;
      this.ui.state.hidden = false;
    }, ANSWER_MS);
  }
}

/**
 * The choices of a list; only what is other is made anew, since a list that is open would close.
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} choices
 * @param {string} value
 */
function fill(select, choices, value) {
  const key = JSON.stringify(choices);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...choices.map(([of, text]) => h("option", { value: of }, text)));
  }
  select.value = value;
}

export default {
  /** @param {{ model: Model<ParcelsTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new Parcels(model, el, signal);
  },
};
