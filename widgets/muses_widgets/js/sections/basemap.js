// @ts-check
// The base map: which ones there are, the choice among them, and its tiles.

/** @import { Panel } from "../panel.js" */
/** @import { LeafletTileLayer, WidgetModel } from "../types" */

import { h, onTheme } from "../dom.js";
import { findAttribution, findLayer, findModel, takeOver } from "../mapview.js";
import { addSection } from "../sections.js";
import { isBase, tileLoader } from "../tiles.js";

class BaseMap {
  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    /** @type {WidgetModel | null} */
    this.layerModel = null;
    /** @type {LeafletTileLayer | null} */
    this.layer = null;
    this.select = h("select", { class: "muses-select", "aria-label": "Base map" });
    this.select.addEventListener("change", () => panel.guard(() => this.choose(this.select.value)));
    this.note = h("div", { class: "muses-note", hidden: true });
    this.body = [h("label", { class: "muses-section muses-base" }, h("span", {}, "Base map"), this.select), this.note];
  }

  connected() {
    const { panel } = this;
    const redraw = () =>
      panel.map.eachLayer((layer) => {
        if (isBase({ url: layer._url ?? "" })) layer.refresh();
      });
    onTheme(() => panel.guard(redraw), panel.signal);
    panel.onModel("change:basemap change:basemaps", () => this.show());
    panel.onModel("change:base", () => this.adopt());
    this.show();
  }

  async adopt() {
    const { panel } = this;
    const id = panel.model.get("base");
    if (!id) return;
    const model = this.layerModel?.model_id === id ? this.layerModel : await findModel(panel.manager, id, panel.signal);
    this.layerModel = model;
    const layer = await findLayer(model, panel.mapView);
    if (!layer || layer === this.layer) return;
    this.layer = layer;
    takeOver(layer);
    tileLoader().adopt(layer);
    layer.setZIndex(1);
    layer.on("musestiles tileerror", (event) => {
      if (event.type === "tileerror" && !layer._url.startsWith("muses:")) {
        this.note.textContent = "This base map does not load. Is there an internet connection?";
        this.note.hidden = false;
      }
      panel.showStatus();
    });
  }

  show() {
    const { model } = this.panel;
    this.select.replaceChildren(
      ...model.get("basemaps").map((b) => h("option", { value: b.name }, b.online ? `${b.name} (internet)` : b.name)),
    );
    this.select.value = model.get("basemap");
  }

  /** @param {string} name */
  async choose(name) {
    const { mapModel, mapView, model } = this.panel;
    const chosen = model.get("basemaps").find((b) => b.name === name);
    if (!chosen) throw new Error(`There is no base map ${JSON.stringify(name)}`);
    const { layerModel } = this;
    if (!layerModel) throw new Error("The map is not there yet. Choose the base map again in a moment.");
    this.note.hidden = true;
    this.panel.save({ basemap: name });
    // Leaflet's attribution control only looks at a layer when it is added or removed.
    const attribution = await findAttribution(mapView);
    attribution?.removeAttribution(layerModel.get("attribution"));
    attribution?.addAttribution(chosen.attribution);
    layerModel.set({ url: chosen.url, attribution: chosen.attribution, name });
    layerModel.save_changes();
    this.layer?.redraw();
    const layers = mapModel.get("layers");
    if (!layers.includes(layerModel)) {
      mapModel.set("layers", [layerModel, ...layers]); // it was removed from the map
      mapModel.save_changes();
    }
  }
}

addSection("basemap", (panel) => new BaseMap(panel), { order: 20 });
