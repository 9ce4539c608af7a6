// @ts-check
// Moving through time: a bar below the map for the layers with dates. It works without a kernel; only the heights of the
// bars, the share of the view that a date has values for, are the kernel's.

/** @import { Panel } from "../panel.js" */
/** @import { Row } from "../row.js" */
/** @import { Frame } from "../types" */

import { h } from "../dom.js";
import { addSection } from "../sections.js";
import { ask, isAbort } from "../server.js";

const NAME = "time";
/** Milliseconds that the view rests before it is asked about. */
const REST_MS = 600;
/** Milliseconds that a date rests before its tiles are asked for: a slider that is dragged passes many. */
const DRAG_MS = 120;
/** Dates ahead and behind of which the tiles are fetched once those of the date are there. */
const AHEAD = 2;
const BEHIND = 1;
/** Frames each second. */
const SPEEDS = [0.5, 1, 2, 4];
/** So many addresses are remembered as fetched. */
const FETCHED = 5000;

/**
 * What the kernel tells: muses_widgets/sections/time.py.
 * @typedef {object} TimeState
 * @property {string} asked what this answers
 * @property {string} layer
 * @property {(number | null)[]} shares of each frame
 * @property {boolean} busy whether more follows
 * @property {string} [text] what failed
 */

class Time {
  /** @type {Frame[]} of all visible layers, in order of time */
  frames = [];
  /** @type {string | null} */
  asked = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  resting;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  dragging;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  playing;
  /** @type {Set<string>} addresses that were fetched ahead */
  fetched = new Set();
  /** @type {AbortController | null} of what is fetched ahead */
  ahead = null;
  /** @type {ResizeObserver | undefined} */
  size;
  /** Which way one moves: those frames are fetched further ahead. */
  way = 1;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.play = this.button("Play", "▶", () => this.toggle());
    this.back = this.button("Previous date", "❮", () => this.step(-1));
    this.forth = this.button("Next date", "❯", () => this.step(1));
    this.speed = h(
      "select",
      { "aria-label": "Frames each second" },
      SPEEDS.map((speed) => h("option", { value: String(speed), selected: speed === 1 }, `${speed} / s`)),
    );
    this.slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "Date" });
    this.slider.addEventListener("input", () => this.drag());
    this.label = h("output", { class: "muses-time-label" });
    this.note = h("span", { class: "muses-time-note" });
    this.bars = h("div", { class: "muses-time-bars", "aria-hidden": "true" });
    this.bars.addEventListener("click", (event) => this.clickedBar(event));
    this.ticks = h("div", { class: "muses-time-ticks", "aria-hidden": "true" });
    this.element = h(
      "section",
      { class: "muses-time", "aria-label": "Dates", hidden: true },
      h("div", { class: "muses-time-head" }, this.play, this.back, this.forth, this.label, this.note, this.speed),
      h("div", { class: "muses-time-strip" }, this.bars, this.slider, this.ticks),
    );
    // The map below is not to move, zoom or take a click.
    for (const name of ["click", "dblclick", "mousedown", "pointerdown", "touchstart", "wheel", "contextmenu"]) {
      this.element.addEventListener(name, (event) => event.stopPropagation(), { passive: true });
    }
    // To JupyterLab an arrow on a slider is its command; Shift+Enter and Escape it may have.
    this.element.addEventListener("keydown", (event) => {
      if (!(event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || event.key === "Escape")) event.stopPropagation();
    });
  }

  /**
   * @param {string} label
   * @param {string} sign
   * @param {() => void} act
   */
  button(label, sign, act) {
    return h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.panel.guard(act) }, sign);
  }

  connected() {
    this.panel.map.getContainer().append(this.element);
    this.panel.onModel("change:date", () => this.follow());
    this.size = new ResizeObserver(() => this.panel.guard(() => this.drawTicks()));
    this.size.observe(this.element);
  }

  /** A layer may have been hidden, or its map not drawn, when the date was chosen. */
  layersChanged() {
    this.follow();
  }

  moved() {
    this.askShares();
    this.fetchAhead();
  }

  told() {
    const state = this.state;
    if (!state || state.asked !== this.asked) return;
    this.drawBars();
    this.drawLabel();
    if (state.text) this.panel.showProblem(`How much of the view the dates have cannot be told: ${state.text}`);
  }

  remove() {
    clearTimeout(this.resting);
    clearTimeout(this.dragging);
    this.stop();
    this.ahead?.abort();
    this.size?.disconnect();
    this.element.remove();
  }

  /** @returns {TimeState | undefined} */
  get state() {
    return this.panel.model.get("sections")[NAME];
  }

  /** The visible layers with dates. */
  get rows() {
    return this.panel.visibleRows.filter((row) => row.entry.frames?.length);
  }

  /** Number of the frame that is shown. */
  get current() {
    return Math.max(0, indexOf(this.frames, this.panel.model.get("date")));
  }

  /** Follows the layers and the date, whoever changed them. */
  update() {
    this.frames = joined(this.rows);
    const { length } = this.frames;
    this.element.hidden = length < 2;
    this.panel.map?.getContainer().classList.toggle("muses-has-time", length >= 2);
    if (length < 2) {
      this.stop();
      return;
    }
    this.slider.max = String(length - 1);
    this.slider.style.setProperty("--muses-frames", String(length));
    this.slider.value = String(this.current);
    this.drawBars();
    this.drawTicks();
    this.drawLabel();
    this.askShares();
    this.fetchAhead();
  }

  // ---- moving

  /** @param {number} by */
  step(by) {
    this.way = by;
    this.show((this.current + by + this.frames.length) % this.frames.length);
  }

  /** The slider is dragged: what it passes is told at once, and shown where it rests. */
  drag() {
    const number = Number(this.slider.value);
    this.way = number < this.current ? -1 : 1;
    this.drawLabel(number);
    clearTimeout(this.dragging);
    this.dragging = setTimeout(() => this.panel.guard(() => this.show(number)), DRAG_MS);
  }

  /** @param {MouseEvent} event */
  clickedBar(event) {
    const { left, width } = this.bars.getBoundingClientRect();
    if (width) this.show(Math.min(this.frames.length - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * this.frames.length))));
  }

  /**
   * Shows a date, and tells it.
   * @param {number} number
   */
  show(number) {
    const frame = this.frames[number];
    if (!frame) return;
    this.panel.save({ date: frame.date });
    this.follow();
  }

  /** Each visible layer shows its last date until the chosen one, whoever chose it: here, the kernel, a linked map. */
  follow() {
    const chosen = new Map();
    for (const row of this.rows) {
      const own = until(row.entry.frames ?? [], this.panel.model.get("date"));
      if (own.chain === row.entry.chain) continue;
      row.setModel({ url: `muses:tiles/${own.chain}/${row.entry.style}/{z}/{x}/{y}.png` });
      chosen.set(row.entry.id, own.chain);
    }
    if (chosen.size) {
      const entries = this.panel.model.get("layers");
      this.panel.save({ layers: entries.map((entry) => (chosen.has(entry.id) ? { ...entry, chain: chosen.get(entry.id) } : entry)) });
    }
    this.update();
  }

  get isPlaying() {
    return this.playing !== undefined;
  }

  toggle() {
    if (this.isPlaying) this.stop();
    else this.start();
  }

  start() {
    this.way = 1;
    this.play.textContent = "❚❚";
    this.play.setAttribute("aria-label", "Pause");
    this.play.title = "Pause";
    this.next();
  }

  stop() {
    clearTimeout(this.playing);
    this.playing = undefined;
    this.play.textContent = "▶";
    this.play.setAttribute("aria-label", "Play");
    this.play.title = "Play";
  }

  /** The next frame when its time has come, but not before this one is there. */
  next() {
    const ready = this.rows.every((row) => row.shown);
    const wait = ready ? 1000 / Number(this.speed.value) : 100;
    this.playing = setTimeout(() => {
      if (ready && !document.hidden) this.panel.guard(() => this.step(1));
      this.next();
    }, wait);
  }

  // ---- what is told

  /** @param {number} number */
  share(number) {
    const { state } = this;
    const frame = this.frames[number];
    const row = this.rows[0];
    if (!frame || !state || state.layer !== row?.entry.id) return null;
    const own = row.entry.frames?.findIndex(({ date }) => date === frame.date) ?? -1;
    return own < 0 ? null : (state.shares[own] ?? null);
  }

  /** @param {number} [number] */
  drawLabel(number = this.current) {
    const label = this.frames[number]?.label ?? "";
    const share = this.share(number);
    this.label.textContent = label;
    const told = share === null ? "" : `${Math.round(100 * share)} % of the view`;
    this.note.textContent = [`${number + 1} of ${this.frames.length}`, told].filter(Boolean).join(" · ");
    this.slider.setAttribute("aria-valuetext", [label, told].filter(Boolean).join(", "));
  }

  drawBars() {
    const { current } = this;
    const bars = this.frames.map((frame, number) => {
      const share = this.share(number);
      const height = share === null ? 18 : Math.max(4, 100 * share);
      const told = share === null ? "" : `: ${Math.round(100 * share)} % of the view`;
      const kind = `${share === null ? "muses-unknown" : ""} ${number === current ? "muses-current" : ""}`;
      return h("span", { class: kind, style: `height:${height.toFixed(0)}%`, title: frame.label + told });
    });
    this.bars.replaceChildren(...bars);
  }

  /** Where a year or, within one, a month begins. */
  drawTicks() {
    const { frames } = this;
    const years = new Set(frames.map(({ time }) => time.slice(0, 4)));
    const cut = years.size > 2 ? 4 : 7;
    /** @type {{ at: number, text: string }[]} */
    const found = [];
    frames.forEach(({ time }, number) => {
      const text = time.slice(0, cut);
      if (number && frames[number - 1]?.time.slice(0, cut) === text) return;
      found.push({ at: number / frames.length, text });
    });
    const room = Math.max(1, Math.floor((this.element.clientWidth || 600) / 70));
    const every = Math.ceil(found.length / room);
    this.ticks.replaceChildren(
      ...found.filter((_, n) => n % every === 0).map(({ at, text }) => h("span", { style: `left:${(100 * at).toFixed(2)}%` }, text)),
    );
  }

  /** Asks the kernel how much of the view each date of the top layer has, once the view rests. */
  askShares() {
    clearTimeout(this.resting);
    if (this.element.hidden) return;
    this.resting = setTimeout(() => this.panel.guard(() => this.ask()), REST_MS);
  }

  ask() {
    const { map, model } = this.panel;
    const row = this.rows[0];
    if (!row || !this.panel.hasKernel) return;
    const bounds = map.getBounds();
    const edges = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()].map((v) => Number(v.toFixed(6)));
    const asked = JSON.stringify([row.entry.id, row.entry.frames?.map(({ chain }) => chain.slice(-8)).join(""), edges]);
    if (asked === this.asked) return;
    this.asked = asked;
    model.send({ section: NAME, asked, layer: row.entry.id, bounds: edges, zoom: map.getZoom() });
  }

  /** Once the date's tiles are there: fetches those of its neighbours, so that the browser has them. */
  fetchAhead() {
    this.ahead?.abort();
    if (this.element.hidden) return;
    const given = (this.ahead = new AbortController());
    const wait = async () => {
      while (!given.signal.aborted && !this.rows.every((row) => row.shown)) {
        await new Promise((resolve) => {
          setTimeout(resolve, 150);
        });
      }
      for (const url of given.signal.aborted ? [] : this.neighbours()) {
        if (given.signal.aborted) return;
        const answer = await ask(url, { signal: given.signal });
        await answer.blob();
        if (!answer.ok) return; // when it is looked at, it says why
        this.fetched.add(url);
        if (this.fetched.size > FETCHED) this.fetched.clear();
      }
    };
    wait().catch((error) => {
      if (!isAbort(error)) console.debug("[muses] not fetched ahead:", error);
    });
  }

  /** Addresses of the tiles of the neighbouring dates in the view, the nearest date first. */
  neighbours() {
    const { current, frames, way } = this;
    const steps = [];
    for (let n = 1; n <= AHEAD; n += 1) steps.push(n * way);
    for (let n = 1; n <= BEHIND; n += 1) steps.push(-n * way);
    return steps.flatMap((step) => {
      const frame = frames[(current + step + frames.length) % frames.length];
      return this.rows.flatMap((row) => {
        const own = until(row.entry.frames ?? [], frame?.date ?? "");
        if (own.chain === row.entry.chain || row.entry.private) return []; // no browser keeps what is private
        return tilesOf(row)
          .map((url) => url.replace(`/${row.entry.chain}/`, `/${own.chain}/`))
          .filter((url) => !this.fetched.has(url));
      });
    });
  }
}

/**
 * Addresses of the tiles that a layer shows.
 * @param {Row} row
 */
function tilesOf({ layer }) {
  if (!layer) return [];
  return Object.values(layer._tiles ?? {})
    .filter((tile) => tile.current)
    .map((tile) => layer.getTileUrl(layer._wrapCoords(tile.coords)));
}

/**
 * The dates of several layers, each once: a day is one for all layers that have it once.
 * @param {Row[]} rows
 */
export function joined(rows) {
  /** @type {Map<string, Frame>} */
  const found = new Map();
  for (const { entry } of rows) for (const frame of entry.frames ?? []) if (!found.has(frame.date)) found.set(frame.date, frame);
  return [...found.values()].sort((a, b) => (endOf(a.date) < endOf(b.date) ? -1 : 1));
}

/**
 * The last frame until the end of a date; the first one where all are later.
 * @param {Frame[]} frames
 * @param {string} date
 * @returns {Frame}
 */
export function until(frames, date) {
  const found = frames[Math.max(0, indexOf(frames, date))];
  if (!found) throw new Error("a layer with dates has none");
  return found;
}

/**
 * Number of the frame of a date, or of the last one until then; without a date, of the last one.
 * @param {Frame[]} frames
 * @param {string} date
 */
export function indexOf(frames, date) {
  const found = frames.findIndex((frame) => frame.date === date);
  return found >= 0 ? found : frames.findLastIndex(({ time }) => time <= endOf(date));
}

/**
 * What comes after all times that begin with a date (`2018-07-03`, `2018-07-03 10:50`).
 * @param {string} date
 */
function endOf(date) {
  return `${date.replace(" ", "T")}~`;
}

addSection(NAME, (panel) => new Time(panel), { order: 5 });
