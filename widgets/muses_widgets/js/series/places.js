// @ts-check
// The list of kept places: each has a colour, a name, whether it is shown, and can be removed.

/** @import { KeptPlace } from "../types" */

import { formatPlace } from "../format.js";
import { h } from "../dom.js";

/** @typedef {{ element: HTMLElement, show: (place: KeptPlace, selected: boolean) => void }} PlaceRow */

export class PlaceList {
  /** @type {Map<string, PlaceRow>} by id */
  rows = new Map();

  /**
   * @param {object} does
   * @param {(id: string, told: Partial<KeptPlace>) => void} does.change
   * @param {(id: string) => void} does.remove
   * @param {(id: string) => void} does.select
   */
  constructor(does) {
    this.does = does;
    this.list = h("ul", { class: "muses-sp-places", "aria-label": "Kept places" });
    this.nothing = h("p", { class: "muses-note", hidden: true }, "No kept place fits the filter.");
    this.element = h("div", {}, this.list, this.nothing);
  }

  /**
   * @param {KeptPlace[]} places
   * @param {string[]} fitting
   * @param {string} selected
   */
  show(places, fitting, selected) {
    const shown = places.filter(({ id }) => fitting.includes(id));
    this.nothing.hidden = !places.length || shown.length > 0;
    for (const id of [...this.rows.keys()]) if (!shown.some((place) => place.id === id)) this.rows.delete(id);
    for (const place of shown) {
      const row = this.rows.get(place.id) ?? this.row(place.id);
      this.rows.set(place.id, row);
      row.show(place, place.id === selected);
    }
    const wanted = shown.flatMap(({ id }) => this.rows.get(id)?.element ?? []);
    const there = [...this.list.children];
    if (wanted.length !== there.length || wanted.some((row, n) => row !== there[n])) this.list.replaceChildren(...wanted);
  }

  /**
   * @param {string} id
   * @returns {PlaceRow}
   */
  row(id) {
    const { change, remove, select } = this.does;
    const colour = h("input", { type: "color", class: "muses-sp-colour" });
    colour.addEventListener("change", () => change(id, { colour: colour.value }));
    const name = h("input", { type: "text", class: "muses-field muses-field-text" });
    name.addEventListener("change", () => name.value.trim() && change(id, { name: name.value }));
    name.addEventListener("keydown", (event) => {
      if (event.key === "Enter") name.blur();
    });
    const visible = h("input", { type: "checkbox" });
    visible.addEventListener("change", () => change(id, { visible: visible.checked }));
    const where = h("span", { class: "muses-sp-where" });
    const dates = h("button", { type: "button", class: "muses-link", "aria-pressed": "false", onclick: () => select(id) }, "Dates");
    const gone = h("button", { type: "button", class: "muses-icon muses-sp-remove", onclick: () => remove(id) }, "×");
    return {
      element: h("li", { class: "muses-sp-place", "data-id": id }, visible, colour, name, where, dates, gone),
      show(place, selected) {
        colour.value = place.colour;
        if (document.activeElement !== name) name.value = place.name;
        visible.checked = place.visible;
        where.textContent = place.kind === "point" ? formatPlace(place.place[0], place.place[1], 4) : "polygon";
        dates.setAttribute("aria-pressed", String(selected));
        for (const [element, label] of /** @type {[HTMLElement, string][]} */ ([
          [colour, `Colour of ${place.name}`],
          [name, `Name of ${place.name}`],
          [visible, `Show ${place.name}`],
          [dates, `Dates of ${place.name}`],
          [gone, `Remove ${place.name}`],
        ])) {
          element.setAttribute("aria-label", label);
          element.title = label;
        }
      },
    };
  }
}
