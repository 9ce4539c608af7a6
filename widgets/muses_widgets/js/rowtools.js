// @ts-check
// What can be done with a layer, in its row: another name, all of it in view, a group, off the map.

/** @import { Panel } from "./panel.js" */
/** @import { LayerRow } from "./layerrow.js" */

import { h } from "./dom.js";
import { editName } from "./rename.js";

/** What the list of groups has besides their names; a group may be called like that, so it is no value of one. */
const NONE = "none:";
const NEW = "new:";
const NAMED = "name:";

export class RowTools {
  /**
   * @param {Panel} panel
   * @param {LayerRow} row
   */
  constructor(panel, row) {
    this.panel = panel;
    this.row = row;
    this.button = h("button", { type: "button", class: "muses-icon muses-more", "aria-expanded": "false", onclick: () => this.show(Boolean(this.element.hidden)) }, "⋯");
    this.renaming = this.tool("Rename", () => this.rename());
    this.zooming = this.tool("Zoom to", () => this.zoom());
    this.removing = this.tool("Remove", () => panel.list.remove(row));
    this.groups = h("select", { class: "muses-select" });
    this.groups.addEventListener("change", () => panel.guard(() => this.choose(this.groups.value)));
    this.element = h("div", { class: "muses-tools", role: "group", hidden: true }, this.renaming, this.zooming, this.removing, this.groups);
  }

  /**
   * @param {string} text
   * @param {() => void | Promise<void>} work
   */
  tool(text, work) {
    return h("button", { type: "button", class: "muses-button", onclick: () => this.panel.guard(work) }, text);
  }

  /** @param {boolean} open */
  show(open) {
    this.element.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
  }

  update() {
    const { name, bounds } = this.row.entry;
    this.button.setAttribute("aria-label", `Tools of ${name}`);
    this.button.title = "Rename, zoom to, group, remove";
    this.element.setAttribute("aria-label", `Tools of ${name}`);
    this.renaming.setAttribute("aria-label", `Rename ${name}`);
    this.zooming.setAttribute("aria-label", `Zoom to ${name}`);
    this.removing.setAttribute("aria-label", `Remove ${name}`);
    this.groups.setAttribute("aria-label", `Group of ${name}`);
    this.zooming.disabled = !bounds;
    const own = this.row.group?.name;
    const key = JSON.stringify([this.panel.list.groups.map((group) => group.name), own]);
    if (key === this.groups.dataset.key) return;
    this.groups.dataset.key = key;
    this.groups.replaceChildren(
      h("option", { value: NONE }, "No group"),
      ...this.panel.list.groups.map((group) => h("option", { value: NAMED + group.name }, `In ${group.name}`)),
      h("option", { value: NEW }, "New group…"),
    );
    this.groups.value = own === undefined ? NONE : NAMED + own;
  }

  rename() {
    const { row, panel } = this;
    const names = () => panel.model.get("layers").map(({ name }) => name);
    /** @param {string} text */
    const fault = (text) => (!text ? "Give the layer a name" : names().includes(text) ? `There is a layer ${text} already` : "");
    editName(row.name, `Name of ${row.entry.name}`, fault, (text) => {
      row.setModel({ name: text });
      panel.save({ layers: panel.model.get("layers").map((one) => (one.id === row.entry.id ? { ...one, name: text } : one)) });
    });
  }

  zoom() {
    const { bounds } = this.row.entry;
    if (!bounds) return;
    const [west, south, east, north] = bounds;
    this.panel.map.fitBounds([[south, west], [north, east]], { animate: false });
  }

  /** @param {string} value */
  choose(value) {
    delete this.groups.dataset.key; // drawn anew, whatever comes of it
    if (value === NEW) this.panel.list.choose(this.row, null, true);
    else this.panel.list.choose(this.row, value === NONE ? null : value.slice(NAMED.length));
  }
}
