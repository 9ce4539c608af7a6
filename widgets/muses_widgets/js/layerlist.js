// @ts-check
// The list of a panel's layers: their order, groups and removal. What it does is kept in the model; each row shows itself.

/** @import { Panel } from "./panel.js" */
/** @import { LayerRow } from "./layerrow.js" */
/** @import { Arrangement, Line } from "./arrangement.js" */
/** @import { LayerEntry, LayerGroup, WidgetModel } from "./types" */

import { drop, freeGroupName, groupOf, linesOf, newGroup, regroup, stepGroup, stepLayer } from "./arrangement.js";
import { h } from "./dom.js";
import { GroupHead } from "./grouphead.js";

/** @typedef {{ entry: LayerEntry, model: WidgetModel, place: number, at: number, group: LayerGroup | undefined }} Removed */

export class LayerList {
  /** @type {Map<string, GroupHead>} by the group's name */
  heads = new Map();

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.rows = h("div", { class: "muses-layers" });
    this.mark = h("div", { class: "muses-drop", hidden: true });
    this.undo = h("div", { class: "muses-undo", role: "status" });
    this.said = h("div", { class: "muses-unseen", role: "status", "aria-live": "polite" });
    this.element = h("div", { class: "muses-list" }, this.rows, this.mark, this.undo, this.said);
  }

  get groups() {
    return this.panel.model.get("groups") ?? [];
  }

  /** @returns {Arrangement} */
  get now() {
    return { order: this.panel.model.get("layers").map(({ id }) => id), groups: this.groups };
  }

  /**
   * The group of a layer.
   * @param {string} id
   */
  groupOf(id) {
    return groupOf(this.groups, id);
  }

  /** Draws the lines in their order; only where they are not, because what is moved loses the keyboard's focus. */
  show() {
    const { order, groups } = this.now;
    const lines = linesOf(order, groups);
    const names = new Set(groups.map(({ name }) => name));
    for (const name of this.heads.keys()) if (!names.has(name)) this.heads.delete(name);
    /** @type {HTMLElement[]} */
    const wanted = [];
    for (const line of lines) {
      const group = groups.find(({ name }) => name === line.group);
      if (line.id !== undefined) {
        const row = this.panel.rows.get(line.id);
        if (!row) continue;
        row.showGroup(group);
        wanted.push(row.element);
      } else if (group) {
        const head = this.heads.get(group.name) ?? new GroupHead(this, group);
        this.heads.set(group.name, head);
        head.show(group);
        wanted.push(head.element);
      }
    }
    const there = [...this.rows.children];
    if (wanted.length && wanted.length === there.length && wanted.every((line, i) => line === there[i])) return;
    const focused = document.activeElement;
    this.rows.replaceChildren(...wanted);
    if (!wanted.length) this.rows.append(h("div", { class: "muses-note" }, "No layers yet: m.add(chain, name=…)"));
    if (focused instanceof HTMLElement && this.rows.contains(focused)) focused.focus();
  }

  /**
   * Keeps another order and other groups.
   * @param {Arrangement | null} next
   */
  arrange(next) {
    if (!next) return;
    const entries = this.panel.model.get("layers");
    const layers = next.order.flatMap((id) => entries.find((entry) => entry.id === id) ?? []);
    this.panel.save({ layers, groups: next.groups });
    this.panel.layersMoved();
  }

  /**
   * @param {LayerRow} row
   * @param {-1 | 1} step
   */
  step(row, step) {
    const { id, name } = row.entry;
    this.arrange(stepLayer(this.now, id, step));
    const { order } = this.now;
    const group = this.groupOf(id);
    this.say(`${name}: ${order.indexOf(id) + 1} of ${order.length}${group ? `, in ${group.name}` : ""}`);
  }

  /**
   * @param {string} name
   * @param {-1 | 1} step
   */
  stepGroup(name, step) {
    this.arrange(stepGroup(this.now, name, step));
  }

  /**
   * What is said to those who do not see the list.
   * @param {string} text
   */
  say(text) {
    this.said.textContent = text;
  }

  // ---- dragging

  /**
   * A line is dragged: a mark shows where it would go.
   * @param {Line} line
   * @param {HTMLElement} element
   */
  begin(line, element) {
    element.classList.add("muses-dragged");
    const end = () => {
      element.classList.remove("muses-dragged");
      this.mark.hidden = true;
    };
    return {
      /** @param {number} y */
      over: (y) => this.showMark(this.at(y)),
      /** @param {number} y */
      drop: (y) => {
        end();
        const { line: target, below } = this.at(y);
        if (target?.id !== line.id || target?.group !== line.group) this.arrange(drop(this.now, line, target, below));
      },
      leave: end,
    };
  }

  /**
   * The line at a height on the screen, and in which half of it that is.
   * @param {number} y
   */
  at(y) {
    const { order, groups } = this.now;
    const lines = linesOf(order, groups);
    for (const line of lines) {
      const element = this.elementOf(line);
      if (!element || element.hidden) continue;
      const { top, bottom } = element.getBoundingClientRect();
      if (y < bottom) return { line, below: y > (top + bottom) / 2, element };
    }
    return { line: null, below: false, element: /** @type {HTMLElement | null} */ (this.rows.lastElementChild) };
  }

  /** @param {Line} line */
  elementOf(line) {
    return line.id === undefined ? this.heads.get(line.group)?.element : this.panel.rows.get(line.id)?.element;
  }

  /** @param {{ line: Line | null, below: boolean, element: HTMLElement | null }} place */
  showMark({ line, below, element }) {
    this.mark.hidden = !element;
    if (!element) return;
    const top = element.offsetTop + (below || !line ? element.offsetHeight : 0);
    this.mark.style.top = `${top - 1}px`;
    this.mark.classList.toggle("muses-in-group", line !== null && line.group !== null && (line.id !== undefined || below));
  }

  // ---- groups

  /**
   * Puts a layer into a group, a new one, or none.
   * @param {LayerRow} row
   * @param {string | null} name
   * @param {boolean} [fresh]
   */
  choose(row, name, fresh = false) {
    const { id } = row.entry;
    const free = freeGroupName(this.groups);
    this.arrange(fresh ? newGroup(this.now, id, free) : regroup(this.now, id, name));
    if (fresh) this.heads.get(free)?.rename();
  }

  /**
   * @param {string} name
   * @param {Partial<LayerGroup>} changes
   */
  changeGroup(name, changes) {
    this.panel.save({ groups: this.groups.map((group) => (group.name === name ? { ...group, ...changes } : group)) });
    this.panel.layersMoved();
  }

  /** @param {string} name */
  dissolve(name) {
    this.panel.save({ groups: this.groups.filter((group) => group.name !== name) });
    this.panel.layersMoved();
  }

  // ---- removing

  /**
   * Takes a layer off the map; until the next one is removed, it can be put back.
   * @param {LayerRow} row
   */
  remove(row) {
    const { entry, layerModel } = row;
    const { mapModel, model } = this.panel;
    const models = /** @type {WidgetModel[]} */ (mapModel.get("layers"));
    const entries = model.get("layers");
    const removed = {
      entry, model: layerModel, place: models.indexOf(layerModel), at: entries.findIndex(({ id }) => id === entry.id), group: this.groupOf(entry.id),
    };
    this.setLayers(models.filter((one) => one !== layerModel));
    const groups = this.groups.map((group) => ({ ...group, members: group.members.filter((id) => id !== entry.id) }));
    this.panel.save({ layers: entries.filter(({ id }) => id !== entry.id), groups: groups.filter(({ members }) => members.length) });
    this.offerBack(entry.name, () => this.putBack(removed));
    return this.panel.adoptLayers();
  }

  /**
   * The same of a layer that is none of ours.
   * @param {WidgetModel} layer
   * @param {string} name
   */
  removeOther(layer, name) {
    const models = /** @type {WidgetModel[]} */ (this.panel.mapModel.get("layers"));
    const place = models.indexOf(layer);
    this.setLayers(models.filter((one) => one !== layer));
    this.offerBack(name, () => {
      const now = [.../** @type {WidgetModel[]} */ (this.panel.mapModel.get("layers"))];
      now.splice(Math.min(place, now.length), 0, layer);
      this.setLayers(now);
    });
  }

  /** @param {WidgetModel[]} models */
  setLayers(models) {
    this.panel.mapModel.set("layers", models);
    this.panel.mapModel.save_changes();
  }

  /**
   * @param {string} name
   * @param {() => void | Promise<void>} putBack
   */
  offerBack(name, putBack) {
    const { panel } = this;
    const back = () => {
      this.undo.replaceChildren();
      return putBack();
    };
    const button = h("button", { type: "button", class: "muses-button", onclick: () => panel.guard(back) }, "Undo");
    const away = () => this.undo.replaceChildren();
    this.undo.replaceChildren(
      h("span", {}, `Removed ${name}`),
      button,
      h("button", { type: "button", class: "muses-icon", "aria-label": "Dismiss", onclick: away }, "×"),
    );
    button.focus();
  }

  /** @param {Removed} removed */
  async putBack({ entry, model, place, at, group }) {
    const models = [.../** @type {WidgetModel[]} */ (this.panel.mapModel.get("layers"))];
    models.splice(Math.min(place, models.length), 0, model);
    this.setLayers(models);
    const entries = [...this.panel.model.get("layers")];
    if (!entries.some(({ id }) => id === entry.id)) entries.splice(Math.min(at, entries.length), 0, entry);
    const others = this.groups.filter(({ name }) => name !== group?.name);
    const members = this.groups.find(({ name }) => name === group?.name)?.members ?? [];
    this.panel.save({ layers: entries, groups: group ? [...others, { ...group, members: [...members, entry.id] }] : others });
    await this.panel.adoptLayers();
    this.panel.rows.get(entry.id)?.box.focus();
  }
}
