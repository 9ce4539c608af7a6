// @ts-check
// Layers that were added to the map in ipyleaflet's own ways: their names, and whether they are shown.

/** @import { Panel } from "../panel.js" */
/** @import { WidgetModel } from "../types" */

import { h } from "../dom.js";
import { findLayer, plainId } from "../mapview.js";
import { addSection } from "../sections.js";
import { describeWebTiles, watchWebTiles } from "../webtiles.js";

/** One of them in the list. */
class OtherLayer {
  /**
   * @param {Panel} panel
   * @param {WidgetModel} model
   */
  constructor(panel, model) {
    this.model = model;
    /** @type {object | null} the Leaflet object */
    this.obj = null;
    this.hidden = false;
    this.check = h("input", { type: "checkbox" });
    this.check.addEventListener("change", () => panel.guard(() => this.toggle(panel)));
    this.name = h("span", { class: "muses-name" });
    this.remover = h("button", { type: "button", class: "muses-icon", onclick: () => panel.guard(() => panel.list.removeOther(model, this.title)) }, "×");
    this.note = h("div", { class: "muses-note", role: "status", hidden: true });
    this.end = new AbortController();
    this.element = h(
      "div",
      {},
      h("div", { class: "muses-layer-head" }, h("label", { class: "muses-other" }, this.check, this.name), this.remover),
      this.note,
    );
    this.listener = () => panel.guard(() => this.show());
    model.on("change:visible change:name", this.listener);
  }

  get title() {
    return this.model.get("name") || kindOf(this.model);
  }

  /**
   * Takes hold of the Leaflet object.
   * @param {any} obj
   */
  adopt(obj) {
    if (!obj || obj === this.obj) return;
    this.end.abort();
    this.end = new AbortController();
    this.obj = obj;
    const url = this.model.has("url") ? this.model.get("url") : "";
    if (!/^https?:/.test(url ?? "")) return;
    watchWebTiles(obj, (tiles) => this.say(describeWebTiles(tiles, new URL(url).host), true), this.end.signal);
  }

  /**
   * @param {string} text
   * @param {boolean} [bad]
   */
  say(text, bad = false) {
    if (this.note.textContent !== text) this.note.textContent = text;
    this.note.hidden = !text;
    this.note.classList.toggle("muses-error", bad);
  }

  show() {
    const { model, name, title } = this;
    name.textContent = name.title = this.element.dataset.name = title;
    this.check.checked = model.has("visible") ? model.get("visible") : !this.hidden;
    this.remover.setAttribute("aria-label", `Remove ${title}`);
  }

  /** @param {Panel} panel */
  toggle({ map }) {
    const { model, check, obj } = this;
    if (model.has("visible")) {
      model.set("visible", check.checked);
      model.save_changes();
    } else if (obj) {
      // Shapes of ipyleaflet have no `visible`: they are taken off this page's map.
      this.hidden = !check.checked;
      if (this.hidden) map.removeLayer(obj);
      else map.addLayer(obj);
    }
  }

  remove() {
    this.end.abort();
    this.model.off("change:visible change:name", this.listener);
  }
}

class OtherLayers {
  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    /** @type {Map<WidgetModel, OtherLayer>} */
    this.boxes = new Map();
    this.list = h("div");
    this.element = h(
      "div",
      { class: "muses-section muses-others", role: "group", "aria-label": "Other layers", hidden: true },
      h("div", { class: "muses-heading" }, "Other layers"),
      this.list,
    );
    this.body = [this.element];
  }

  /** Lists what the map has besides its base map and the panel's own layers, the top one first. */
  async layersChanged() {
    const { mapView } = this.panel;
    const models = this.models();
    for (const [model, box] of this.boxes) {
      if (models.includes(model)) continue;
      box.remove();
      this.boxes.delete(model);
    }
    for (const model of models) if (!this.boxes.has(model)) this.boxes.set(model, new OtherLayer(this.panel, model));
    const boxes = models.flatMap((model) => this.boxes.get(model) ?? []);
    const wanted = boxes.map((box) => box.element).reverse();
    const there = [...this.list.children];
    if (wanted.length !== there.length || wanted.some((row, i) => row !== there[i])) this.list.replaceChildren(...wanted);
    this.element.hidden = !wanted.length;
    for (const box of boxes) box.show();
    for (const box of boxes) box.adopt(await findLayer(box.model, mapView));
  }

  /** @returns {WidgetModel[]} */
  models() {
    const { mapModel, model } = this.panel;
    const ours = new Set([plainId(model.get("base")), ...model.get("layers").map((entry) => entry.id)]);
    /** @type {WidgetModel[]} */
    const layers = mapModel.get("layers") ?? [];
    return layers.filter((layer) => !ours.has(layer.model_id) && layer.get("_model_name") !== "LeafletPopupModel");
  }

  remove() {
    for (const box of this.boxes.values()) box.remove();
    this.boxes.clear();
  }
}

/**
 * LeafletGeoJSONModel → GeoJSON
 * @param {WidgetModel} model
 */
const kindOf = (model) => (model.get("_model_name") ?? "").replace(/^Leaflet/, "").replace(/Model$/, "") || "Layer";

addSection("others", (panel) => new OtherLayers(panel), { order: 10 });
