// @ts-check
// The view as a file: what others will not see of it is said before it is written; and one that is opened.

/** @import { Panel } from "../panel.js" */
/** @import { ViewState } from "../types" */

import { h } from "../dom.js";
import { formatBytes } from "../format.js";
import { addSection } from "../sections.js";
import { baseUrl } from "../server.js";

const NAME = "view";

export class ViewBox {
  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.name = h("input", { type: "text", class: "muses-view-name", "aria-label": "Name of the file", value: "view.json", maxlength: "120" });
    this.name.addEventListener("keydown", (event) => event.key === "Enter" && panel.guard(() => this.save()));
    this.button = h("button", { type: "button", class: "muses-button", onclick: () => panel.guard(() => this.save()) }, "Save this view");
    this.open = h("button", { type: "button", class: "muses-button", title: "Shows the view of that file in place of this one", onclick: () => panel.guard(() => this.openView()) }, "Open");
    this.report = h("div", { class: "muses-view-told", role: "status" });
    this.element = h(
      "details",
      { class: "muses-section muses-view" },
      h("summary", {}, "Save, send and open views"),
      h("div", { class: "muses-view-row" }, this.name, this.button, this.open),
      this.report,
    );
    this.element.addEventListener("toggle", () => panel.guard(() => this.check()));
    this.body = [this.element];
  }

  /** Whenever it is opened: what others will not see may be another. */
  check() {
    if (!this.element.open || !this.hasKernel()) return;
    this.panel.model.send({ section: NAME, do: "check" });
  }

  save() {
    if (!this.hasKernel()) return;
    this.panel.model.send({ section: NAME, do: "save", name: this.name.value });
  }

  openView() {
    if (!this.hasKernel()) return;
    this.panel.model.send({ section: NAME, do: "open", name: this.name.value });
  }

  hasKernel() {
    if (this.panel.hasKernel) return true;
    this.report.replaceChildren(h("div", { class: "muses-note" }, "Saved views need the notebook's kernel, and none is connected. Run the notebook's cells, then try again."));
    return false;
  }

  /** @param {ViewState} state */
  told(state) {
    this.report.replaceChildren(...drawChecked(state));
  }
}

/** @param {ViewState} state */
export function drawChecked({ text, opened, lost = [], notes = [], name, bytes = 0, place }) {
  if (opened) return [h("div", { class: "muses-note muses-done" }, `Shows ${opened}`)];
  if (text) return [h("div", { class: "muses-note muses-error" }, text)];
  const address = place && `${baseUrl()}files/${place.split("/").map(encodeURIComponent).join("/")}`;
  const link = name && (address ? h("a", { href: address, download: name }, name) : name);
  /** @param {string[]} lines */
  const list = (lines) => h("ul", {}, lines.map((line) => h("li", {}, line)));
  return [
    ...(link ? [h("div", { class: "muses-note muses-done" }, "Wrote ", link, ` (${formatBytes(bytes)})`)] : []),
    h("div", { class: "muses-note" }, lost.length ? "Others will not see:" : "Others will see all of it."),
    ...(lost.length ? [list(lost)] : []),
    ...(notes.length ? [h("div", { class: "muses-note" }, "Under a condition:"), list(notes)] : []),
  ];
}

addSection(NAME, (panel) => new ViewBox(panel), { order: 45 });
