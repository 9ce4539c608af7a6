// @ts-check
// Which of the dates the bar below the map moves through, and by which periods they are shown: the form, and its rule.

/** @import { DateChoice, Frame, Period } from "./types" */

import { h } from "./dom.js";

/** Shares of the view that are clear, and that have data at all. */
/** @typedef {[clear: number, covered: number]} Share */

/** [as the kernel has it, as it is shown]; the empty one is each date. */
const PERIODS = [["", "each date"], ["dekad", "dekads"], ["month", "months"], ["season", "seasons"], ["year", "years"], ["range", "all of a range"]];
const REDUCERS = ["median", "mean", "min", "max", "first", "last", "count"];
/** Per cent of clouds of which there is no limit. */
const ANY = 100;

/**
 * Which part of what a date has of the view is clouded: of its pixels where they are known, else as its scenes state it;
 * null where nobody knows, Infinity where it has nothing of the view.
 * @param {Frame} frame
 * @param {Share | null} share
 */
export function cloudiness(frame, share) {
  if (share) return share[1] > 0 ? Math.max(0, 1 - share[0] / share[1]) : Infinity;
  return typeof frame.clouds === "number" ? frame.clouds / 100 : null;
}

/**
 * Whether a date is one of those that are wanted. A limit of clouds keeps dates of which nobody knows them.
 * @param {Frame} frame
 * @param {DateChoice} choice
 * @param {Share | null} share
 */
export function passes(frame, choice, share) {
  const day = frame.time.slice(0, 10);
  if ((choice.start && day < choice.start) || (choice.end && day > choice.end)) return false;
  if (choice.platform && !frame.platforms?.includes(choice.platform)) return false;
  if (choice.orbit && !frame.orbits?.includes(choice.orbit)) return false;
  const clouds = choice.clouds === undefined ? null : cloudiness(frame, share);
  return clouds === null || clouds <= (choice.clouds ?? ANY) / 100;
}

/**
 * How many of how many dates are left.
 * @param {number} left
 * @param {number} all
 */
export const told = (left, all) => (left === all ? `${all} date${all === 1 ? "" : "s"}` : `${left} of ${all} dates`);

export class DateFilter {
  /**
   * @param {object} given
   * @param {(choice: DateChoice) => void} given.choose another choice
   * @param {(period: string | null, reducer: string) => void} given.by other periods
   */
  constructor({ choose, by }) {
    this.choose = choose;
    /** @type {DateChoice} */
    this.choice = {};
    this.period = this.select(PERIODS, () => by(this.period.value || null, this.reducer.value));
    this.reducer = this.select(REDUCERS.map((name) => [name, name]), () => by(this.period.value || null, this.reducer.value));
    this.start = this.day("start");
    this.end = this.day("end");
    this.platform = this.select([], () => this.set({ platform: this.platform.value }));
    this.orbit = this.select([], () => this.set({ orbit: this.orbit.value }));
    this.clouds = h("input", { type: "range", min: "0", max: String(ANY), step: "5", "aria-label": "Clouds at most" });
    this.clouds.addEventListener("input", () => this.drawClouds());
    this.clouds.addEventListener("change", () => this.set({ clouds: Number(this.clouds.value) < ANY ? Number(this.clouds.value) : undefined }));
    this.limit = h("span", { class: "muses-time-limit", "aria-hidden": "true" });
    this.count = h("span", { class: "muses-time-count", role: "status" });
    this.reset = h("button", { type: "button", class: "muses-time-reset", onclick: () => this.choose({}) }, "Show all");
    this.fields = {
      reducer: field("by their", this.reducer),
      platform: field("Platform", this.platform),
      orbit: field("Orbit", this.orbit),
      clouds: field("Clouds", this.clouds, this.limit),
    };
    this.element = h(
      "div",
      { class: "muses-time-filter", role: "group", "aria-label": "Which dates", hidden: true },
      field("Show", this.period),
      this.fields.reducer,
      field("from", this.start),
      field("to", this.end),
      this.fields.platform,
      this.fields.orbit,
      this.fields.clouds,
      h("span", { class: "muses-time-left" }, this.count, this.reset),
    );
  }

  /**
   * @param {string[][]} options
   * @param {() => void} change
   */
  select(options, change) {
    const made = h("select", {});
    fill(made, options);
    made.addEventListener("change", change);
    return made;
  }

  /** @param {"start" | "end"} name */
  day(name) {
    const made = h("input", { type: "date" });
    made.addEventListener("change", () => this.set({ [name]: made.value }));
    return made;
  }

  /** @param {DateChoice} changes */
  set(changes) {
    const choice = Object.entries({ ...this.choice, ...changes }).filter(([, value]) => value !== "" && value !== undefined);
    this.choose(Object.fromEntries(choice));
  }

  /** Whether it leaves any date out that there is. */
  get isChosen() {
    return Object.keys(this.choice).length > 0;
  }

  /**
   * Shows what there is to choose, and what is chosen.
   * @param {object} state
   * @param {DateChoice} state.choice
   * @param {Frame[]} state.all
   * @param {number} state.left dates that are left
   * @param {string} state.instead what it did to the date that was shown; empty: nothing
   * @param {Period | undefined} state.period
   * @param {boolean} state.hasKernel which makes other periods
   * @param {boolean} state.knowsClouds
   */
  update({ choice, all, left, instead, period, hasKernel, knowsClouds }) {
    this.choice = choice;
    const name = period?.name === "intervals" ? "range" : (period?.name ?? "");
    fill(this.period, withOther(PERIODS, name));
    fill(this.reducer, withOther(REDUCERS.map((one) => [one, one]), period?.reducer ?? "median"));
    this.period.value = name;
    this.reducer.value = period?.reducer ?? "median";
    this.period.disabled = this.reducer.disabled = !hasKernel;
    this.period.title = hasKernel ? "" : "Other periods need the notebook's kernel: run its cells.";
    this.fields.reducer.hidden = !name;
    this.start.value = choice.start ?? "";
    this.end.value = choice.end ?? "";
    this.offer("platform", "all", all.flatMap((frame) => frame.platforms ?? []));
    this.offer("orbit", "all", all.flatMap((frame) => frame.orbits ?? []));
    this.fields.clouds.hidden = !knowsClouds && choice.clouds === undefined;
    this.clouds.value = String(choice.clouds ?? ANY);
    this.drawClouds();
    const text = [told(left, all.length), instead].filter(Boolean).join("; ");
    if (this.count.textContent !== text) this.count.textContent = text; // what is written anew is read out anew
    this.reset.hidden = !this.isChosen;
  }

  /**
   * @param {"platform" | "orbit"} name
   * @param {string} every
   * @param {string[]} values
   */
  offer(name, every, values) {
    const chosen = this.choice[name];
    const offered = [...new Set(values)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    fill(this[name], withOther([["", every], ...offered.map((one) => [one, one])], chosen ?? ""));
    this[name].value = chosen ?? "";
    this.fields[name].hidden = offered.length < 2 && !chosen;
  }

  drawClouds() {
    const value = Number(this.clouds.value);
    this.limit.textContent = value < ANY ? `≤ ${value} %` : "any";
    this.clouds.setAttribute("aria-valuetext", value < ANY ? `${value} per cent at most` : "any");
  }
}

/**
 * @param {string} name
 * @param {...HTMLElement} inputs
 */
const field = (name, ...inputs) => h("label", {}, h("span", {}, name), inputs);

/**
 * Options, and what is chosen although it is none of them.
 * @param {string[][]} options
 * @param {string} value
 */
const withOther = (options, value) => (options.some(([one]) => one === value) ? options : [...options, [value, value]]);

/**
 * Replaces options only where they are others: a list that is open stays open.
 * @param {HTMLSelectElement} select
 * @param {string[][]} options
 */
function fill(select, options) {
  const key = JSON.stringify(options);
  if (select.dataset.options === key) return;
  select.dataset.options = key;
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
}
