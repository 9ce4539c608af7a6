// @ts-check
// Moving through time: a bar below the map for the layers with dates. It works without a kernel; only the heights of the
// bars, how clear the view is at a date, and other periods are the kernel's.

/** @import { Panel } from "../panel.js" */
/** @import { Row } from "../row.js" */
/** @import { DateChoice, Frame } from "../types" */
/** @import { Share } from "../datefilter.js" */

import { DateFilter, passes } from "../datefilter.js";
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
 * @property {(Share | null)[]} shares of each frame
 * @property {string} basis what tells clear pixels from others: `by the chain's own mask`; empty where nothing does
 * @property {boolean} busy whether more follows
 * @property {string} [text] what failed
 * @property {string} [handled] the last message about periods that was answered
 */

/**
 * The part of a question that names a layer and its frames.
 * @param {string | undefined} question
 */
function framesOf(question) {
  return question ? JSON.stringify(JSON.parse(question).slice(0, 2)) : "";
}

class Time {
  /** @type {Frame[]} of all visible layers, in order of time */
  all = [];
  /** @type {Frame[]} those of them that the filter leaves */
  frames = [];
  /** @type {Map<string, Share>} how clear the top layer is, by date */
  shares = new Map();
  /** @type {string | null} the message about periods that is not answered yet */
  making = null;
  /** @type {string | null} */
  asked = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  resting;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  dragging;
  /** @type {Frame | undefined} where the slider was dragged to, until it is shown: what is left may change meanwhile */
  dragged;
  /** What the filter did to the date shown; empty where that is what somebody chose. */
  instead = "";
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
    this.filter = new DateFilter({
      choose: (choice) => panel.guard(() => this.choose(choice)),
      by: (period, reducer) => panel.guard(() => this.askPeriods(period, reducer)),
    });
    this.toggleFilter = h("button", { type: "button", class: "muses-time-toggle", "aria-expanded": "false", onclick: () => this.openFilter() }, "Filter");
    this.slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "Date" });
    this.slider.addEventListener("input", () => this.drag());
    this.label = h("output", { class: "muses-time-label" });
    this.note = h("span", { class: "muses-time-note" });
    this.bars = h("div", { class: "muses-time-bars", "aria-hidden": "true" });
    this.bars.addEventListener("click", (event) => this.clickedBar(event));
    this.ticks = h("div", { class: "muses-time-ticks", "aria-hidden": "true" });
    this.key = h("div", { class: "muses-time-key", hidden: true });
    this.strip = h("div", { class: "muses-time-strip" }, this.bars, this.slider, this.ticks, this.key);
    this.element = h(
      "section",
      { class: "muses-time", "aria-label": "Dates", hidden: true },
      h("div", { class: "muses-time-head" }, this.play, this.back, this.forth, this.label, this.note, this.speed, this.toggleFilter),
      this.filter.element,
      this.strip,
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
    this.panel.onModel("change:filter", () => this.update());
    this.size = new ResizeObserver(() => this.panel.guard(() => this.fit()));
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
    if (state?.handled && state.handled === this.making) this.making = null;
    if (!state || state.asked !== this.asked) {
      this.drawLabel();
      return;
    }
    this.arrange();
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

  /** The frame that the map shows, which the filter may leave out. */
  get shown() {
    return this.all[Math.max(0, indexOf(this.all, this.panel.model.get("date")))];
  }

  /** Number of the frame that is shown; where the filter leaves it out, of the last one before it. */
  get current() {
    const { shown } = this;
    return shown ? Math.max(0, indexOf(this.frames, shown.date)) : 0;
  }

  /** Whether the map shows one of the dates that are left. */
  get isAmong() {
    return this.frames[this.current] === this.shown;
  }

  /** Follows the layers and the date, whoever changed them. */
  update() {
    this.all = joined(this.rows);
    const needed = this.all.length > 1 || (this.all.length === 1 && this.rows.some((row) => row.entry.period?.name));
    this.element.hidden = !needed;
    this.panel.map?.getContainer().classList.toggle("muses-has-time", needed);
    if (!needed) {
      this.stop();
      return;
    }
    this.arrange();
    this.askShares();
    this.fetchAhead();
  }

  /** Draws what the filter leaves. */
  arrange() {
    const choice = this.choice;
    this.shares = this.knownShares();
    this.frames = this.all.filter((frame) => passes(frame, choice, this.share(frame)));
    const { length } = this.frames;
    this.filter.update({
      choice,
      all: this.all,
      left: length,
      instead: this.instead,
      period: this.rows[0]?.entry.period,
      hasKernel: this.panel.hasKernel,
      knowsClouds: Boolean(this.state?.basis) || this.all.some(({ clouds }) => typeof clouds === "number"),
    });
    this.toggleFilter.classList.toggle("muses-chosen", this.filter.isChosen);
    if (length < 2) this.stop();
    for (const button of [this.play, this.back, this.forth]) button.disabled = length < (this.isAmong ? 2 : 1);
    this.strip.hidden = !length;
    this.slider.max = String(length - 1);
    this.slider.style.setProperty("--muses-frames", String(length));
    this.slider.value = String(Math.max(0, this.dragged ? this.frames.indexOf(this.dragged) : this.current));
    this.drawBars();
    this.drawTicks();
    this.drawKey();
    this.drawLabel();
  }

  fit() {
    this.panel.map.getContainer().style.setProperty("--muses-time-height", `${this.element.offsetHeight}px`);
    this.drawTicks();
  }

  // ---- which dates

  /** @returns {DateChoice} */
  get choice() {
    return this.panel.model.get("filter") ?? {};
  }

  openFilter() {
    const open = this.filter.element.hidden;
    this.filter.element.hidden = !open;
    this.toggleFilter.setAttribute("aria-expanded", String(open));
  }

  /**
   * Another choice of dates: the map shows the last one of them until the date that it shows.
   * @param {DateChoice} choice
   */
  choose(choice) {
    const { start, end } = this.choice;
    this.instead = "";
    this.panel.save({ filter: choice });
    this.update();
    if (this.filter.period.value === "range" && (choice.start !== start || choice.end !== end)) {
      this.askPeriods("range", this.filter.reducer.value); // one image of other dates
    } else if (this.frames.length && !this.isAmong) this.showInstead();
  }

  /** The filter leaves out the date that is shown: the last one before it takes its place, and that is said. */
  showInstead() {
    const { shown } = this;
    const frame = this.frames[this.current];
    this.show(frame);
    if (shown && frame) this.instead = `${shown.label} is not one of them: the map shows ${frame.label}`;
    this.arrange();
  }

  /**
   * Has the kernel show the layers by another period.
   * @param {string | null} period
   * @param {string} reducer
   */
  askPeriods(period, reducer) {
    const { start = null, end = null } = this.choice;
    const layers = this.rows.map((row) => row.entry.id);
    this.making = JSON.stringify([layers, period, reducer, start, end, Date.now()]);
    this.panel.model.send({ section: NAME, asked: this.making, layers, period, reducer, start, end });
    this.drawLabel();
  }

  // ---- moving

  /** @param {number} by */
  step(by) {
    this.way = by;
    const before = indexOf(this.frames, this.shown?.date ?? "");
    const next = by > 0 || this.isAmong ? before + by : before; // back from what is left out: the one before it
    this.show(this.frames[(next + this.frames.length) % this.frames.length]);
  }

  /** The slider is dragged: what it passes is told at once, and shown where it rests. */
  drag() {
    const number = Number(this.slider.value);
    this.way = number < this.current ? -1 : 1;
    const frame = (this.dragged = this.frames[number]);
    this.drawLabel(frame);
    clearTimeout(this.dragging);
    this.dragging = setTimeout(() => this.panel.guard(() => this.show(frame)), DRAG_MS);
  }

  /** @param {MouseEvent} event */
  clickedBar(event) {
    const { left, width } = this.bars.getBoundingClientRect();
    const number = Math.floor(((event.clientX - left) / width) * this.frames.length);
    if (width) this.show(this.frames[Math.min(this.frames.length - 1, Math.max(0, number))]);
  }

  /**
   * Shows a date, and tells it.
   * @param {Frame | undefined} frame
   */
  show(frame) {
    clearTimeout(this.dragging);
    this.dragged = undefined;
    this.instead = "";
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
      row.setModel({ url: row.layerModel.get("url").replace(`/${row.entry.chain}/`, `/${own.chain}/`) });
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

  /** Of the frames that were asked about; without a kernel only as long as the view is that of then. */
  knownShares() {
    const { state } = this;
    const row = this.rows[0];
    const question = this.question(row);
    const isOfFrames = framesOf(state?.asked) === framesOf(question);
    const frames = (isOfFrames && (this.panel.hasKernel || state?.asked === question) && row?.entry.frames) || [];
    return new Map(frames.flatMap(({ date }, n) => (state?.shares[n] ? [[date, state.shares[n]]] : [])));
  }

  /**
   * @param {Frame} frame
   * @returns {Share | null}
   */
  share(frame) {
    return this.shares.get(frame.date) ?? null;
  }

  /** @param {Frame} frame */
  describe(frame) {
    const share = this.share(frame);
    if (!share) return "";
    const [clear, covered] = share.map(percent);
    if (!this.state?.basis) return `${covered} of the view`;
    return covered === clear || share[1] > 0.995 ? `${clear} clear` : `${clear} clear, ${covered} covered`;
  }

  /** @param {Frame | undefined} [frame] */
  drawLabel(frame = this.shown) {
    if (!frame) return;
    const number = this.frames.indexOf(frame);
    const left = this.frames.length === this.all.length ? "" : `, ${this.all.length} in all`;
    const place = number < 0 ? `not among the ${this.frames.length} chosen` : `${number + 1} of ${this.frames.length}`;
    const share = this.describe(frame);
    this.label.textContent = frame.label;
    this.note.textContent = this.making ? "Making other periods…" : [place + left, share].filter(Boolean).join(" · ");
    this.slider.setAttribute("aria-valuetext", [frame.label, share].filter(Boolean).join(", "));
  }

  /** A bar is as high as what a date has of the view; its full part is clear. */
  drawBars() {
    const { shown } = this;
    const bars = this.frames.map((frame) => {
      const share = this.share(frame);
      const height = share ? Math.max(4, 100 * share[1]) : 18;
      const clear = share?.[1] ? (100 * share[0]) / share[1] : 0;
      const title = [frame.label, this.describe(frame), frame.platforms?.join(", "), frame.orbits?.length ? `orbit ${frame.orbits.join(", ")}` : ""];
      return h("span", {
        class: `${share ? "" : "muses-unknown"} ${frame === shown ? "muses-current" : ""}`,
        style: `height:${height.toFixed(0)}%;--muses-clear:${clear.toFixed(0)}%`,
        title: title.filter(Boolean).join("\n"),
      });
    });
    this.bars.replaceChildren(...bars);
    this.bars.classList.toggle("muses-many", bars.length > 120);
  }

  /** What the bars mean, and what tells it. */
  drawKey() {
    const { state } = this;
    const known = this.frames.some((frame) => this.share(frame));
    this.key.hidden = !known;
    if (!known || !state) return;
    const sign = (/** @type {string} */ kind, /** @type {string} */ text) => h("span", {}, h("i", { class: kind }), text);
    const parts = state.basis
      ? [sign("muses-clear", "clear"), sign("muses-clouded", "clouded"), h("span", {}, `of this view, ${state.basis}`)]
      : [sign("muses-clear", "share of this view with values")];
    this.key.replaceChildren(...parts);
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

  /** What the bars are of. */
  get edges() {
    const bounds = this.panel.map.getBounds();
    return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()].map((v) => Number(v.toFixed(6)));
  }

  /**
   * What is asked of a layer in the present view, as one text.
   * @param {Row | undefined} row
   */
  question(row) {
    return JSON.stringify([row?.entry.id, row?.entry.frames?.map(({ chain }) => chain.slice(-8)).join(""), this.edges]);
  }

  ask() {
    const { map, model } = this.panel;
    const row = this.rows[0];
    if (!row || !this.panel.hasKernel) return;
    const asked = this.question(row);
    if (asked === this.asked) return;
    this.asked = asked;
    model.send({ section: NAME, asked, layer: row.entry.id, bounds: this.edges, zoom: map.getZoom() });
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

/** @param {number} share */
const percent = (share) => (share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`);

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
