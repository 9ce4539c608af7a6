// @ts-check
// What all rows of the panel's list have: a handle, a swatch, a legend, opacity, tools; and how its group shows in it.

/** @import { Panel } from "./panel.js" */
/** @import { LayerEntry, LayerGroup, LayerState, Legend, WidgetModel } from "./types" */

import { describeState } from "./describe.js";
import { h, present } from "./dom.js";
import { grip } from "./grip.js";
import { drawLegend, swatchOf } from "./legend.js";
import { RowTools } from "./rowtools.js";

export class LayerRow {
  removed = false;
  /** @type {((value: number) => void) | undefined} hides one of the legend's classes, or shows it again */
  toggle;
  /** @type {string | undefined} the legend that is drawn */
  legendKey;
  /** @type {LayerGroup | undefined} in which it is */
  group = undefined;

  /**
   * @param {Panel} panel
   * @param {WidgetModel} layerModel
   * @param {LayerEntry} entry
   * @param {string} watched events of the model
   */
  constructor(panel, layerModel, entry, watched) {
    this.panel = panel;
    this.layerModel = layerModel;
    this.entry = entry;
    this.watched = watched;
    this.grip = grip(
      () => `Move ${this.entry.name}`,
      (step) => panel.guard(() => panel.list.step(this, step)),
      () => panel.list.begin({ id: this.entry.id, group: this.group?.name ?? null }, this.element),
    );
    this.twist = h("button", { type: "button", class: "muses-icon muses-twist", onclick: () => panel.guard(() => this.setClosed(!this.closed)) });
    this.swatch = h("span", { class: "muses-swatch muses-small-legend", "aria-hidden": "true" });
    this.dot = h("span", { class: "muses-dot", role: "img" });
    this.tools = new RowTools(panel, this);
    this.box = h("input", { type: "checkbox" });
    this.box.addEventListener("change", () => panel.guard(() => this.setModel({ visible: this.box.checked })));
    this.name = h("span", { class: "muses-name" });
    this.label = h("label", {}, this.box, this.swatch, this.name);
    this.opacity = h("input", { type: "range", min: "0", max: "100", step: "5", "aria-label": "Opacity" });
    this.opacity.addEventListener("input", () => this.showOpacity((this.group?.opacity ?? 1) * (Number(this.opacity.value) / 100)));
    this.opacity.addEventListener("change", () => panel.guard(() => this.setModel({ opacity: Number(this.opacity.value) / 100 })));
    this.percent = h("span", { class: "muses-percent" });
    this.legend = h("div");
    this.opacityRow = h("label", { class: "muses-opacity" }, h("span", {}, "Opacity"), this.opacity, this.percent);
    this.details = h("div", { class: "muses-details" });
    this.element = h(
      "div",
      { class: "muses-layer" },
      h("div", { class: "muses-layer-head" }, this.grip.element, this.twist, this.label, this.dot, this.tools.button),
      this.tools.element,
      this.details,
    );
    this.listener = () =>
      panel.guard(() => {
        panel.view.report();
        this.showModel();
        panel.layersChanged();
      });
    layerModel.on(watched, this.listener);
  }

  /** Whether it is to be seen: neither it nor its group is hidden. */
  get visible() {
    return this.layerModel.get("visible") && (this.group?.visible ?? true);
  }

  /** Whether the row shows no more than its head. */
  get closed() {
    return (this.panel.model.get("closed") ?? []).includes(this.entry.id);
  }

  /** How opaque it is drawn. */
  get opaque() {
    return this.layerModel.get("opacity") * (this.group?.opacity ?? 1);
  }

  /** @param {boolean} closed */
  setClosed(closed) {
    const others = (this.panel.model.get("closed") ?? []).filter((id) => id !== this.entry.id);
    this.panel.save({ closed: closed ? [...others, this.entry.id] : others });
    this.showClosed();
  }

  showClosed() {
    const { closed } = this;
    this.element.classList.toggle("muses-closed", closed);
    this.twist.setAttribute("aria-expanded", String(!closed));
  }

  /**
   * Takes over what the kernel says of the layer.
   * @param {LayerEntry} entry
   */
  update(entry) {
    this.entry = entry;
    this.group = this.panel.list.groupOf(entry.id);
    this.name.textContent = this.name.title = entry.name;
    this.element.dataset.name = entry.name;
    this.twist.setAttribute("aria-label", `Details of ${entry.name}`);
    this.grip.name();
    this.tools.update();
  }

  /** @param {Legend | undefined} legend */
  drawLegendOf(legend) {
    const legendKey = JSON.stringify(legend);
    if (legendKey === this.legendKey) return;
    this.legendKey = legendKey;
    const focused = this.legend.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.value : undefined;
    this.legend.replaceChildren(...present([drawLegend(legend, this.toggle)]));
    if (focused !== undefined) /** @type {HTMLElement | null} */ (this.legend.querySelector(`[data-value="${focused}"]`))?.focus();
    this.swatch.style.background = swatchOf(legend);
    this.swatch.hidden = !legend;
  }

  /**
   * Takes over what its group is.
   * @param {LayerGroup | undefined} group
   */
  showGroup(group) {
    this.group = group;
    this.element.hidden = group !== undefined && !group.open;
    this.element.classList.toggle("muses-in-group", group !== undefined);
    this.showClosed();
    this.tools.update();
    this.showModel();
  }

  /** @param {Record<string, unknown>} changes traits of the layer */
  setModel(changes) {
    this.layerModel.set(changes);
    this.layerModel.save_changes();
  }

  showModel() {
    const percent = Math.round(this.layerModel.get("opacity") * 100);
    this.box.checked = this.layerModel.get("visible");
    this.opacity.value = String(percent);
    this.percent.textContent = `${percent} %`;
    this.element.classList.toggle("muses-hidden", !this.box.checked);
    this.element.classList.toggle("muses-hidden-by-group", this.box.checked && !this.visible);
    this.applyVisibility();
    this.panel.showStatus();
  }

  /** Shows the layer on the map, or hides it there. */
  applyVisibility() {}

  /**
   * How opaque it is drawn, while somebody changes that.
   * @type {(share: number) => void}
   */
  showOpacity() {}

  /**
   * Above which others it lies.
   * @type {(index: number) => void}
   */
  setZIndex() {}

  /** @returns {LayerState} what the kernel is told of it while it is to be seen */
  told() {
    return { chain: "", style: "", state: "ok", why: [] };
  }

  /** Why it shows nothing, where nothing is to be shown of it. */
  get empty() {
    return "";
  }

  showDot() {
    const told = this.visible && !this.empty ? this.told() : { state: "", why: [] };
    const state = this.empty ? "empty" : told.state || (this.layerModel.get("visible") ? "grouped" : "hidden");
    const said = describeState(state, this.empty ? [this.empty] : told.why);
    if (this.dot.title === said) return;
    this.dot.dataset.state = state;
    this.dot.title = said;
    this.dot.setAttribute("aria-label", said);
  }

  /** The layer is no longer one of the map's. */
  remove() {
    this.removed = true;
    this.layerModel.off(this.watched, this.listener);
    this.element.remove();
  }
}
