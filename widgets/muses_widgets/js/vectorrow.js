// @ts-check
// Features in the panel's list, and the pane in which they lie among the tiles.

/** @import { LayerEntry, WidgetModel } from "./types" */
/** @import { Panel } from "./panel.js" */

import { h } from "./dom.js";
import { plural } from "./format.js";
import { LayerRow } from "./layerrow.js";
import { findLayer } from "./mapview.js";

export class VectorRow extends LayerRow {
  /** @type {any} the Leaflet object */
  layer = null;
  index = 0;

  /**
   * @param {Panel} panel
   * @param {WidgetModel} layerModel
   * @param {LayerEntry} entry
   */
  constructor(panel, layerModel, entry) {
    super(panel, layerModel, entry, "change:visible change:opacity");
    this.toggle = (/** @type {number} */ place) => void panel.guard(() => this.hide(place));
    this.hidden = () => panel.guard(() => this.draw());
    layerModel.on("change:hidden", this.hidden);
    this.pane = `muses-${entry.id}`;
    this.note = h("div", { class: "muses-note", role: "status" });
    this.details.append(this.legend, this.opacityRow, this.note);
  }

  /**
   * @override
   * @param {LayerEntry} entry
   */
  update(entry) {
    super.update(entry);
    this.name.title = `${entry.name}\n${plural(entry.features ?? 0, "feature")}`;
    const said = entry.note ?? "";
    if (this.note.textContent !== said) this.note.textContent = said;
    this.note.hidden = !said;
    this.drawLegend();
    this.showModel();
  }

  /** With the entries that this page hides, whether or not a kernel hears of it. */
  drawLegend() {
    const { legend } = this.entry;
    if (legend?.kind !== "classes") return;
    const hidden = this.layerModel.get("hidden");
    this.drawLegendOf({ ...legend, entries: legend.entries.map((one) => ({ ...one, hidden: hidden.includes(one.value) })) });
  }

  /**
   * Hides the features of an entry of the legend, or shows them again.
   * @param {number} place
   */
  hide(place) {
    const hidden = this.layerModel.get("hidden");
    this.setModel({ hidden: hidden.includes(place) ? hidden.filter((/** @type {number} */ one) => one !== place) : [...hidden, place].sort((a, b) => a - b) });
  }

  /** Draws the features anew. */
  draw() {
    this.drawLegend();
    if (this.layer === null) return;
    this.layer.clearLayers();
    if (this.layerModel.get("visible")) this.layer.addData(this.layerModel.get("data"));
  }

  /**
   * Moves what ipyleaflet has drawn from above all tiles into a pane among them: so it lies above or below chains as the
   * rows do, and is faded and hidden as one.
   */
  async adopt() {
    const { map, mapView } = this.panel;
    const layer = /** @type {any} */ (await findLayer(this.layerModel, mapView));
    if (!layer || this.removed || layer === this.layer) return;
    this.layer = layer;
    if (!map.getPane(this.pane)) map.createPane(this.pane, map.getPane("tilePane")).classList.add("muses-vectors");
    const { options } = layer;
    options.pane = this.pane; // Leaflet gives it to all lines and polygons that are drawn from now on
    const point = options.pointToLayer;
    /** @type {(feature: unknown, place: unknown) => any} */
    options.pointToLayer = (feature, place) => {
      const made = point(feature, place);
      made.options.pane = this.pane;
      made.setRadius(this.layerModel.get("point_style").radius);
      return made;
    };
    /** @type {(feature: { properties: { place: number } }) => boolean} */
    options.filter = ({ properties }) => !this.layerModel.get("hidden").includes(properties.place);
    this.draw();
    this.applyVisibility();
  }

  /** @override */
  applyVisibility() {
    if (this.layer === null) return;
    const { style } = this.panel.map.getPane(this.pane);
    style.display = this.visible ? "" : "none";
    style.opacity = String(this.opaque);
    style.zIndex = String(this.index);
  }

  /**
   * @override
   * @param {number} share
   */
  showOpacity(share) {
    if (this.layer !== null) this.panel.map.getPane(this.pane).style.opacity = String(share);
  }

  /**
   * @override
   * @param {number} index
   */
  setZIndex(index) {
    this.index = index;
    this.applyVisibility();
  }

  drawState() {
    this.showDot();
  }

  /** @override */
  remove() {
    super.remove();
    this.layerModel.off("change:hidden", this.hidden);
    if (this.layer !== null) this.panel.map.getPane(this.pane).style.display = "none";
    this.layer = null;
  }
}
