// @ts-check
// The dates of a place: a slider over them, and a strip of small images that are asked for when they come into sight.

/** @import { SeriesDate } from "../types" */

import { h } from "../dom.js";

/** Milliseconds that the strip rests before images are asked for. */
const REST_MS = 120;

/** What a date is, in words. @param {SeriesDate} date */
export const inWords = (date) =>
  [
    date.label,
    date.text,
    date.state === "valid" ? "" : `${date.state}${date.mask ? ` (${date.mask})` : ""}`,
    date.clouds === null ? "" : `clouds ${date.clouds} %`,
    date.sun === null ? "" : `sun ${date.sun}°`,
    date.scene,
  ]
    .filter(Boolean)
    .join(", ");

export class DateStrip {
  /** @type {SeriesDate[]} */
  dates = [];
  /** @type {Map<string, HTMLButtonElement>} by time */
  chips = new Map();
  /** @type {Record<string, string>} */
  images = {};
  of = "";
  /** @type {Set<string>} times that were asked for last: the kernel goes on with these alone */
  asked = new Set();
  /** @type {Set<string>} times in sight */
  seen = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  first = "";
  second = "";

  /**
   * @param {object} does
   * @param {(time: string) => void} does.show
   * @param {(time: string | null) => void} does.compare
   * @param {(times: string[]) => void} does.ask
   * @param {AbortSignal} signal
   */
  constructor({ show, compare, ask }, signal) {
    this.show_ = show;
    this.compare_ = compare;
    this.ask_ = ask;
    this.slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "Date of the place" });
    this.slider.addEventListener("input", () => this.tell());
    this.slider.addEventListener("change", () => this.choose(this.dates[Number(this.slider.value)]?.time ?? ""));
    this.label = h("output", { class: "muses-sp-date" });
    this.withDate = h("button", { type: "button", class: "muses-button", onclick: () => this.compareSlider() }, "Compare");
    this.withDate.title = "Show this date beside the one on the map (as Shift and a click)";
    this.end = h("button", { type: "button", class: "muses-button", hidden: true, onclick: () => this.compare_(null) }, "Stop comparing");
    this.onMap = h("div", { class: "muses-sp-on-map", role: "status", hidden: true });
    this.strip = h("div", { class: "muses-sp-strip", role: "group", "aria-label": "Images of the dates" });
    this.element = h(
      "div",
      { class: "muses-sp-dates", hidden: true },
      h("div", { class: "muses-sp-date-row" }, this.slider, this.withDate, this.end),
      this.label,
      this.onMap,
      this.strip,
    );
    this.watch = new IntersectionObserver((entries) => this.seenAgain(entries), { root: this.strip, rootMargin: "0px 80px" });
    signal.addEventListener("abort", () => {
      this.watch.disconnect();
      clearTimeout(this.timer);
    });
  }

  /** @param {SeriesDate[]} dates */
  show(dates) {
    this.element.hidden = !dates.length;
    const same = dates.length === this.dates.length && dates.every((date, n) => JSON.stringify(date) === JSON.stringify(this.dates[n]));
    if (same) return;
    const others = dates.map(({ time }) => time).join() !== this.dates.map(({ time }) => time).join();
    this.dates = dates;
    this.slider.max = String(Math.max(0, dates.length - 1));
    this.slider.value = this.slider.max; // the newest, until one is shown
    this.watch.disconnect();
    this.seen.clear();
    this.chips = new Map(dates.map((date) => [date.time, this.chip(date)]));
    this.strip.replaceChildren(...this.chips.values());
    for (const chip of this.chips.values()) this.watch.observe(chip);
    this.drawImages();
    this.mark(this.first, this.second, others);
  }

  /** @param {SeriesDate} date */
  chip(date) {
    const kind = date.state === "valid" ? "" : "muses-sp-hollow";
    const chip = h(
      "button",
      { type: "button", class: `muses-sp-chip ${kind}`, "data-time": date.time, title: inWords(date), "aria-label": inWords(date), "aria-pressed": "false" },
      h("span", { class: "muses-sp-image" }),
      h("span", { class: "muses-sp-day" }, date.label),
    );
    chip.addEventListener("click", (event) => {
      if (event.shiftKey || event.ctrlKey || event.metaKey) this.compare_(date.time);
      else this.choose(date.time);
    });
    return chip;
  }

  /** @param {string} time */
  choose(time) {
    if (time) this.show_(time);
  }

  compareSlider() {
    const date = this.dates[Number(this.slider.value)];
    if (date) this.compare_(date.time);
  }

  /** The date nearest to a moment. @param {number} ms */
  nearest(ms) {
    let found = this.dates[0];
    for (const date of this.dates) if (found && Math.abs(date.ms - ms) < Math.abs(found.ms - ms)) found = date;
    return found;
  }

  tell() {
    const date = this.dates[Number(this.slider.value)];
    const words = date ? inWords(date) : "";
    this.label.textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
  }

  /**
   * Marks the dates that the map shows and compares.
   * @param {string} first
   * @param {string} second
   * @param {boolean} [others] whether the dates are others than before
   */
  mark(first, second, others = false) {
    const moved = others || first !== this.first;
    this.first = first;
    this.second = second;
    this.end.hidden = !second;
    this.onMap.hidden = !first && !second;
    this.onMap.replaceChildren(...this.shownWords());
    for (const [time, chip] of this.chips) {
      chip.setAttribute("aria-pressed", String(time === first));
      chip.classList.toggle("muses-sp-second", time === second);
    }
    const shown = first ? this.dates.findIndex(({ time }) => time === first) : -1;
    if (shown >= 0) {
      this.slider.value = String(shown);
      const chip = this.chips.get(this.dates[shown]?.time ?? "");
      if (moved && chip) this.strip.scrollTo({ left: chip.offsetLeft - this.strip.clientWidth / 2 + chip.clientWidth / 2 });
    }
    this.tell();
  }

  /** Which dates the map shows. */
  shownWords() {
    const { first, second } = this;
    if (!first && !second) return [];
    const shown = h("span", {}, "On the map ", h("b", {}, this.dayOf(first) || "another layer"));
    return second ? [shown, h("span", {}, " · right of the line ", h("b", {}, this.dayOf(second)))] : [shown];
  }

  /** A date as the images have it; of another place's date the day. @param {string} time */
  dayOf(time) {
    return this.dates.find((date) => date.time === time)?.label ?? time.slice(0, 10);
  }

  // ---- images

  /**
   * @param {string} of
   * @param {Record<string, string>} images by time
   */
  showImages(of, images) {
    if (of !== this.of) {
      this.of = of;
      this.asked.clear();
    }
    this.images = images;
    this.drawImages();
    this.askSoon();
  }

  drawImages() {
    for (const [time, chip] of this.chips) {
      const image = this.images[time];
      const place = /** @type {HTMLElement} */ (chip.firstElementChild);
      place.style.backgroundImage = image ? `url(${image})` : "";
      chip.dataset.image = image === undefined ? "waits" : image ? "there" : "none";
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  seenAgain(entries) {
    for (const { target, isIntersecting } of entries) {
      const { time } = /** @type {HTMLElement} */ (target).dataset;
      if (time && isIntersecting) this.seen.add(time);
      else if (time) this.seen.delete(time);
    }
    this.askSoon();
  }

  askSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const wanted = [...this.seen].filter((time) => this.images[time] === undefined && this.chips.has(time));
      const missing = wanted.filter((time) => !this.asked.has(time));
      if (!missing.length) return;
      this.asked = new Set(wanted);
      this.ask_(wanted.sort());
    }, REST_MS);
  }
}
