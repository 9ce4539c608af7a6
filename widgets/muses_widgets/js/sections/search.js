// @ts-check
// A place by its name or coordinates: the map goes there. Names are those of the gazetteer here; nobody else is asked.

/** @import { Panel } from "../panel.js" */

import { readCoordinates } from "../coordinates.js";
import { h } from "../dom.js";
import { addSection } from "../sections.js";

const NAME = "search";
/** Of a town. */
const ZOOM = 12;

/** @typedef {{ name: string, country: string, lat: number, lon: number }} Town */

export class PlaceSearch {
  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.asked = "";
    this.input = h("input", { type: "search", class: "muses-view-name", "aria-label": "Go to a place", placeholder: "Town, or 43.6, 1.44", maxlength: "200" });
    this.button = h("button", { type: "button", class: "muses-button", onclick: () => panel.guard(() => this.go()) }, "Go");
    this.input.addEventListener("keydown", (event) => event.key === "Enter" && panel.guard(() => this.go()));
    this.list = h("div", { class: "muses-found", role: "status" });
    this.body = [h("div", { class: "muses-section muses-search", role: "search" }, h("div", { class: "muses-view-row" }, this.input, this.button), this.list)];
  }

  go() {
    const text = this.input.value.trim();
    this.list.replaceChildren();
    if (!text) return;
    const place = readCoordinates(text);
    if (place) return this.show(place.lat, place.lng);
    if (!this.panel.hasKernel) return this.say("Names are found by the notebook's kernel, and none is connected. Coordinates work: 43.6, 1.44");
    this.asked = text;
    this.panel.model.send({ section: NAME, text });
  }

  /** @param {{ text: string, places: Town[] }} answer */
  told({ text, places }) {
    if (text !== this.asked) return;
    this.asked = "";
    const [only, ...others] = places;
    if (!only) return this.say(`No town is called ${text}. Write its name, with the country's code if need be: Visso,IT`);
    this.show(only.lat, only.lon);
    if (others.length) this.list.replaceChildren(...places.map((town) => this.townButton(town)));
  }

  /** @param {Town} town */
  townButton({ name, country, lat, lon }) {
    return h("button", { type: "button", class: "muses-button", onclick: () => this.show(lat, lon) }, `${name}, ${country}`);
  }

  /** @param {number} lat @param {number} lng */
  show(lat, lng) {
    const { map } = this.panel;
    map.setView([lat, lng], Math.max(ZOOM, map.getZoom()), { animate: false });
  }

  /** @param {string} text */
  say(text) {
    this.list.replaceChildren(h("div", { class: "muses-note" }, text));
  }
}

addSection(NAME, (panel) => new PlaceSearch(panel), { order: 15 });
