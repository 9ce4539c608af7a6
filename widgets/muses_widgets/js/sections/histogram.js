// @ts-check
// The histogram of what is seen of a layer, with the limits of its colours: dragged, typed, or stretched to the view.

/** @import { Panel } from "../panel.js" */
/** @import { Row } from "../row.js" */

import { h } from "../dom.js";
import { formatNumber, plural } from "../format.js";
import { addSection } from "../sections.js";

const NAME = "histogram";
/** Milliseconds that the map rests before the view is counted. */
const REST_MS = 400;
/** Milliseconds after a key that moved a limit before it is sent. */
const KEY_MS = 350;
/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;
/** The least distance of the limits, as a share of what is drawn. */
const APART = 0.005;

/**
 * What the kernel tells: muses_widgets/sections/histogram.py.
 * @typedef {object} HistogramState
 * @property {string} asked
 * @property {string} layer
 * @property {"busy" | "done" | "failed"} state
 * @property {string} [text]
 * @property {number} [low] where the bins begin
 * @property {number} [high] where they end
 * @property {{ label: string, colour: string, counts: number[] }[]} [curves]
 * @property {[number, number]} [percentiles] the 2nd and the 98th
 * @property {number} [values] pixels that have one
 * @property {number} [missing] pixels that have none
 */

/** @typedef {{ vmin: number, vmax: number }} Limits */

export class Histogram {
  /** @type {string | null} what was asked last */
  asked = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  rest;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  keys;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  patience;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.choice = h("select", { class: "muses-select", "aria-label": "Layer of the histogram", onchange: () => panel.guard(() => this.update()) });
    this.curves = h("div", { class: "muses-histogram-curves" });
    this.plot = h("div", { class: "muses-histogram-plot", role: "img" }, this.curves);
    this.ramp = h("div", { class: "muses-histogram-ramp", "aria-hidden": "true" });
    this.handles = {
      vmin: this.handle("vmin", "Lower limit of the colours"),
      vmax: this.handle("vmax", "Upper limit of the colours"),
    };
    this.fields = { vmin: this.field("vmin", "Lower limit, as a number"), vmax: this.field("vmax", "Upper limit, as a number") };
    this.stretch = h("button", { class: "muses-button", type: "button", disabled: true, onclick: () => panel.guard(() => this.stretchToView()) }, "Stretch to 2–98 % of the view");
    this.stretch.title = "Spreads the colours from the 2nd to the 98th percentile of what is seen now";
    this.note = h("div", { class: "muses-note", role: "status" });
    this.chart = h("div", { class: "muses-histogram-chart" }, this.plot, this.ramp, this.handles.vmin, this.handles.vmax);
    this.inputs = h("div", { class: "muses-histogram-row" }, this.fields.vmin, h("span", {}, "to"), this.fields.vmax, this.stretch);
    this.inside = h("div", { class: "muses-histogram-inside" }, this.choice, this.chart, this.inputs, this.note);
    this.element = h(
      "details",
      { class: "muses-section muses-histogram", role: "region", "aria-label": "Histogram of the view" },
      h("summary", {}, "Histogram and stretch"),
      this.inside,
    );
    this.element.addEventListener("toggle", () => panel.guard(() => this.update()));
    this.body = [this.element];
    const size = new ResizeObserver(() => panel.guard(() => this.update())); // unfolded, it is asked for
    size.observe(this.inside);
    panel.signal.addEventListener("abort", () => size.disconnect());
  }

  /** @returns {HistogramState | undefined} */
  get state() {
    return this.panel.model.get("sections")[NAME];
  }

  /** Layers whose colours have limits, the top one first. */
  get rows() {
    return this.panel.visibleRows.filter(({ entry }) => entry.legend && entry.legend.kind !== "classes");
  }

  /** @returns {Row | undefined} */
  get row() {
    return this.rows.find(({ entry }) => entry.id === this.choice.value) ?? this.rows[0];
  }

  get isSeen() {
    return this.element.open && this.inside.offsetParent !== null;
  }

  connected() {
    this.update();
  }

  layersChanged() {
    this.update();
  }

  recoloured() {
    if (this.isSeen) this.drawLimits();
  }

  viewChanged() {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.panel.guard(() => this.update()), REST_MS);
  }

  told() {
    this.draw();
  }

  heard() {
    clearTimeout(this.patience);
  }

  remove() {
    for (const timer of [this.rest, this.keys, this.patience]) clearTimeout(timer);
  }

  /** Draws what there is, and asks for what is not; called whenever layer or view may be others. */
  update() {
    this.offer();
    if (!this.isSeen) return;
    this.draw();
    const { row } = this;
    if (!row || !this.panel.hasKernel) return;
    const { map } = this.panel;
    const box = map.getBounds();
    const view = { layer: row.entry.id, bounds: [box.getWest(), box.getSouth(), box.getEast(), box.getNorth()], zoom: map.getZoom() };
    const asked = JSON.stringify([view, row.entry.chain]);
    if (asked === this.asked) return;
    this.asked = asked;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.say("The kernel has not answered yet. If it is busy, the histogram comes when it is free."), ANSWER_MS);
    this.panel.model.send({ section: NAME, asked, ...view });
    this.draw();
  }

  /** The layers to choose from. */
  offer() {
    const { rows } = this;
    const ids = rows.map(({ entry }) => entry.id);
    const key = JSON.stringify(rows.map(({ entry }) => [entry.id, entry.name]));
    if (this.choice.dataset.key !== key) {
      const chosen = this.choice.value;
      this.choice.dataset.key = key;
      this.choice.replaceChildren(...rows.map(({ entry }) => h("option", { value: entry.id }, entry.name)));
      if (ids.includes(chosen)) this.choice.value = chosen;
    }
    this.choice.hidden = rows.length < 2;
  }

  /** The limits as they are on the screen. */
  get limits() {
    return this.row?.look.limits ?? null;
  }

  /** The count of the layer that is chosen, if there is one. */
  get count() {
    const { state, row } = this;
    return state && row && state.layer === row.entry.id && state.low !== undefined ? state : null;
  }

  /** @returns {{ low: number, high: number }} the ends of what is drawn */
  get ends() {
    const { low, high } = this.count ?? {};
    const { vmin = 0, vmax = 1 } = this.limits ?? {};
    return { low: low ?? vmin, high: high ?? vmax };
  }

  draw() {
    const { row, state, count, limits } = this;
    const there = Boolean(row && limits);
    this.chart.hidden = this.inputs.hidden = !there;
    if (!row || !limits) {
      this.say(this.panel.visibleRows.length ? "Classes have no limits between which colours could be spread." : "No layer is visible.");
      return;
    }
    this.drawCurves(count);
    this.drawLimits();
    this.stretch.disabled = !count?.percentiles || !this.panel.hasKernel;
    for (const input of [this.fields.vmin, this.fields.vmax]) input.disabled = !this.panel.hasKernel;
    const old = state?.asked !== this.asked || state?.state === "busy";
    this.element.toggleAttribute("aria-busy", Boolean(this.panel.hasKernel && old));
    this.curves.classList.toggle("muses-histogram-old", old);
    if (!this.panel.hasKernel) this.say("The histogram needs the notebook's kernel, and none is connected. Run the notebook's cells.");
    else if (old) this.say("Counting what is seen…");
    else {
      clearTimeout(this.patience);
      this.say(state?.text || describe(state), state?.state === "failed");
    }
  }

  /** @param {HistogramState | null} count */
  drawCurves(count) {
    const curves = count?.curves ?? [];
    const key = JSON.stringify(curves);
    if (this.curves.dataset.key === key) return;
    this.curves.dataset.key = key;
    // The two end bins hold all that lies beyond them as well.
    const most = Math.max(1, ...curves.flatMap(({ counts }) => counts.slice(1, -1)));
    this.curves.replaceChildren(
      ...curves.map(({ colour, counts }) => h("div", { class: "muses-histogram-curve", style: `clip-path: ${outline(counts, most)};${colour && ` background: ${colour}`}` })),
    );
    this.curves.classList.toggle("muses-histogram-several", curves.length > 1);
    const { low = 0, high = 1, percentiles } = count ?? {};
    this.plot.setAttribute(
      "aria-label",
      percentiles
        ? `Histogram from ${formatNumber(low)} to ${formatNumber(high)}; 2 % of the values lie below ${formatNumber(percentiles[0])}, 98 % below ${formatNumber(percentiles[1])}`
        : "No histogram yet",
    );
  }

  drawLimits() {
    const { limits, ends, row } = this;
    if (!limits || !row) return;
    for (const end of /** @type {const} */ (["vmin", "vmax"])) {
      const handle = this.handles[end];
      handle.style.left = `${this.place(limits[end])}%`;
      for (const [name, value] of Object.entries({ valuemin: ends.low, valuemax: ends.high, valuenow: limits[end] })) handle.setAttribute(`aria-${name}`, String(value));
      handle.setAttribute("aria-valuetext", formatNumber(limits[end]));
      if (document.activeElement !== this.fields[end]) this.fields[end].value = String(+limits[end].toPrecision(6));
    }
    const { legend } = row.look;
    const stops = /** @type {[number, string][]} */ (legend?.kind === "continuous" ? legend.stops : [[0, "#000"], [1, "#fff"]]);
    const [from, to] = [this.place(limits.vmin), this.place(limits.vmax)];
    this.ramp.style.background = `linear-gradient(to right, ${stops.map(([offset, colour]) => `${colour} ${(from + offset * (to - from)).toFixed(2)}%`).join(", ")})`;
  }

  /**
   * Where a value lies, in percent of the width.
   * @param {number} value
   */
  place(value) {
    const { low, high } = this.ends;
    return Math.min(100, Math.max(0, (100 * (value - low)) / (high - low || 1)));
  }

  /**
   * @param {"vmin" | "vmax"} end
   * @param {string} label
   */
  handle(end, label) {
    const handle = h("div", { class: `muses-histogram-handle muses-histogram-${end}`, role: "slider", "aria-label": label, "aria-orientation": "horizontal" });
    handle.tabIndex = 0;
    handle.addEventListener("pointerdown", (event) => {
      if (!this.panel.hasKernel) return;
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture?.(event.pointerId);
      const { left, width } = this.chart.getBoundingClientRect();
      const { low, high } = this.ends;
      /** @param {PointerEvent} at */
      const move = (at) => this.move(end, low + ((high - low) * (at.clientX - left)) / width);
      const stop = () => {
        handle.removeEventListener("pointermove", move);
        for (const name of ["pointerup", "pointercancel"]) handle.removeEventListener(name, stop);
        this.panel.guard(() => this.send());
      };
      handle.addEventListener("pointermove", move);
      for (const name of ["pointerup", "pointercancel"]) handle.addEventListener(name, stop);
    });
    handle.addEventListener("keydown", (event) => {
      const { limits } = this;
      const { low, high } = this.ends;
      const step = (high - low) / 100;
      const values = /** @type {Record<string, number>} */ ({
        ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10 * step, PageUp: 10 * step,
        Home: low - (limits?.[end] ?? 0), End: high - (limits?.[end] ?? 0),
      });
      const by = values[event.key];
      if (by === undefined || !limits || !this.panel.hasKernel) return;
      event.preventDefault();
      this.move(end, limits[end] + by);
      clearTimeout(this.keys);
      this.keys = setTimeout(() => this.panel.guard(() => this.send()), KEY_MS);
    });
    return handle;
  }

  /**
   * @param {"vmin" | "vmax"} end
   * @param {string} label
   */
  field(end, label) {
    const field = h("input", { type: "number", step: "any", class: "muses-field", "aria-label": label });
    field.addEventListener("change", () => {
      const { limits } = this;
      const value = Number(field.value);
      if (field.value === "" || !Number.isFinite(value) || !limits) return;
      const wanted = { ...limits, [end]: value };
      if (wanted.vmin >= wanted.vmax) {
        this.say("The lower limit must be below the upper one.", true);
        return;
      }
      this.change({ [end]: value });
      this.panel.guard(() => this.send());
    });
    return field;
  }

  /**
   * Moves a limit within the ends, and never past the other one.
   * @param {"vmin" | "vmax"} end
   * @param {number} value
   */
  move(end, value) {
    const { limits, ends } = this;
    if (!limits) return;
    const apart = APART * (ends.high - ends.low);
    const inside = Math.min(ends.high, Math.max(ends.low, value));
    const free = end === "vmin" ? Math.min(inside, limits.vmax - apart) : Math.max(inside, limits.vmin + apart);
    this.change({ [end]: +free.toPrecision(4) });
  }

  /** @param {Partial<Limits>} limits shown in this page alone */
  change(limits) {
    this.row?.look.preview(limits);
    this.panel.tell((section) => section.recoloured?.());
  }

  stretchToView() {
    const { percentiles } = this.count ?? {};
    if (!percentiles) return;
    this.change({ vmin: percentiles[0], vmax: percentiles[1] });
    this.send();
  }

  /** Gives the layer's style the limits. */
  send() {
    this.row?.look.commit();
  }

  /**
   * @param {string} text
   * @param {boolean} [failed]
   */
  say(text, failed = false) {
    if (this.note.textContent !== text) this.note.textContent = text;
    this.note.classList.toggle("muses-error", failed);
  }
}

/** @param {HistogramState | undefined} state */
export function describe(state) {
  if (!state) return "";
  const { values = 0, missing = 0 } = state;
  const share = missing ? `, ${Math.max(1, Math.round((100 * missing) / (values + missing)))} % without a value` : "";
  return `${plural(values, "value").replace(/\B(?=(\d{3})+(?!\d))/g, " ")} in this view${share}`;
}

/**
 * The area under the bars, as a polygon of CSS.
 * @param {number[]} counts
 * @param {number} most
 */
export function outline(counts, most) {
  const width = 100 / counts.length;
  const points = counts.flatMap((count, i) => {
    const top = (100 * (1 - Math.min(1, count / most))).toFixed(1);
    return [`${(i * width).toFixed(2)}% ${top}%`, `${((i + 1) * width).toFixed(2)}% ${top}%`];
  });
  return `polygon(0% 100%, ${points.join(", ")}, 100% 100%)`;
}

addSection(
  NAME,
  (panel) => {
    const histogram = new Histogram(panel);
    return {
      body: histogram.body,
      connected: () => histogram.connected(),
      layersChanged: () => histogram.layersChanged(),
      moved: () => histogram.viewChanged(),
      told: () => histogram.told(),
      heard: () => histogram.heard(),
      remove: () => histogram.remove(),
    };
  },
  { order: 5 },
);
