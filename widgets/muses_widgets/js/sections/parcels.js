// @ts-check
// Parcels on the map: the colours of a statistic on a date, its legend, names and values where the pointer is. All of it
// is what a ParcelsPanel (../parcels/panel.js) has; a click here chooses a parcel there.

/** @import { Panel } from "../panel.js" */
/** @import { LeafletShape, LeafletShapes, ParcelsTraits, WidgetModel } from "../types" */

import { colourOf, NOTHING } from "../colours.js";
import { h } from "../dom.js";
import { formatNumber } from "../format.js";
import { drawLegend } from "../legend.js";
import { findLayer, findModel } from "../mapview.js";
import { addSection } from "../sections.js";

const NAME = "parcels";
const LINE = { color: "#333333", weight: 1, opacity: 0.8 };
const CHOSEN = { color: "#111111", weight: 4, opacity: 1 };
/** Deepest zoom that a row's click moves the map to. */
const CLOSEST = 16;

/** One ParcelsPanel on this map. */
class Parcels {
  /** @type {LeafletShapes | null} */
  shapes = null;
  /** @type {Map<number, LeafletShape>} */
  byNumber = new Map();

  /**
   * @param {Panel} panel
   * @param {WidgetModel} model the ParcelsPanel's
   * @param {string} layer id of the layer's model
   */
  constructor(panel, model, layer) {
    this.panel = panel;
    this.model = model;
    this.layer = layer;
    this.legend = h("div", { class: "muses-section muses-parcel-legend", role: "group", "aria-label": "Colours of the parcels" });
    /** @type {[string, (value?: any) => void][]} */
    this.heard = [
      ["change:values change:legends change:statistic change:chosen", () => this.colour()],
      ["muses:zoom", (number) => this.zoom(number)],
    ];
    this.guarded = this.heard.map(([names, callback]) => /** @type {const} */ ([names, (/** @type {any} */ ...values) => panel.guard(() => callback(...(names.startsWith("muses") ? values : [])))]));
    for (const [names, callback] of this.guarded) model.on(names, callback);
  }

  /**
   * A trait of the panel's model.
   * @template {keyof ParcelsTraits} K
   * @param {K} name
   * @returns {ParcelsTraits[K]}
   */
  get(name) {
    return this.model.get(name);
  }

  /** Takes hold of the shapes in this view of the map, which are made anew whenever the map is. */
  async adopt() {
    const layerModel = await findModel(this.panel.manager, this.layer, this.panel.signal);
    const shapes = /** @type {LeafletShapes | null} */ (/** @type {unknown} */ (await findLayer(layerModel, this.panel.mapView)));
    if (!shapes || shapes === this.shapes) return;
    this.shapes = shapes;
    this.byNumber.clear();
    shapes.eachLayer((shape) => this.byNumber.set(shape.feature?.properties?.number ?? -1, shape));
    shapes.options.style = ({ properties }) => this.styleOf(properties?.number ?? -1); // ipyleaflet goes back to it behind the pointer
    shapes.bindTooltip((shape) => this.tooltip(shape), { sticky: true, className: "muses-parcel-tooltip" });
    shapes.on("click", ({ layer }) => {
      const number = layer?.feature?.properties?.number;
      if (number === undefined) return;
      this.model.set("chosen", number);
      this.model.save_changes();
    });
    this.colour();
  }

  get values() {
    return this.get("values").columns?.[this.get("statistic")] ?? [];
  }

  get dateText() {
    return this.get("dates")[this.get("values").date ?? 0] ?? "";
  }

  /** @param {number} number */
  styleOf(number) {
    const legend = this.get("legends")[this.get("statistic")];
    const colour = legend ? colourOf(legend, this.values[number]) : null;
    const fill = { fillColor: colour ?? NOTHING, fillOpacity: colour ? 0.85 : legend ? 0.25 : 0.15 };
    return { ...(number === this.get("chosen") ? CHOSEN : LINE), ...fill, dashArray: colour || !legend ? null : "3 3" };
  }

  colour() {
    const legend = this.get("legends")[this.get("statistic")];
    const { values } = this;
    for (const [number, shape] of this.byNumber) shape.setStyle(this.styleOf(number));
    this.byNumber.get(this.get("chosen"))?.bringToFront();
    const missing = h("div", { class: "muses-note" }, h("span", { class: "muses-swatch muses-parcel-missing" }), " no valid pixel");
    const title = h("div", { class: "muses-heading" }, [this.get("title"), this.dateText].filter(Boolean).join(" · "));
    const some = legend && this.get("names").some((_, number) => (values[number] ?? null) === null);
    this.legend.replaceChildren(title, ...[drawLegend(legend), some ? missing : null].filter((one) => one !== null));
    this.legend.hidden = !legend;
  }

  /** @param {LeafletShape} shape */
  tooltip(shape) {
    const number = shape.feature?.properties?.number ?? -1;
    const statistic = this.get("statistic");
    const title = this.get("columns").find(({ name }) => name === statistic)?.title ?? "";
    const value = this.values[number] ?? null;
    return h(
      "div",
      {},
      h("div", { class: "muses-parcel-tooltip-name" }, this.get("names")[number] ?? ""),
      title && h("div", {}, `${title} ${this.get("quantity")}: `, h("b", {}, value === null ? "no valid pixel" : formatNumber(value))),
      this.dateText && h("div", {}, this.dateText),
    );
  }

  /** @param {number} number */
  zoom(number) {
    const shape = this.byNumber.get(number);
    if (shape) this.panel.map.fitBounds(shape.getBounds(), { maxZoom: CLOSEST, padding: [60, 60], animate: false });
  }

  remove() {
    for (const [names, callback] of this.guarded) this.model.off(names, callback);
    this.legend.remove();
  }
}

class ParcelsOnMap {
  /** @type {Map<string, Parcels>} by the id of the ParcelsPanel's model */
  known = new Map();

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.element = h("div", {});
    this.body = [this.element];
  }

  adopt() {
    return this.follow();
  }

  told() {
    return this.follow();
  }

  async follow() {
    const { model, manager, mapModel, signal } = this.panel;
    /** @type {{ panel: string, layer: string }[]} */
    const told = model.get("sections")[NAME]?.panels ?? [];
    /** @type {WidgetModel[]} */
    const layers = mapModel.get("layers") ?? [];
    const there = told.filter(({ layer }) => layers.some((one) => one.model_id === layer));
    for (const [id, parcels] of this.known) {
      if (there.some(({ panel }) => panel === id)) continue;
      parcels.remove();
      this.known.delete(id);
    }
    for (const { panel, layer } of there) {
      const found = this.known.get(panel);
      if (found) {
        await found.adopt();
        continue;
      }
      const parcels = new Parcels(this.panel, await findModel(manager, panel, signal), layer);
      if (this.known.has(panel)) {
        parcels.remove(); // another call was faster
        continue;
      }
      this.known.set(panel, parcels);
      this.element.append(parcels.legend);
      await parcels.adopt();
    }
  }

  remove() {
    for (const parcels of this.known.values()) parcels.remove();
    this.known.clear();
  }
}

addSection(NAME, (panel) => new ParcelsOnMap(panel), { order: 5 });
