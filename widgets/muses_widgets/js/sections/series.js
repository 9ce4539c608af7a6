// @ts-check
// The series of the clicked place: the kernel computes and describes the plots, Bokeh draws them here.

/** @import { Panel } from "../panel.js" */
/** @import { LatLng } from "../types" */

import { drawPlot, loadAhead } from "../bokehplots.js";
import { h, onTheme } from "../dom.js";
import { formatPlace } from "../format.js";
import { addSection } from "../sections.js";

const NAME = "series";
/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;

/**
 * What the kernel tells: muses_widgets/sections/series.py.
 * @typedef {object} SeriesState
 * @property {string} asked what this answers
 * @property {[number, number]} place longitude, latitude
 * @property {boolean} busy whether more plots follow
 * @property {Plot[]} plots
 * @property {string} bokeh the release that draws them
 */

/**
 * @typedef {object} Plot
 * @property {string} key of what it shows
 * @property {string} title
 * @property {string} text
 * @property {string} [quantity]
 * @property {{ label: string, colour: string }[]} [curves]
 * @property {string} [item] Bokeh's, as JSON: in a notebook's file objects lose the order of their keys, which Bokeh goes by
 * @property {boolean} [failed]
 */

/** @typedef {{ element: HTMLElement, views: Promise<any> | null }} Drawn */

class Series {
  /** @type {LatLng | null} the clicked place */
  place = null;
  /** @type {string | null} what was asked last */
  asked = null;
  /** @type {Map<string, Drawn>} by the plot's key */
  drawn = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.wide = h("button", { type: "button", class: "muses-link", "aria-pressed": "false", onclick: () => this.enlarge() }, "Enlarge");
    this.note = h("div", { class: "muses-note", role: "status" });
    this.plots = h("div", { class: "muses-series-plots" });
    this.inside = h("div", {}, this.wide, this.note, this.plots);
    this.element = h(
      "details",
      { class: "muses-series", open: true, hidden: true, role: "region", "aria-label": "Series of the clicked place" },
      h("summary", {}, h("span", {}, "Series")),
      this.inside,
    );
    this.element.addEventListener("toggle", () => panel.guard(() => this.update()));
    this.top = [this.element];
    onTheme(() => panel.guard(() => this.redraw()), panel.signal);
    const size = new ResizeObserver(() => panel.guard(() => this.update())); // unfolded, it is asked for
    size.observe(this.inside);
    panel.signal.addEventListener("abort", () => size.disconnect());
  }

  /** @returns {SeriesState | undefined} */
  get state() {
    return this.panel.model.get("sections")[NAME];
  }

  /** A saved notebook has the plots that it was saved with. */
  connected() {
    const { state } = this;
    if (!state?.plots.length) return;
    const [lng, lat] = state.place;
    this.element.hidden = false;
    this.tell(`At ${formatPlace(lng, lat)}`);
    this.show(state.plots);
  }

  layersChanged() {
    this.update();
  }

  /** @param {LatLng} place */
  clicked(place) {
    this.place = place;
    this.element.hidden = false;
    this.update();
  }

  cleared() {
    this.place = null;
    this.asked = null;
    this.hush();
    this.element.hidden = true;
    this.show([]);
  }

  remove() {
    clearTimeout(this.timer);
    this.show([]);
  }

  get isSeen() {
    return this.element.open && this.inside.offsetParent !== null;
  }

  /** Asks anew where the place or the visible layers are others than when it was asked; called whenever that may be. */
  update() {
    if (!this.place || !this.isSeen) return;
    const { lat, lng } = this.place.wrap();
    const rows = this.panel.visibleRows;
    const asked = JSON.stringify([lng, lat, rows.map(({ entry }) => [entry.id, entry.chain, entry.name, entry.style])]);
    if (asked === this.asked) return;
    this.asked = asked;
    if (!rows.length) {
      this.tell("No layer is visible.");
      this.show([]);
    } else if (!this.panel.hasKernel) {
      this.tell("The series need the notebook's kernel, and none is connected. Run the notebook's cells, then click again.");
      this.show([]);
    } else {
      loadAhead(); // while the kernel computes
      this.tell("Computing the series…");
      this.element.setAttribute("aria-busy", "true");
      clearTimeout(this.timer);
      const busy = "The kernel has not answered yet. If it is busy, the series come when it is free.";
      this.timer = setTimeout(() => this.tell(busy), ANSWER_MS);
      this.panel.model.send({ section: NAME, asked, place: [lng, lat], layers: rows.map(({ entry }) => entry.id) });
    }
  }

  /** The kernel has got what was asked. */
  heard() {
    clearTimeout(this.timer);
    if (this.element.getAttribute("aria-busy") === "true") this.tell("Computing the series…");
  }

  /** The kernel tells another state; what answers a question that is no longer asked is left. */
  told() {
    const { state } = this;
    if (!state || state.asked !== this.asked) return;
    if (state.busy) this.tell("Computing the series…");
    else this.hush();
    this.show(state.plots);
  }

  /** @param {Plot[]} plots */
  show(plots) {
    const wanted = new Set(plots.map(({ key }) => key));
    for (const [key, drawn] of this.drawn) {
      if (wanted.has(key)) continue;
      forget(drawn);
      this.drawn.delete(key);
    }
    for (const plot of plots) if (!this.drawn.has(plot.key)) this.drawn.set(plot.key, this.draw(plot));
    const elements = plots.flatMap(({ key }) => this.drawn.get(key)?.element ?? []);
    const there = [...this.plots.children];
    if (elements.length !== there.length || elements.some((element, i) => element !== there[i])) {
      this.plots.replaceChildren(...elements);
    }
  }

  /**
   * @param {Plot} plot
   * @returns {Drawn}
   */
  draw({ title, text, quantity, curves, item, failed }) {
    const canvas = h("div", { class: "muses-series-canvas", role: "img", "aria-label": `Series of ${title}: ${text}` });
    const element = h(
      "div",
      { class: "muses-series-plot" },
      h("div", { class: "muses-series-title" }, h("span", { class: "muses-name", title }, title), quantity && h("span", {}, quantity)),
      curves?.length ? h("div", { class: "muses-rgb" }, curves.map(drawCurve)) : null,
      item ? canvas : null,
      h("div", { class: `muses-note ${failed ? "muses-error" : ""}` }, text),
    );
    return { element, views: item ? this.embed(item, canvas) : null };
  }

  /**
   * @param {string} item
   * @param {HTMLElement} canvas
   */
  async embed(item, canvas) {
    try {
      return await drawPlot(item, this.state?.bokeh ?? "", canvas);
    } catch (error) {
      this.panel.guard(() => Promise.reject(error));
      return null;
    }
  }

  /** Draws all again: Bokeh takes the theme's colours when it draws. */
  redraw() {
    const plots = this.drawn.size ? (this.state?.plots ?? []) : [];
    this.show([]);
    this.show(plots);
  }

  /** Makes the panel, and with it the plots, as wide as the map lets it be; or narrow again. */
  enlarge() {
    const wide = this.panel.root.classList.toggle("muses-wide");
    this.wide.setAttribute("aria-pressed", String(wide));
  }

  /** @param {string} text */
  tell(text) {
    this.note.textContent = text;
    this.note.hidden = false;
  }

  hush() {
    clearTimeout(this.timer);
    this.note.hidden = true;
    this.element.removeAttribute("aria-busy");
  }
}

/** @param {{ label: string, colour: string }} curve */
const drawCurve = ({ label, colour }) =>
  h("span", {}, h("span", { class: "muses-swatch", style: `background:${colour}` }), label);

/** @param {Drawn} drawn */
async function forget({ element, views }) {
  element.remove();
  (await views)?.clear();
}

addSection(NAME, (panel) => new Series(panel), { order: 31 });
