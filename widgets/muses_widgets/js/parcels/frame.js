// @ts-check
// The elements of the panel of parcels, from top to bottom, and what each of them does.

/** @import { ParcelsMessage, ParcelsTraits, TableShape } from "../types" */

import { h } from "../dom.js";

const EXPORTS = { csv: "CSV", parquet: "Parquet", gpkg: "GeoPackage" };

/**
 * @typedef {object} Acts
 * @property {HTMLElement} table
 * @property {HTMLElement} plots
 * @property {(message: ParcelsMessage) => void} send
 * @property {(changes: Partial<ParcelsTraits>) => void} save
 * @property {(changes: Partial<TableShape>) => void} shape
 * @property {(date: number) => void} setDate
 * @property {(dates: number) => void} step
 * @property {(pages: number) => void} turn
 * @property {(filter: string) => void} filtered
 */

export class ParcelFrame {
  /** @param {Acts} acts */
  constructor(acts) {
    this.title = h("span", { class: "muses-title" });
    this.quantity = h("span", { class: "muses-soft" });
    this.count = h("span", { class: "muses-note muses-parcel-count", role: "status" });
    this.bar = h("progress", { "aria-label": "Parcels computed" });
    this.cancel = h("button", { type: "button", class: "muses-button", onclick: () => acts.send({ do: "cancel" }) }, "Cancel");
    this.again = h("button", { type: "button", class: "muses-button", onclick: () => acts.send({ do: "compute" }) }, "Compute again");
    this.state = h("span", { class: "muses-note", role: "status" });
    this.notes = h("ul", { class: "muses-parcel-notes muses-note", "aria-label": "Remarks" });

    this.statistic = h("select", { class: "muses-select", onchange: () => acts.save({ statistic: this.statistic.value }) });
    this.date = h("select", { class: "muses-select", onchange: () => acts.setDate(Number(this.date.value)) });
    this.before = h("button", { type: "button", class: "muses-button", "aria-label": "Date before", onclick: () => acts.step(-1) }, "‹");
    this.after = h("button", { type: "button", class: "muses-button", "aria-label": "Next date", onclick: () => acts.step(1) }, "›");
    this.follows = h("input", { type: "checkbox", onchange: () => acts.save({ follows: this.follows.checked }) });
    this.band = h("select", { class: "muses-select", onchange: () => acts.save({ band: Number(this.band.value) }) });
    this.bandLabel = h("label", {}, "Band", this.band);
    this.dateBox = h("div", { class: "muses-parcel-date" }, h("label", {}, "Date", this.date), this.before, this.after);
    this.followBox = h("label", { class: "muses-parcel-follow", title: "The date moves with the map's bar of dates" }, this.follows, "Follow the map's date");
    this.filter = h("input", { type: "search", class: "muses-field", "aria-label": "Filter the parcels", placeholder: "Filter: wheat, or mean < 0.3 and crop = maize", oninput: () => acts.filtered(this.filter.value) });
    this.problem = h("div", { class: "muses-note muses-error", role: "alert" });
    /** @param {boolean} plots @param {string} text */
    const mode = (plots, text) => h("button", { type: "button", class: "muses-button", onclick: () => acts.shape({ plots, page: 0 }) }, text);
    this.asTable = mode(false, "Table");
    this.asPlots = mode(true, "Small plots");

    /** @param {number} step @param {string} text @param {string} label */
    const turn = (step, text, label) => h("button", { type: "button", class: "muses-button", "aria-label": label, onclick: () => acts.turn(step) }, text);
    this.previous = turn(-1, "‹", "Page before");
    this.next = turn(1, "›", "Next page");
    this.pages = h("span", { class: "muses-note", role: "status" });
    this.file = h("span", { class: "muses-note", role: "status" });
    this.exports = Object.entries(EXPORTS).map(([format, text]) =>
      h("button", { type: "button", class: "muses-button", title: `Write all parcels and dates as ${text}`, onclick: () => acts.send({ do: "export", format }) }, text),
    );
    this.series = h("div", { class: "muses-parcel-series", role: "region", "aria-label": "Series of the chosen parcel" });
    this.elements = [
      h("div", { class: "muses-parcel-head" }, this.title, this.quantity, this.count),
      h("div", { class: "muses-parcel-line" }, this.bar, this.state, this.cancel, this.again),
      this.notes,
      h("div", { class: "muses-parcel-line" }, h("label", {}, "On the map", this.statistic), this.bandLabel, this.dateBox, this.followBox),
      h("div", { class: "muses-parcel-line" }, this.filter, h("div", { class: "muses-parcel-modes", role: "group", "aria-label": "Shown as" }, this.asTable, this.asPlots)),
      this.problem,
      acts.table,
      acts.plots,
      h("div", { class: "muses-parcel-line" }, this.previous, this.pages, this.next, h("span", { class: "muses-parcel-gap" }), h("span", { class: "muses-note" }, "Export"), this.exports, this.file),
      this.series,
    ];
  }
}
