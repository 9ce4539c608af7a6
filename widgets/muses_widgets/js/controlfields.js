// @ts-check
// The inputs of controls, by the kind of their parameter.

/** @import { ControlChoice, ControlRow } from "./types" */

import { h } from "./dom.js";

/**
 * An input with its label.
 * @typedef {object} Field
 * @property {string} kind
 * @property {HTMLElement} element
 * @property {(row: ControlRow) => void} show
 * @property {(enabled: boolean) => void} enable
 * @property {(text: string, differs: boolean) => void} problem
 */

/** @typedef {(value: unknown, now: boolean) => void} Change called with a value, and whether it is let go of */
/** @typedef {{ inputs: Element[], parts: HTMLElement[], show: (row: ControlRow) => void, group?: boolean }} Made */

let made = 0;

/**
 * @param {ControlRow} row
 * @param {Change} change
 * @returns {Field}
 */
export function fieldOf(row, change) {
  made += 1;
  const id = `muses-control-${made}`;
  const { inputs, parts, show, group } = (MAKERS[row.kind] ?? text)(row, change, id);
  const label = h(group ? "div" : "label", { class: "muses-control-label", title: row.name, id: `${id}-label` }, row.title);
  if (label instanceof HTMLLabelElement) label.htmlFor = id;
  const note = h("div", { class: "muses-control-problem", role: "alert", id: `${id}-problem`, hidden: true });
  const element = h("div", { class: `muses-control muses-control-${row.kind}`, "data-name": row.name }, label, h("div", { class: "muses-control-input" }, parts), note);
  if (group) {
    element.setAttribute("role", "group");
    element.setAttribute("aria-labelledby", `${id}-label`);
  }
  return {
    kind: row.kind,
    element,
    show,
    enable(enabled) {
      for (const input of inputs) /** @type {HTMLInputElement} */ (input).disabled = !enabled;
    },
    problem(problem, differs) {
      note.textContent = problem || (differs ? "The layers have different values; moving it gives all of them one." : "");
      note.hidden = !note.textContent;
      note.classList.toggle("muses-error", Boolean(problem));
      for (const input of inputs) {
        input.setAttribute("aria-invalid", String(Boolean(problem)));
        input.setAttribute("aria-describedby", note.id);
      }
    },
  };
}

/**
 * A slider, and a field in which any value may be typed that the parameter can have.
 * @param {ControlRow} row
 * @param {Change} change
 * @param {string} id
 * @returns {Made}
 */
export function number(row, change, id) {
  const slider = h("input", { type: "range", id });
  const typed = h("input", { type: "number", class: "muses-field", "aria-label": `${row.title}, as a number` });
  slider.addEventListener("input", () => {
    typed.value = slider.value;
    change(Number(slider.value), false);
  });
  slider.addEventListener("change", () => change(Number(slider.value), true));
  typed.addEventListener("change", () => {
    if (typed.value === "" || !Number.isFinite(Number(typed.value))) return;
    widen(slider, Number(typed.value));
    slider.value = typed.value;
    change(Number(typed.value), true);
  });
  return {
    inputs: [slider, typed],
    parts: [slider, typed],
    show({ value, min, max, step, whole, low, high }) {
      Object.assign(slider, { min: String(min), max: String(max), step: String(step) });
      widen(slider, Number(value));
      typed.step = whole ? "1" : "any";
      if (low !== null && low !== undefined) typed.min = String(low);
      if (high !== null && high !== undefined) typed.max = String(high);
      slider.value = String(value);
      typed.value = String(value);
    },
  };
}

/**
 * @param {HTMLInputElement} slider
 * @param {number} value
 */
function widen(slider, value) {
  if (value < Number(slider.min)) slider.min = String(value);
  if (value > Number(slider.max)) slider.max = String(value);
}

/**
 * @param {ControlRow} row
 * @param {Change} change
 * @param {string} id
 * @returns {Made}
 */
function choice(row, change, id) {
  const choices = row.choices ?? [];
  const select = h("select", { class: "muses-select", id }, choices.map(({ label }) => h("option", {}, label)));
  select.addEventListener("change", () => change(choices[select.selectedIndex]?.value, true));
  return { inputs: [select], parts: [select], show: ({ value }) => void (select.selectedIndex = choices.findIndex((c) => c.value === value)) };
}

/**
 * @param {ControlRow} _
 * @param {Change} change
 * @param {string} id
 * @returns {Made}
 */
function toggle(_, change, id) {
  const box = h("input", { type: "checkbox", id });
  box.addEventListener("change", () => change(box.checked, true));
  return { inputs: [box], parts: [box], show: ({ value }) => void (box.checked = Boolean(value)) };
}

/**
 * @param {ControlRow} _
 * @param {Change} change
 * @param {string} id
 * @returns {Made}
 */
function date(_, change, id) {
  const input = h("input", { type: "date", class: "muses-field muses-field-date", id });
  input.addEventListener("change", () => input.value && change(input.value, true));
  return { inputs: [input], parts: [input], show: ({ value }) => void (input.value = String(value)) };
}

/**
 * @param {ControlRow} row
 * @param {Change} change
 * @returns {Made}
 */
function dates(row, change) {
  const both = ["from", "to"].map((end) => h("input", { type: "date", class: "muses-field muses-field-date", "aria-label": `${row.title}, ${end}` }));
  for (const input of both) {
    input.addEventListener("change", () => {
      if (both.every((one) => one.value)) change(both.map((one) => one.value), true);
    });
  }
  return {
    group: true,
    inputs: both,
    parts: both,
    show: ({ value }) => both.forEach((input, i) => (input.value = String(/** @type {string[]} */ (value)[i]))),
  };
}

/**
 * Classes of a list, each in it or not; the list keeps the order of the choices.
 * @param {ControlRow} row
 * @param {Change} change
 * @returns {Made}
 */
function classes(row, change) {
  const choices = row.choices ?? [];
  const boxes = choices.map(() => h("input", { type: "checkbox" }));
  for (const box of boxes) {
    box.addEventListener("change", () => change(choices.filter((_, i) => boxes[i]?.checked).map(({ value }) => value), true));
  }
  const list = choices.map(({ label, value }, i) =>
    h("label", { class: "muses-control-class", title: String(value) }, boxes[i], h("span", {}, label)),
  );
  return {
    group: true,
    inputs: boxes,
    parts: [h("div", { class: "muses-class-list" }, list)],
    show({ value }) {
      const chosen = /** @type {unknown[]} */ (value);
      boxes.forEach((box, i) => (box.checked = chosen.includes(choices[i]?.value)));
    },
  };
}

/**
 * Palettes, each as it looks; folded, the one that is chosen.
 * @param {ControlRow} row
 * @param {Change} change
 * @param {string} id
 * @returns {Made}
 */
export function palette(row, change, id) {
  const choices = row.choices ?? [];
  const radios = choices.map(() => h("input", { type: "radio", name: id }));
  radios.forEach((radio, i) => radio.addEventListener("change", () => radio.checked && pick(choices[i])));
  const name = h("span", {});
  const strip = h("span", { class: "muses-palette", "aria-hidden": "true" });
  /** @param {ControlChoice | undefined} chosen */
  const draw = (chosen) => {
    name.textContent = chosen?.label ?? "";
    strip.style.background = chosen ? gradient(chosen) : "none";
  };
  /** @param {ControlChoice | undefined} chosen */
  const pick = (chosen) => {
    draw(chosen);
    if (chosen) change(chosen.value, true);
  };
  const list = choices.map((one, i) =>
    h("label", { class: "muses-palette-choice" }, radios[i], h("span", { class: "muses-palette", style: `background: ${gradient(one)}`, "aria-hidden": "true" }), h("span", {}, one.label)),
  );
  const element = h(
    "details",
    { class: "muses-palettes" },
    h("summary", { "aria-label": `${row.title}: show the palettes` }, strip, name),
    h("div", { class: "muses-palette-list", role: "radiogroup", "aria-label": row.title }, list),
  );
  return {
    group: true,
    inputs: radios,
    parts: [element],
    show({ value }) {
      const n = choices.findIndex((one) => one.value === value);
      radios.forEach((radio, i) => (radio.checked = i === n));
      draw(choices[n]);
    },
  };
}

/** @param {ControlChoice} choice */
const gradient = ({ stops = [] }) =>
  `linear-gradient(to right, ${stops.map(([offset, colour]) => `${colour} ${(offset * 100).toFixed(2)}%`).join(", ")})`;

/**
 * @param {ControlRow} _
 * @param {Change} change
 * @param {string} id
 * @returns {Made}
 */
function text(_, change, id) {
  const input = h("input", { type: "text", class: "muses-field muses-field-text", id });
  input.addEventListener("change", () => change(input.value, true));
  return { inputs: [input], parts: [input], show: ({ value }) => void (input.value = String(value)) };
}

/** @type {Record<string, (row: ControlRow, change: Change, id: string) => Made>} */
const MAKERS = { number, choice, switch: toggle, date, dates, classes, palette, text };
