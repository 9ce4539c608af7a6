// @ts-check
// Features on the map: the attributes of the one that is clicked, and their labels.

/** @import { Panel } from "../panel.js" */

import { h } from "../dom.js";
import { formatNumber } from "../format.js";
import { addSection } from "../sections.js";
import { VectorRow } from "../vectorrow.js";

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
    for (const row of this.panel.allRows) {
      if (!(row instanceof VectorRow)) continue;
      await row.adopt(); // so that labels lie where the features do
      const { layer, layerModel } = row;
      if (!layer || this.followed.has(layer)) continue;
      this.followed.add(layer);
      label(layer);
      layer.on("click", (/** @type {any} */ event) => this.panel.guard(() => this.show(row.entry.name, (event.layer ?? event.target)?.feature)));
      layerModel.on("change:data change:visible change:hidden", () => label(layer));
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
    const direction = one.getLatLng ? "right" : permanent ? "center" : "auto"; // a point is seen beside its label
    one.bindTooltip(text, { pane: obj.options.pane, permanent, direction, className: "muses-feature-label", opacity: 1, interactive: false });
  }
}

addSection("vectors", (panel) => new Attributes(panel), { order: 5 });
