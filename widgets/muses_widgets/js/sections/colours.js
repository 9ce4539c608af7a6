// @ts-check
// The colours of each layer, in its row: palette, range and gamma. Tiles of values take them at once, without a request.

/** @import { Panel } from "../panel.js" */
/** @import { Row } from "../row.js" */
/** @import { Made } from "../controlfields.js" */
/** @import { ControlChoice } from "../types" */

import { number, palette } from "../controlfields.js";
import { h } from "../dom.js";
import { LOOK, stopsOf } from "../look.js";
import { addSection } from "../sections.js";
import { bytesOf } from "../values.js";

const REVERSED = "_r";
/** What is chosen of a list of colours, which has no name. */
const OWN = "own colours";

let made = 0;

class Colouring {
  /** @type {Map<string, RowColours>} by the layer's id */
  fields = new Map();

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
  }

  layersChanged() {
    const rows = new Map(this.panel.ownRows.map((row) => [row.entry.id, row]));
    for (const id of this.fields.keys()) if (!rows.has(id)) this.fields.delete(id);
    for (const [id, row] of rows) {
      if (this.fields.get(id)?.row !== row) this.fields.set(id, new RowColours(this.panel, row));
      this.fields.get(id)?.show();
    }
  }

  /** @param {{ asked: string }} state */
  told({ asked }) {
    for (const { row } of this.fields.values()) row.look.answered(asked);
    this.layersChanged();
  }
}

/** What one layer's row has for it. */
class RowColours {
  /**
   * @param {Panel} panel
   * @param {Row} row
   */
  constructor(panel, row) {
    this.panel = panel;
    this.row = row;
    made += 1;
    const id = `muses-colours-${made}`; // a map may be in the page twice
    /** @type {Map<string, string>} name → table */
    this.tables = new Map(panel.model.get("palettes").map(({ name, table }) => [name, table]));
    this.name = this.baseName;
    if (!this.tables.has(this.name)) this.tables.set(this.name, this.baseTable);
    this.palette = palette({ name: "cmap", title: "Palette", kind: "palette", value: this.name, choices: [...this.tables].map(choiceOf) }, (name) => this.choose(String(name)), `${id}-palette`);
    this.reversed = h("input", { type: "checkbox" });
    this.reversed.addEventListener("change", () => this.choose(this.name));
    this.ends = { vmin: this.end("vmin", "Colours from"), vmax: this.end("vmax", "Colours to") };
    this.gamma = number({ name: "gamma", title: "Gamma", kind: "number", value: 1 }, (value, now) => this.change({ gamma: Number(value) }, now), `${id}-gamma`);
    this.note = h("div", { class: "muses-note muses-error", role: "alert", hidden: true });
    this.ramp = h("div", { class: "muses-colours-ramp" }, this.palette.parts, h("label", { class: "muses-colours-reversed" }, this.reversed, h("span", {}, "Reversed")));
    this.element = h(
      "details",
      { class: "muses-colours" },
      h("summary", {}, "Colours"),
      this.ramp,
      h("div", { class: "muses-colours-range" }, this.ends.vmin, h("span", { "aria-hidden": "true" }, "to"), this.ends.vmax),
      h("div", { class: "muses-colours-gamma" }, h("label", { for: `${id}-gamma` }, "Gamma"), this.gamma.parts),
      this.note,
    );
    this.palette.parts[0]?.addEventListener("toggle", () => this.showChosen());
    row.legend.after(this.element);
  }

  /** The palette's name without its direction. */
  get baseName() {
    return (this.row.look.colours?.cmap ?? OWN).replace(/_r$/, "");
  }

  get isReversed() {
    return this.row.look.colours?.cmap?.endsWith(REVERSED) ?? false;
  }

  get baseTable() {
    const table = this.row.look.colours?.table ?? "";
    return this.isReversed ? reversedTable(table) : table;
  }

  show() {
    const { look } = this.row;
    const { colours, limits } = look;
    this.element.hidden = limits === null;
    if (limits === null) return;
    this.ramp.hidden = colours?.kind !== "continuous";
    for (const end of /** @type {const} */ (["vmin", "vmax"])) {
      if (document.activeElement !== this.ends[end]) this.ends[end].value = String(Number(limits[end].toPrecision(6)));
    }
    this.gamma.show(gammaRow(colours?.gamma ?? 1));
    if (this.ramp.hidden) return;
    this.name = this.baseName;
    this.palette.show({ name: "cmap", title: "Palette", kind: "palette", value: this.name });
    this.reversed.checked = this.isReversed;
    this.reversed.disabled = this.name === OWN;
  }

  /** The list, unfolded, is in sight as far as the panel has room, and begins where the chosen palette is. */
  showChosen() {
    const list = this.element.querySelector(".muses-palette-list");
    list?.scrollIntoView({ block: "nearest" });
    const chosen = list?.querySelector("input:checked");
    if (list && chosen) list.scrollTop += chosen.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 2;
  }

  /** @param {string} name */
  choose(name) {
    const { look } = this.row;
    const known = this.tables.get(name);
    if (!known || name === OWN) {
      this.show();
      return;
    }
    this.name = name;
    const reversed = this.reversed.checked;
    this.change({ cmap: reversed ? name + REVERSED : name, table: reversed ? reversedTable(known) : known }, true);
    this.reversed.disabled = look.colours?.cmap === null;
  }

  /**
   * @param {import("../look.js").Changes} changes
   * @param {boolean} now whether the kernel is to be told
   */
  change(changes, now) {
    this.row.look.preview(changes);
    if (now) this.panel.guard(() => this.row.look.commit());
    this.panel.tell((section) => section.recoloured?.());
  }

  recoloured() {
    this.show();
  }

  /**
   * @param {"vmin" | "vmax"} end
   * @param {string} label
   */
  end(end, label) {
    const field = h("input", { type: "number", step: "any", class: "muses-field", "aria-label": label });
    field.addEventListener("change", () => {
      const { limits } = this.row.look;
      const value = Number(field.value);
      if (!limits || field.value === "" || !Number.isFinite(value)) return;
      const wanted = { ...limits, [end]: value };
      const crossed = wanted.vmin >= wanted.vmax;
      this.note.textContent = crossed ? "The lower end must be below the upper one." : "";
      this.note.hidden = !crossed;
      field.setAttribute("aria-invalid", String(crossed));
      if (!crossed) this.change({ [end]: value }, true);
    });
    return field;
  }
}

/**
 * @param {[string, string]} named
 * @returns {ControlChoice}
 */
const choiceOf = ([name, table]) => ({ value: name, label: name, stops: stopsOf({ table, gamma: 1 }) });

/** @param {number} value */
const gammaRow = (value) => ({ name: "gamma", title: "Gamma", kind: "number", value, min: 0.2, max: 4, step: 0.05, low: 0.05, high: 20 });

/**
 * The colours in the opposite order.
 * @param {string} table
 */
export function reversedTable(table) {
  const rgb = bytesOf(table);
  const out = new Uint8Array(rgb.length);
  for (let at = 0; at < rgb.length; at += 3) out.set(rgb.subarray(at, at + 3), rgb.length - 3 - at);
  return btoa(String.fromCharCode(...out));
}

addSection(LOOK, (panel) => new Colouring(panel), { order: 1 });
