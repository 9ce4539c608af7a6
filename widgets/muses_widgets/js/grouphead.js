// @ts-check
// The head of a group in the list: shows and hides its layers together, and how opaque they are together.

/** @import { LayerList } from "./layerlist.js" */
/** @import { LayerGroup } from "./types" */

import { h } from "./dom.js";
import { plural } from "./format.js";
import { grip } from "./grip.js";
import { editName } from "./rename.js";

export class GroupHead {
  /**
   * @param {LayerList} list
   * @param {LayerGroup} group
   */
  constructor(list, group) {
    this.list = list;
    this.group = group;
    const { panel } = list;
    /** @param {() => void} work */
    const guarded = (work) => () => panel.guard(work);
    this.grip = grip(
      () => `Move the group ${this.group.name}`,
      (step) => panel.guard(() => list.stepGroup(this.group.name, step)),
      () => list.begin({ group: this.group.name }, this.element),
    );
    this.fold = h("button", { type: "button", class: "muses-icon muses-twist", onclick: guarded(() => list.changeGroup(this.group.name, { open: !this.group.open })) });
    this.box = h("input", { type: "checkbox" });
    this.box.addEventListener("change", guarded(() => list.changeGroup(this.group.name, { visible: this.box.checked })));
    this.name = h("span", { class: "muses-name" });
    this.count = h("span", { class: "muses-count" });
    this.opacity = h("input", { type: "range", min: "0", max: "100", step: "5" });
    this.opacity.addEventListener("input", () => list.panel.showGroupOpacity({ ...this.group, opacity: Number(this.opacity.value) / 100 }));
    this.opacity.addEventListener("change", guarded(() => list.changeGroup(this.group.name, { opacity: Number(this.opacity.value) / 100 })));
    this.percent = h("span", { class: "muses-percent" });
    this.renaming = h("button", { type: "button", class: "muses-icon", title: "Rename", onclick: guarded(() => this.rename()) }, "✎");
    this.dissolving = h("button", { type: "button", class: "muses-icon", title: "Dissolve the group; its layers stay", onclick: guarded(() => list.dissolve(this.group.name)) }, "⊟");
    this.element = h(
      "div",
      { class: "muses-group", role: "group" },
      h("div", { class: "muses-layer-head" }, this.grip.element, this.fold, h("label", {}, this.box, this.name, this.count), this.renaming, this.dissolving),
      h("label", { class: "muses-opacity" }, h("span", {}, "Opacity"), this.opacity, this.percent),
    );
  }

  /** @param {LayerGroup} group */
  show(group) {
    const { name, members, visible, opacity, open } = (this.group = group);
    this.element.dataset.group = name;
    this.element.setAttribute("aria-label", `Group ${name}`);
    this.name.textContent = this.name.title = name;
    this.count.textContent = plural(members.length, "layer");
    this.box.checked = visible;
    this.element.classList.toggle("muses-hidden", !visible);
    this.element.classList.toggle("muses-open", open);
    this.fold.setAttribute("aria-expanded", String(open));
    this.fold.setAttribute("aria-label", `Layers of ${name}`);
    this.renaming.setAttribute("aria-label", `Rename the group ${name}`);
    this.dissolving.setAttribute("aria-label", `Dissolve the group ${name}`);
    this.opacity.setAttribute("aria-label", `Opacity of the group ${name}`);
    this.opacity.value = String(Math.round(opacity * 100));
    this.percent.textContent = `${Math.round(opacity * 100)} %`;
    this.grip.name();
  }

  rename() {
    const { list } = this;
    const fault = (/** @type {string} */ text) =>
      !text ? "Give the group a name" : list.groups.some(({ name }) => name === text) ? `There is a group ${text} already` : "";
    editName(this.name, `Name of the group ${this.group.name}`, fault, (text) => list.changeGroup(this.group.name, { name: text }));
  }
}
