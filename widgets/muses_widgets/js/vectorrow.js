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
    this.drawLegendOf(entry.legend);
    this.showModel();
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
    layer.clearLayers();
    if (this.layerModel.get("visible")) layer.addData(this.layerModel.get("data"));
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
    if (this.layer !== null) this.panel.map.getPane(this.pane).style.display = "none";
    this.layer = null;
  }
}
