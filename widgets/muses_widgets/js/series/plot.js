// @ts-check
// The plot of the panel of series: Bokeh draws it, a click takes the nearest dot, lines stand at the map's dates.

/** @import { SeriesPlot } from "../types" */

import { drawPlot } from "../bokehplots.js";
import { h } from "../dom.js";

/** Pixels that a pointer moves in a click; what moves farther pans the plot. */
const STILL = 5;
/** @typedef {{ x: number, y: number, shift: boolean }} Click on the screen */
const SIGNS = { circle: "●", triangle: "▲", square: "■", diamond: "◆", inverted_triangle: "▼", star: "★", hex: "⬢" };

export class SeriesPlotView {
  /** @type {any} Bokeh's views of what is drawn */
  views = null;
  /** @type {any} the view of the figure with the series */
  view = null;
  /** @type {any} its model */
  figure = null;
  /** What is drawn, or being drawn. */
  item = "";
  turn = 0;
  /** @type {{ x: number, y: number } | null} where the pointer went down, on the screen */
  down = null;
  /** @type {Click | null} a click while nothing is drawn */
  early = null;
  byYear = false;

  /**
   * @param {(ms: number, shift: boolean) => void} choose called with the time of the dot that was clicked
   * @param {(error: unknown) => void} fail
   */
  constructor(choose, fail) {
    this.choose = choose;
    this.fail = fail;
    this.canvas = h("div", { class: "muses-sp-canvas", role: "figure" });
    this.legend = h("div", { class: "muses-sp-legend", "aria-hidden": "true" });
    this.text = h("p", { class: "muses-note muses-sp-text" });
    this.found = h("ul", { class: "muses-sp-found" });
    this.element = h("div", { class: "muses-sp-plot" }, this.canvas, this.legend, this.found, this.text);
    // Bokeh's own taps have to be short, and are lost where the plot is drawn anew between down and up.
    this.canvas.addEventListener("pointerdown", (event) => (this.down = event.button === 0 ? { x: event.clientX, y: event.clientY } : null), true);
    this.canvas.addEventListener("pointerup", (event) => this.released(event), true);
  }

  /** @param {SeriesPlot} plot */
  async show(plot) {
    this.text.textContent = plot.text ?? "";
    this.canvas.setAttribute("aria-label", `Series. ${plot.text ?? ""}`);
    this.canvas.hidden = !plot.item;
    this.drawLegend(plot.legend);
    this.found.replaceChildren(...(plot.found ?? []).map((line) => h("li", {}, line)));
    this.found.hidden = !plot.found?.length;
    this.text.classList.toggle("muses-sp-spoken", Boolean(plot.item)); // the plot says it to who sees it
    if (!plot.item) {
      this.clear();
      return;
    }
    if (plot.item === this.item) return;
    this.item = plot.item;
    const turn = (this.turn += 1);
    try {
      const holder = h("div", { class: "muses-sp-drawing" });
      this.canvas.append(holder); // what was drawn before stays until this is
      const views = /** @type {any} */ (await drawPlot(plot.item, plot.bokeh ?? "", holder));
      if (turn !== this.turn) {
        views.clear();
        holder.remove();
        return;
      }
      this.forget(holder);
      this.views = views;
      const root = [...views.roots][0];
      this.view = root?.child_views?.[0] ?? root; // of several plots the first has the series
      this.figure = this.view?.model ?? null;
      this.byYear = plot.by_year ?? false;
      this.canvas.dataset.drawn = String(turn);
      if (this.early) this.clicked(this.early);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Draws all again: Bokeh takes the theme's colours when it draws. @param {SeriesPlot} plot */
  redraw(plot) {
    this.clear();
    return this.show(plot);
  }

  clear() {
    this.turn += 1;
    this.item = "";
    this.early = null;
    this.forget();
  }

  /** @param {HTMLElement} [but] what takes its place */
  forget(but) {
    this.views?.clear();
    this.views = this.view = this.figure = null;
    for (const child of [...this.canvas.children]) if (child !== but) child.remove();
  }

  /**
   * Moves the lines of the map's dates.
   * @param {(number | null)[]} times
   */
  mark(times) {
    times.forEach((time, n) => {
      const line = this.figure?.document?.get_model_by_name(`muses-date-${n}`);
      if (!line) return;
      if (time !== null) line.location = time;
      line.visible = time !== null;
    });
  }

  /** @param {PointerEvent} event */
  released({ clientX: x, clientY: y, shiftKey, ctrlKey, metaKey }) {
    const { down } = this;
    this.down = null;
    if (!down || Math.hypot(x - down.x, y - down.y) > STILL) return;
    this.clicked({ x, y, shift: shiftKey || ctrlKey || metaKey });
  }

  /**
   * Chooses the date of the dot that is nearest to a place on the screen.
   * @param {Click} click
   */
  clicked(click) {
    const { view, byYear } = this;
    this.early = view ? null : click;
    if (!view) return;
    const { left, top } = view.el.getBoundingClientRect();
    const [sx, sy] = [click.x - left, click.y - top];
    if (!view.frame.bbox.contains(sx, sy)) return; // its tools and axes
    let best = Infinity;
    let found = NaN;
    for (const renderer of this.figure.renderers) {
      const { data } = renderer.data_source ?? {};
      if (!data?.date || renderer.glyph?.type !== "Scatter") continue;
      const xs = data[renderer.glyph.x?.field] ?? [];
      const ys = data[renderer.glyph.y?.field] ?? [];
      const xScale = view.frame.x_scale ?? view.frame.x_scales.get("default");
      const yScale = view.frame.y_scales?.get(renderer.y_range_name) ?? view.frame.y_scale;
      for (let n = 0; n < xs.length; n += 1) {
        const dx = xScale.compute(xs[n]) - sx;
        const dy = yScale.compute(ys[n]) - sy;
        const distance = byYear ? Math.hypot(dx, dy) : Math.abs(dx) + Math.abs(dy) / 1000; // the nearest date, not the nearest value
        if (distance < best) {
          best = distance;
          found = Number(data.date[n]);
        }
      }
    }
    if (Number.isFinite(found)) this.choose(found, click.shift);
  }

  /** @param {SeriesPlot["legend"]} legend */
  drawLegend(legend) {
    if (!legend) {
      this.legend.replaceChildren();
      return;
    }
    const { series, sensors, masked, curves } = legend;
    this.legend.replaceChildren(
      ...series.map(({ name, colour }) => h("span", {}, h("span", { class: "muses-swatch", style: `background:${colour}` }), name)),
      ...sensors.map(({ name, symbol }) => h("span", {}, h("span", { class: "muses-sp-sign" }, SIGNS[/** @type {keyof typeof SIGNS} */ (symbol)] ?? "●"), name || "no platform")),
      ...(masked ? [h("span", {}, h("span", { class: "muses-sp-sign" }, "○"), "masked")] : []),
      ...curves.map((name) => h("span", {}, h("span", { class: `muses-sp-curve muses-sp-${name.replaceAll(" ", "-")}` }), name)),
    );
  }
}
