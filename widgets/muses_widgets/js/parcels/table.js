// @ts-check
// The table of parcels: a row for each, a page at a time; a column's head sorts by it.

/** @import { Cell, ParcelColumn } from "../types" */

import { colourOf } from "../colours.js";
import { h } from "../dom.js";
import { formatNumber } from "../format.js";
import { NAME } from "./rows.js";

/** @import { ContinuousLegend } from "../types" */

/**
 * @typedef {object} Shown
 * @property {number[]} rows numbers of the parcels of this page
 * @property {string[]} names
 * @property {ParcelColumn[]} columns
 * @property {(column: string) => Cell[]} cells
 * @property {string} sort
 * @property {boolean} down
 * @property {number} chosen
 * @property {string} statistic that the map shows
 * @property {ContinuousLegend | undefined} legend its colours
 */

export class ParcelTable {
  /** @type {Map<number, HTMLTableRowElement>} by the parcel's number */
  rows = new Map();

  /**
   * @param {(column: string) => void} sort
   * @param {(number: number) => void} choose
   */
  constructor(sort, choose) {
    this.sort = sort;
    this.choose = choose;
    this.head = h("tr", {});
    this.body = h("tbody", {});
    this.table = h("table", { class: "muses-parcel-table" }, h("thead", {}, this.head), this.body);
    this.element = h("div", { class: "muses-parcel-scroll", role: "region", "aria-label": "Table of parcels", tabindex: "0", onscroll: () => this.edges() }, this.table);
    this.watch = new ResizeObserver(() => this.edges());
    this.watch.observe(this.element);
  }

  /** @param {Shown} shown */
  show(shown) {
    const focused = document.activeElement instanceof HTMLElement && this.element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const columns = [{ name: NAME, title: "Parcel", kind: "text", statistic: false }, ...shown.columns];
    this.head.replaceChildren(...columns.map((column) => this.headOf(column, shown)));
    this.rows = new Map(shown.rows.map((number) => [number, this.rowOf(number, shown)]));
    this.body.replaceChildren(...this.rows.values());
    this.choice(shown.chosen);
    if (focused) [...this.element.querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
  }

  /** Whether columns are out of sight, which a shadow at the edge tells. */
  edges() {
    const { scrollLeft, scrollWidth, clientWidth } = this.element;
    this.element.classList.toggle("muses-more", scrollWidth - clientWidth - scrollLeft > 1);
  }

  /** @param {number} chosen */
  choice(chosen) {
    for (const [number, row] of this.rows) {
      row.classList.toggle("muses-chosen", number === chosen);
      if (number === chosen) row.setAttribute("aria-selected", "true");
      else row.removeAttribute("aria-selected");
    }
  }

  /**
   * @param {{ name: string, title: string, kind: string }} column
   * @param {Shown} shown
   */
  headOf({ name, title, kind }, { sort, down, statistic }) {
    const sorted = sort === name ? (down ? "descending" : "ascending") : "none";
    const arrow = sorted === "none" ? "" : down ? " ▾" : " ▴";
    const button = h("button", { type: "button", "data-key": `sort ${name}`, title: `Sort by ${title}`, onclick: () => this.sort(name) }, title, h("span", { "aria-hidden": "true" }, arrow));
    const marks = `${kind === "number" ? "muses-number" : ""} ${name === statistic ? "muses-mapped" : ""}`.trim();
    return h("th", { scope: "col", class: marks, "aria-sort": sorted }, button);
  }

  /**
   * @param {number} number
   * @param {Shown} shown
   */
  rowOf(number, { names, columns, cells, statistic, legend }) {
    const name = names[number] ?? "";
    const button = h("button", { type: "button", "data-key": `row ${number}`, title: `Show the series of ${name}` }, name);
    const row = h(
      "tr",
      { "data-number": String(number), onclick: () => this.choose(number) }, // the button's click comes here, too
      h("th", { scope: "row" }, button),
      columns.map((column) => {
        const value = cells(column.name)[number] ?? null;
        const colour = column.name === statistic && legend && typeof value === "number" ? colourOf(legend, value) : null;
        const swatch = colour && h("span", { class: "muses-swatch", style: `background:${colour}` });
        return h("td", { class: column.kind === "number" ? "muses-number" : "", title: String(value ?? "no value") }, swatch, textOf(column, value));
      }),
    );
    return row;
  }
}

/**
 * @param {ParcelColumn} column
 * @param {Cell} value
 */
function textOf({ name, statistic }, value) {
  if (value === null) return "–";
  if (statistic && name === "count") return String(+Number(value).toFixed(1)); // a pixel at the edge counts by its share
  return typeof value === "number" ? formatNumber(value) : String(value);
}
