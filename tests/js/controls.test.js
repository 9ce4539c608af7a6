// Controls: what is drawn of a row, what is sent when, and what is told where no kernel answers.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { openPage } from "./page.js";

const page = openPage();
for (const name of ["HTMLLabelElement", "HTMLInputElement", "Event"]) globalThis[name] = page[name];
const { Controls } = await import("../../widgets/muses_widgets/js/controls.js");

const SLIDER = { name: "threshold", title: "Threshold", kind: "number", value: 0.4, min: 0, max: 1, step: 0.01, low: 0, high: null };
const settle = () =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/** Controls of these rows, as a page draws them; what they send, and how the kernel answers. */
async function controls(rows = [SLIDER], { live = true } = {}) {
  mock.timers.enable({ apis: ["setTimeout"] });
  const traits = { rows, bound: ["Green", "Wet"], told: { state: "ok", text: "" }, own_id: "me" };
  const listeners = {};
  const sent = [];
  const model = {
    get: (name) => traits[name],
    on: (name, callback) => (listeners[name] = callback),
    off: () => undefined,
    send: (message) => sent.push(message),
    widget_manager: { get_model: async () => ({ comm_live: live }) },
  };
  const el = document.createElement("div");
  document.body.append(el);
  const abort = new AbortController();
  const made = new Controls(model, el, abort.signal);
  await settle();
  await settle();
  const tell = (changes) => {
    Object.assign(traits, changes);
    for (const name of Object.keys(changes)) listeners[`change:${name}`]?.();
  };
  return {
    made,
    el,
    sent,
    tell,
    answer: () => listeners["msg:custom"]({ kind: "done", asked: [sent.at(-1).asked] }),
    note: el.querySelector(".muses-controls-note"),
    input: (selector) => el.querySelector(selector),
    end: () => {
      abort.abort();
      mock.timers.reset();
    },
  };
}

/** What a person does with an input. */
function give(input, value, ...events) {
  if (typeof value === "boolean") input.checked = value;
  else input.value = value;
  for (const name of events) input.dispatchEvent(new page.Event(name));
}

test("a slider sends its value when it rests, and at once when it is let go of", async () => {
  const { sent, input, answer, end } = await controls();
  const slider = input("input[type=range]");
  give(slider, "0.5", "input");
  mock.timers.tick(100);
  give(slider, "0.6", "input");
  mock.timers.tick(100);
  assert.equal(sent.length, 0);
  assert.equal(input("input[type=number]").value, "0.6");
  mock.timers.tick(100);
  assert.deepEqual(sent.map(({ values }) => values), [{ threshold: 0.6 }]);
  answer();
  give(slider, "0.7", "input", "change");
  assert.deepEqual(sent.at(-1).values, { threshold: 0.7 });
  end();
});

test("while the kernel works the newest value alone waits", async () => {
  const { sent, input, answer, end } = await controls();
  const slider = input("input[type=range]");
  for (const value of ["0.1", "0.2", "0.3", "0.9"]) give(slider, value, "change");
  assert.deepEqual(sent.map(({ values }) => values.threshold), [0.1]);
  answer();
  assert.deepEqual(sent.map(({ values }) => values.threshold), [0.1, 0.9]);
  end();
});

test("what is being moved is not moved back by the answer to a value before", async () => {
  const { input, tell, answer, end } = await controls();
  const slider = input("input[type=range]");
  give(slider, "0.2", "change");
  give(slider, "0.8", "input");
  tell({ rows: [{ ...SLIDER, value: 0.2 }] });
  answer();
  assert.equal(slider.value, "0.8");
  tell({ rows: [{ ...SLIDER, value: 0.8 }] });
  answer();
  assert.equal(slider.value, "0.8");
  end();
});

test("a typed value may lie beyond the slider's end, and what is no number is left", async () => {
  const { sent, input, end } = await controls();
  const typed = input("input[type=number]");
  give(typed, "3.5", "change");
  assert.equal(sent.at(-1).values.threshold, 3.5);
  assert.equal(input("input[type=range]").max, "3.5");
  give(typed, "", "change");
  assert.equal(sent.length, 1);
  end();
});

test("every kind has an input with a name, and sends values of its type", async () => {
  const rows = [
    { name: "unit", title: "Unit", kind: "choice", value: "px", choices: [{ value: "px", label: "px" }, { value: "m", label: "metres" }] },
    { name: "keep", title: "Classes", kind: "classes", value: [4], choices: [{ value: 4, label: "vegetation" }, { value: 6, label: "water" }] },
    { name: "on", title: "On", kind: "switch", value: false },
    { name: "day", title: "Day", kind: "date", value: "2018-03-01" },
    { name: "span", title: "Span", kind: "dates", value: ["2018-03-01", "2018-04-01"] },
    { name: "cmap", title: "Palette", kind: "palette", value: "b", choices: ["a", "b"].map((value) => ({ value, label: value, stops: [[0, "#000000"], [1, "#ffffff"]] })) },
    { name: "list", title: "List", kind: "text", value: "[1]" },
  ];
  const { sent, el, answer, end } = await controls(rows);
  const at = (name, selector) => el.querySelector(`[data-name=${name}] ${selector}`);
  const said = (name, ...action) => {
    action[0]();
    const { values } = sent.at(-1);
    answer();
    return values[name];
  };
  at("unit", "select").selectedIndex = 1;
  assert.equal(said("unit", () => give(at("unit", "select"), "metres", "change")), "m");
  assert.deepEqual(said("keep", () => give(at("keep", "label:nth-child(2) input"), true, "change")), [4, 6]);
  assert.equal(said("on", () => give(at("on", "input"), true, "change")), true);
  assert.equal(said("day", () => give(at("day", "input"), "2018-05-01", "change")), "2018-05-01");
  assert.deepEqual(said("span", () => give(at("span", "input:last-of-type"), "2018-05-01", "change")), ["2018-03-01", "2018-05-01"]);
  assert.equal(said("cmap", () => give(at("cmap", "label:first-child input"), true, "change")), "a");
  assert.equal(said("list", () => give(at("list", "input"), "[1, 2]", "change")), "[1, 2]");
  for (const input of el.querySelectorAll("input, select")) {
    const name = input.getAttribute("aria-label") ?? input.closest("label")?.textContent ?? el.querySelector(`label[for=${input.id || "none"}]`)?.textContent;
    assert.ok(name, `${input.tagName} ${input.type} has no name`);
  }
  end();
});

test("what is wrong stays to be mended", async () => {
  const { input, tell, answer, end } = await controls();
  const typed = input("input[type=number]");
  give(typed, "-3", "change");
  tell({ rows: [{ ...SLIDER, problem: "threshold=-3: the parameter is at least 0" }] });
  answer();
  assert.equal(typed.value, "-3");
  give(typed, "0.4", "change");
  tell({ rows: [SLIDER] });
  answer();
  assert.equal(typed.value, "0.4");
  end();
});

test("what is wrong is said beside its input alone, and an input that is new is drawn", async () => {
  const { el, tell, note, end } = await controls();
  tell({ rows: [{ ...SLIDER, problem: "threshold=3: the parameter is at most 1" }], told: { state: "failed", text: "threshold=3: the parameter is at most 1" } });
  assert.match(el.querySelector("[role=alert]").textContent, /at most 1/);
  assert.equal(el.querySelector("input").getAttribute("aria-invalid"), "true");
  assert.ok(note.hidden);
  tell({ rows: [SLIDER, { name: "on", title: "On", kind: "switch", value: true }], told: { state: "failed", text: "disk full" } });
  assert.equal(el.querySelectorAll(".muses-control").length, 2);
  assert.equal(note.textContent, "disk full");
  end();
});

test("a kernel that does not answer is told of, and one that is not there disables the inputs", async () => {
  const { input, note, answer, end } = await controls();
  give(input("input[type=range]"), "0.2", "change");
  mock.timers.tick(3000);
  assert.match(note.textContent, /has not answered/);
  answer();
  assert.ok(note.hidden);
  end();
  const saved = await controls([SLIDER], { live: false });
  assert.ok(saved.input("input[type=range]").disabled);
  assert.match(saved.note.textContent, /values that were saved/);
  saved.end();
});
