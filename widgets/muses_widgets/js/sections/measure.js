// @ts-check
// Distances and areas: corners are clicked on the map, or the map's middle is taken, by keyboard too.

/** @import { Panel } from "../panel.js" */
/** @import { LatLng } from "../types" */

import { h } from "../dom.js";
import { formatArea, formatLength, plural } from "../format.js";
import { addSection } from "../sections.js";

const NAME = "measure";
const SVG = "http://www.w3.org/2000/svg";

let made = 0;

export class Measuring {
  /** @type {LatLng[]} */
  points = [];
  /** @type {"off" | "distance" | "area"} */
  mode = "off";
  asked = "";

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    /** @param {string} text @param {() => void} work */
    const button = (text, work) => h("button", { type: "button", class: "muses-button", onclick: () => panel.guard(work) }, text);
    this.distance = button("Distance", () => this.choose("distance"));
    this.area = button("Area", () => this.choose("area"));
    this.middle = button("Add the middle", () => this.add(panel.map.getCenter()));
    this.middle.title = "Adds the place in the map's middle: arrow keys on the map move it";
    this.back = button("Undo", () => {
      this.points.pop();
      this.changed();
    });
    this.clear = button("Clear", () => {
      this.points = [];
      this.changed();
    });
    this.result = h("output", { class: "muses-measured", "aria-live": "polite" });
    this.tools = h("div", { class: "muses-view-row", hidden: true }, this.middle, this.back, this.clear);
    this.body = [
      h(
        "div",
        { class: "muses-section muses-measure", role: "group", "aria-label": "Measure" },
        h("div", { class: "muses-measure-head" }, h("span", { class: "muses-heading" }, "Measure"), this.distance, this.area),
        this.tools,
        this.result,
      ),
    ];
    this.line = document.createElementNS(SVG, "path");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "muses-measure-line");
    this.svg.append(this.line);
    this.show();
  }

  /** @param {"distance" | "area"} mode chosen again: no more */
  choose(mode) {
    this.mode = this.mode === mode ? "off" : mode;
    if (this.mode === "off") this.points = [];
    this.changed();
  }

  takesClicks() {
    return this.mode !== "off";
  }

  /** @param {LatLng} place */
  clicked(place) {
    if (this.mode !== "off") this.add(place);
  }

  /** @param {LatLng} place */
  add(place) {
    this.points.push(place);
    this.changed();
  }

  changed() {
    this.show();
    this.draw();
    const { points, mode } = this;
    if (points.length < 2) return;
    if (!this.panel.hasKernel) {
      this.result.textContent = "Measuring needs the notebook's kernel, and none is connected.";
      return;
    }
    made += 1;
    this.asked = `${this.panel.view.id}-${made}`;
    this.panel.model.send({ section: NAME, id: this.asked, points: points.map(({ lat, lng }) => [lng, lat]), closed: mode === "area" });
  }

  /** @param {{ id: string, length: number, area: number | null }} answer */
  told({ id, length, area }) {
    if (id !== this.asked || this.points.length < 2) return;
    const long = `${formatLength(length)} ${area === null ? "long" : "around"}`;
    this.result.textContent = area === null ? long : `${formatArea(area)}, ${long}`;
  }

  show() {
    const { mode, points } = this;
    this.distance.setAttribute("aria-pressed", String(mode === "distance"));
    this.area.setAttribute("aria-pressed", String(mode === "area"));
    this.tools.hidden = mode === "off";
    this.back.disabled = this.clear.disabled = !points.length;
    if (mode === "off") this.result.textContent = "";
    else if (points.length < 2) this.result.textContent = points.length ? `${plural(points.length, "point")}: click the next one` : "Click the map, or add its middle";
  }

  // ---- the line on the map

  zoomed() {
    this.draw();
  }

  zooming() {
    this.draw();
  }

  draw() {
    const { map } = this.panel;
    if (!this.points.length) {
      this.svg.remove();
      return;
    }
    if (!this.svg.isConnected) map.getPane("markerPane").append(this.svg);
    const places = this.points.map((place) => map.latLngToLayerPoint(place));
    const dots = places.map(({ x, y }) => `M${x - 3},${y}a3,3 0 1,0 6,0a3,3 0 1,0 -6,0`);
    const line = places.map(({ x, y }, n) => `${n ? "L" : "M"}${x},${y}`).join("") + (this.mode === "area" && places.length > 2 ? "Z" : "");
    this.line.setAttribute("d", line + dots.join(""));
    this.svg.classList.toggle("muses-measure-area", this.mode === "area");
  }

  remove() {
    this.svg.remove();
  }
}

addSection(NAME, (panel) => new Measuring(panel), { order: 16 });
