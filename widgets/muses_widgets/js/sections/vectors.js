// @ts-check
// Features on the map: the attributes of the one that is clicked, and their labels.

/** @import { Panel } from "../panel.js" */
/** @import { WidgetModel } from "../types" */

import { h } from "../dom.js";
import { formatNumber } from "../format.js";
import { findLayer } from "../mapview.js";
import { addSection } from "../sections.js";

/** So many labels stand on the map; of more, a feature's is shown where the pointer is. */
const MOST_LABELS = 300;

class Attributes {
  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    /** @type {WeakSet<object>} Leaflet objects that are listened to */
    this.followed = new WeakSet();
    this.title = h("span", { class: "muses-attributes-title" });
    this.table = h("div");
    const close = h("button", { type: "button", class: "muses-icon", "aria-label": "Close the attributes", onclick: () => this.cleared() }, "×");
    this.element = h(
      "div",
      { class: "muses-attributes", role: "region", "aria-label": "Attributes of the clicked feature", "aria-live": "polite", hidden: true },
      h("div", { class: "muses-place" }, this.title, close),
      this.table,
    );
    this.top = [this.element];
  }

  async layersChanged() {
    const { mapModel, mapView } = this.panel;
    /** @type {WidgetModel[]} */
    const models = (mapModel.get("layers") ?? []).filter((/** @type {WidgetModel} */ model) => model.has("legend") && model.has("data"));
    for (const model of models) {
      const obj = /** @type {any} */ (await findLayer(model, mapView));
      if (!obj || this.followed.has(obj)) continue;
      this.followed.add(obj);
      label(obj);
      obj.on("click", (/** @type {any} */ event) => this.panel.guard(() => this.show(model.get("name"), (event.layer ?? event.target)?.feature)));
      model.on("change:data", () => label(obj));
    }
  }

  /**
   * @param {string} layer
   * @param {{ id?: unknown, properties?: { id?: unknown, attributes?: Record<string, unknown> } } | undefined} feature
   */
  show(layer, feature) {
    if (!feature) return;
    const { id, attributes = {} } = feature.properties ?? {};
    this.title.textContent = `${layer}: ${id ?? feature.id ?? ""}`;
    const rows = Object.entries(attributes).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, textOf(value))));
    this.table.replaceChildren(rows.length ? h("table", {}, h("tbody", {}, rows)) : h("div", { class: "muses-note" }, "It has no attributes."));
    this.element.hidden = false;
    this.panel.scroll.scrollTop = 0;
  }

  cleared() {
    this.element.hidden = true;
  }
}

/** @param {unknown} value */
export function textOf(value) {
  if (value === null || value === undefined) return "—";
  if (typeof value === "number") return formatNumber(value);
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

/** @param {any} obj a Leaflet GeoJSON layer */
function label(obj) {
  /** @type {any[]} */
  const labelled = [];
  obj.eachLayer((/** @type {any} */ one) => one.feature?.properties?.label && labelled.push(one));
  const permanent = labelled.length <= MOST_LABELS;
  for (const one of labelled) {
    const text = h("span", {}, String(one.feature.properties.label)); // an element: Leaflet would read a text as HTML
    one.bindTooltip(text, { permanent, direction: permanent ? "center" : "auto", className: "muses-feature-label", opacity: 1, interactive: false });
  }
}

addSection("vectors", (panel) => new Attributes(panel), { order: 5 });
