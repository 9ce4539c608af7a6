// @ts-check
// Two layers side by side: one left of a line over the map, one right of it. It works without a kernel.

/** @import { Panel } from "../panel.js" */
/** @import { Row } from "../row.js" */
/** @import { LayerEntry } from "../types" */

import { h } from "../dom.js";
import { addSection } from "../sections.js";

/** How far the keyboard moves the line, as a share of the map: by an arrow, by a page. */
const STEP = 0.02;
const PAGE = 0.1;

class Swipe {
  /** @type {HTMLElement[]} what is clipped at present */
  clipped = [];

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.left = this.select("Left of the line");
    this.right = this.select("Right of the line");
    this.choice = h("div", { class: "muses-swipe-choice" }, this.left, h("span", { "aria-hidden": "true" }, "|"), this.right);
    this.box = h("input", { type: "checkbox" });
    this.box.addEventListener("change", () => panel.guard(() => this.toggle()));
    this.element = h("div", { class: "muses-swipe", hidden: true }, h("label", {}, this.box, h("span", {}, "Compare two layers")), this.choice);
    this.body = [this.element];
    this.handle = h("div", {
      class: "muses-swipe-handle",
      role: "slider",
      tabindex: "0",
      "aria-label": "Line between the two layers",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    });
    this.names = [h("span", { class: "muses-swipe-name muses-left" }), h("span", { class: "muses-swipe-name muses-right" })];
    this.line = h("div", { class: "muses-swipe-line", hidden: true }, this.names, this.handle);
    this.handle.addEventListener("pointerdown", (event) => this.grab(event));
    this.handle.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["click", "dblclick", "mousedown", "touchstart"]) {
      this.line.addEventListener(name, (event) => event.stopPropagation(), { passive: true });
    }
  }

  /** @param {string} label */
  select(label) {
    const made = h("select", { "aria-label": label, title: label });
    made.addEventListener("change", () => this.panel.guard(() => this.choose()));
    return made;
  }

  connected() {
    this.panel.map.getContainer().append(this.line);
    this.panel.onMap("move zoom viewreset zoomend resize", () => this.clip());
    this.panel.onModel("change:swipe", () => this.update());
    this.update();
  }

  layersChanged() {
    this.update();
  }

  remove() {
    this.free();
    this.line.remove();
  }

  /** The two layers that are compared; none where one of them is gone. */
  get pair() {
    const { left, right } = this.panel.model.get("swipe");
    const rows = this.panel.ownRows;
    const found = [left, right].map((id) => rows.find((row) => row.entry.id === id));
    return found.every(Boolean) && left !== right ? /** @type {[Row, Row]} */ (found) : null;
  }

  get at() {
    return this.panel.model.get("swipe").at ?? 0.5;
  }

  update() {
    const rows = this.panel.ownRows;
    const { pair } = this;
    this.element.hidden = rows.length < 2;
    this.box.checked = pair !== null;
    this.choice.hidden = pair === null;
    this.line.hidden = pair === null;
    for (const [select, row] of /** @type {const} */ ([[this.left, pair?.[0]], [this.right, pair?.[1]]])) {
      select.replaceChildren(...rows.map(({ entry }) => h("option", { value: entry.id, selected: entry.id === row?.entry.id }, entry.name)));
    }
    pair?.forEach((row, i) => this.names[i]?.replaceChildren(nameOf(row.entry)));
    this.clip();
  }

  /** The two uppermost visible layers, the upper one to the right. */
  toggle() {
    const [upper, lower] = this.panel.visibleRows.length > 1 ? this.panel.visibleRows : this.panel.ownRows;
    const on = this.box.checked && upper && lower;
    this.panel.save({ swipe: on ? { left: lower.entry.id, right: upper.entry.id, at: 0.5 } : {} });
    for (const row of on ? [upper, lower] : []) if (!row.visible) row.setModel({ visible: true });
    this.update();
  }

  /** One layer cannot be on both sides: the other side takes the one that was here. */
  choose() {
    const before = this.panel.model.get("swipe");
    let left = this.left.value;
    let right = this.right.value;
    if (left === right && right === before.left) left = before.right ?? left;
    else if (left === right) right = before.left ?? right;
    this.panel.save({ swipe: { ...before, left, right } });
    this.update();
  }

  // ---- the line

  /** @param {PointerEvent} event */
  grab(event) {
    event.stopPropagation();
    event.preventDefault(); // of text
    this.handle.focus();
    this.handle.setPointerCapture(event.pointerId);
    /** @param {PointerEvent} moved */
    const move = (moved) => {
      const { left, width } = this.panel.map.getContainer().getBoundingClientRect();
      this.moveTo((moved.clientX - left) / width, false);
    };
    const end = () => {
      this.handle.removeEventListener("pointermove", move);
      this.moveTo(this.at, true);
    };
    this.handle.addEventListener("pointermove", move);
    this.handle.addEventListener("pointerup", end, { once: true });
    this.handle.addEventListener("pointercancel", end, { once: true });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { at } = this;
    const left = { ArrowLeft: at - STEP, ArrowDown: at - STEP, PageDown: at - PAGE, Home: 0 };
    const to = { ...left, ArrowRight: at + STEP, ArrowUp: at + STEP, PageUp: at + PAGE, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.moveTo(to, true);
  }

  /**
   * @param {number} at share of the map's width
   * @param {boolean} told to the kernel, too
   */
  moveTo(at, told) {
    const { model } = this.panel;
    model.set("swipe", { ...model.get("swipe"), at: Math.min(1, Math.max(0, at)) });
    if (told) model.save_changes();
    this.clip();
  }

  /** Shows each layer on its side only. */
  clip() {
    this.free();
    const { pair, at } = this;
    if (!pair) return;
    const { map } = this.panel;
    const { x: width, y: height } = map.getSize();
    const { x, y } = map.containerPointToLayerPoint([0, 0]);
    const line = x + width * at;
    this.line.style.left = `${(100 * at).toFixed(2)}%`;
    this.handle.setAttribute("aria-valuenow", String(Math.round(100 * at)));
    this.handle.setAttribute("aria-valuetext", `${Math.round(100 * at)} %: ${pair.map((row) => nameOf(row.entry)).join(" left, ")} right`);
    const sides = [[x, line], [line, x + width]];
    pair.forEach((row, i) => {
      const container = row.layer?.getContainer?.();
      const [from, to] = sides[i] ?? [0, 0];
      if (!container) return;
      container.style.clip = `rect(${y}px, ${to}px, ${y + height}px, ${from}px)`;
      this.clipped.push(container);
    });
  }

  free() {
    for (const container of this.clipped) container.style.clip = "";
    this.clipped = [];
  }
}

/**
 * A layer's name, with the date that is shown of one with dates.
 * @param {LayerEntry} entry
 */
export function nameOf({ name, frames, chain }) {
  const shown = frames?.find((frame) => frame.chain === chain);
  return shown ? `${name} · ${shown.label}` : name;
}

addSection("swipe", (panel) => new Swipe(panel), { order: 8 });
