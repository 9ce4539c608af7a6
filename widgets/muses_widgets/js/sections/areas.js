// @ts-check
// Areas that are drawn on the map: a list of them to name, change, remove and save.

/** @import { Panel } from "../panel.js" */
/** @import { Area, AreasState } from "../types" */

import { h } from "../dom.js";
import { formatArea, formatBytes } from "../format.js";
import { editName } from "../rename.js";
import { addSection } from "../sections.js";
import { baseUrl } from "../server.js";

const NAME = "areas";

export class AreasBox {
  /** @type {AreasState} */
  state = { drawing: false, editing: "", areas: [] };

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.draw = h("button", { type: "button", class: "muses-button", onclick: () => panel.guard(() => this.ask(this.state.drawing ? "stop" : "draw")) }, "Draw");
    this.hint = h("div", { class: "muses-note", hidden: true }, "Choose the polygon or rectangle at the map's left edge, then draw. Corners of an area are moved after Edit, with the tool “Move corners”.");
    this.list = h("ul", { class: "muses-areas" });
    this.file = h("input", { type: "text", class: "muses-view-name", "aria-label": "Name of the file of areas", value: "areas.gpkg", maxlength: "120" });
    this.file.addEventListener("keydown", (event) => event.key === "Enter" && panel.guard(() => this.save()));
    this.saving = h("div", { class: "muses-view-row" }, this.file, h("button", { type: "button", class: "muses-button", onclick: () => panel.guard(() => this.save()) }, "Save areas"));
    this.said = h("div", { class: "muses-note muses-areas-said", role: "status" });
    this.body = [
      h(
        "div",
        { class: "muses-section", role: "group", "aria-label": "Areas" },
        h("div", { class: "muses-measure-head muses-measure" }, h("span", { class: "muses-heading" }, "Areas"), this.draw),
        this.hint,
        this.list,
        this.saving,
        this.said,
      ),
    ];
    this.show();
  }

  connected() {
    const told = this.panel.model.get("sections")[NAME];
    if (told) this.told(told);
  }

  /** @param {string} what @param {Record<string, unknown>} [more] */
  ask(what, more = {}) {
    if (this.panel.hasKernel) this.panel.model.send({ section: NAME, do: what, ...more });
    else this.said.textContent = "Areas need the notebook's kernel, and none is connected. Run the notebook's cells, then try again.";
  }

  save() {
    this.ask("save", { name: this.file.value });
  }

  /** @param {AreasState} state */
  told(state) {
    this.state = state;
    this.show();
  }

  show() {
    const { drawing, areas, text, name, bytes = 0, place } = this.state;
    this.draw.setAttribute("aria-pressed", String(drawing));
    this.hint.hidden = !drawing;
    this.saving.hidden = !areas.length;
    const focused = document.activeElement?.getAttribute("aria-label");
    if (!this.list.querySelector(".muses-rename")) {
      this.list.replaceChildren(...areas.map((area) => this.line(area)));
      if (focused) /** @type {HTMLElement | null} */ (this.list.querySelector(`[aria-label="${CSS.escape(focused)}"]`))?.focus();
    }
    const address = place && `${baseUrl()}files/${place.split("/").map(encodeURIComponent).join("/")}`;
    this.said.classList.toggle("muses-error", Boolean(text));
    this.said.replaceChildren(...(text ? [text] : name ? ["Wrote ", address ? h("a", { href: address, download: name }, name) : name, ` (${formatBytes(bytes)})`] : []));
  }

  /** @param {Area} area */
  line({ id, name, colour, metres, bounds: [west, south, east, north] }) {
    const title = h("span", { class: "muses-name", title: name }, name);
    const paint = h("input", { type: "color", value: colour, "aria-label": `Colour of ${name}` });
    paint.addEventListener("change", () => this.panel.guard(() => this.ask("colour", { id, colour: paint.value })));
    const editing = this.state.editing === id;
    /** @param {string} text @param {string} label @param {() => void} work */
    const button = (text, label, work) => h("button", { type: "button", class: "muses-icon muses-zoom", "aria-label": label, onclick: () => this.panel.guard(work) }, text);
    return h(
      "li",
      {},
      paint,
      title,
      h("span", { class: "muses-count" }, metres ? formatArea(metres) : ""),
      h(
        "span",
        { class: "muses-area-tools" },
        button("Rename", `Rename ${name}`, () => this.rename(id, title)),
        button(editing ? "Done" : "Edit", `${editing ? "Finish" : "Edit"} ${name}`, () => this.ask(editing ? "draw" : "edit", { id })),
        button("Zoom", `Zoom to ${name}`, () => this.panel.map.fitBounds([[south, west], [north, east]], { animate: false })),
        button("Remove", `Remove ${name}`, () => this.ask("remove", { id })),
      ),
    );
  }

  /** @param {string} id @param {HTMLElement} title */
  rename(id, title) {
    editName(title, `Name of ${title.textContent}`, (text) => (text ? "" : "Give the area a name"), (name) => this.ask("rename", { id, name }));
  }
}

addSection(NAME, (panel) => new AreasBox(panel), { order: 17 });
