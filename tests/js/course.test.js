// The card of a course and its quizzes: what they show, what they ask of whom, and what is told where nobody answers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage, setServer } from "./page.js";

const page = openPage();
for (const name of ["HTMLInputElement", "HTMLDetailsElement", "Event", "CSS"]) globalThis[name] = page[name];
const { Card } = await import("../../widgets/muses_widgets/js/course/card.js");
const { Quiz } = await import("../../widgets/muses_widgets/js/course/quiz.js");
const { marked } = await import("../../widgets/muses_widgets/js/dom.js");

const EXERCISE = { id: "dates", title: "Dates of `s2`", kind: "number", state: "open", tries: 0, points: 0, of: 1, message: "" };
const BOOKS = [
  { file: "01-map.ipynb", title: "A map", minutes: 30, points: 0, of: 1, right: 0, exercises: [EXERCISE] },
  { file: "02-read.ipynb", title: "Read", minutes: null, points: 0, of: 0, right: 0, exercises: [] },
];
const ABOUT = {
  course: "first-steps", title: "First steps", objectives: ["See `NDVI`"], hours: 1, can_reset: true,
  notebooks: BOOKS, points: 0, of: 1, badge: { earned: false, needed: 0.7 },
};
const SOLVED = {
  ...ABOUT,
  points: 1,
  badge: { earned: true, needed: 0.7 },
  notebooks: [{ ...BOOKS[0], points: 1, right: 1, path: "a%20b/01-map.ipynb", exercises: [{ ...EXERCISE, state: "right", tries: 2, points: 1 }] }, BOOKS[1]],
  newer: "A newer version was published: `muses-lab course open first-steps`.",
  notes: [{ id: "n1", text: "Coffee at `10:30`", by: "grace", at: "2026-12-01T09:00:00+00:00" }],
};

const settle = async () => {
  for (let n = 0; n < 8; n += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
};

/** A widget's model with these traits; what it sends, and how the kernel answers. */
function modelOf(traits, live) {
  const listeners = {};
  const sent = [];
  const model = {
    get: (name) => traits[name],
    set: (name, value) => (traits[name] = value),
    save_changes: () => sent.push("saved"),
    on: (name, callback) => (listeners[name] = callback),
    off: (name) => delete listeners[name],
    send: (message) => sent.push(message),
    widget_manager: { get_model: async () => ({ comm_live: live }) },
  };
  const tell = (changes) => {
    Object.assign(traits, changes);
    for (const name of Object.keys(changes)) listeners[`change:${name}`]?.();
  };
  return { model, sent, tell, say: (message) => listeners["msg:custom"](message), listeners };
}

/** Answers what the page asks of its server: `answers` by "METHOD path"; what was asked. */
function server(answers) {
  const asked = [];
  setServer("/user/ada/");
  globalThis.location = page.location;
  globalThis.fetch = async (address, { method = "GET", body } = {}) => {
    const path = String(address).replace("/user/ada/muses/", "");
    if (path !== "health") asked.push(body && body !== "{}" ? `${method} ${path} ${body}` : `${method} ${path}`);
    const found = answers[`${method} ${path}`];
    if (found === undefined) return new Response("{}", { status: 404 });
    const { status = 200, ...json } = found;
    return new Response(JSON.stringify(json), { status, headers: { "Content-Type": "application/json" } });
  };
  return asked;
}

async function shown(Widget, traits, { live = true } = {}) {
  const made = modelOf({ own_id: "me", ...traits }, live);
  const el = document.createElement("div");
  document.body.append(el);
  const abort = new AbortController();
  const widget = new Widget(made.model, el, abort.signal);
  await settle();
  return { ...made, el, widget, find: (selector) => el.querySelector(selector), button: (text) => [...el.querySelectorAll("button")].find((one) => one.textContent === text), end: () => abort.abort() };
}

test("code between backticks is code, lines are kept, and all else is text", () => {
  const el = document.createElement("p");
  el.append(...marked("`a < b` and <b>\n`"));
  assert.deepEqual([...el.childNodes].map((one) => [one.nodeName, one.textContent]), [["CODE", "a < b"], ["#text", " and <b>"], ["BR", ""], ["#text", "`"]]);
});

test("a card shows what was saved, then what the server says", async () => {
  const asked = server({ "GET courses/first-steps/me": SOLVED });
  const { el, find, end } = await shown(Card, { about: ABOUT });
  assert.ok(el.querySelector(".muses-course-newer"));
  assert.deepEqual(asked, ["GET courses/first-steps/me"]);
  assert.match(find(".muses-course-sum").textContent, /1 hour · 1 of 1 point/);
  assert.equal(find(".muses-course-notes").textContent.includes("Coffee at 10:30"), true);
  assert.equal(find(".muses-course-newer").textContent, "A newer version was published: muses-lab course open first-steps.");
  assert.equal(find(".muses-course-name a").getAttribute("href"), "/user/ada/lab/tree/a%20b/01-map.ipynb");
  assert.equal(find("[role=progressbar]").getAttribute("aria-valuetext"), "1 of 1 point");
  assert.match(find(".muses-course-badge").textContent, /course\.badge\(\)/);
  assert.equal(el.querySelectorAll(".muses-course-right").length, 2);
  end();
});

test("without a server a card follows its kernel, and keeps the notes that it has", async () => {
  server({});
  const { find, tell, widget, end } = await shown(Card, { about: ABOUT });
  assert.match(find(".muses-course-badge").textContent, /You get the badge from 0.7 points on: 0.7 to go/);
  widget.show(SOLVED);
  tell({ about: { ...SOLVED, notes: undefined, notebooks: SOLVED.notebooks.map((one) => ({ ...one, path: undefined })) } });
  assert.ok(find(".muses-course-note"));
  assert.ok(find(".muses-course-name a"));
  end();
});

test("a new note is seen to be new, those before it are not", async () => {
  server({});
  const { el, widget, end } = await shown(Card, { about: ABOUT });
  widget.show(SOLVED);
  widget.show({ ...SOLVED, notes: [{ ...SOLVED.notes[0], id: "n2", text: "Go on" }, ...SOLVED.notes] });
  assert.deepEqual([...el.querySelectorAll(".muses-course-note")].map((one) => one.classList.contains("muses-course-fresh")), [true, false]);
  end();
});

test("a notebook is given back when one has said that it is meant, and the focus stays", async () => {
  const path = "POST courses/first-steps/reset/01-map.ipynb";
  const asked = server({ "GET courses/first-steps/me": ABOUT, [path]: { text: "as it was published" } });
  const { button, find, end } = await shown(Card, { about: ABOUT });
  button("Start again").click();
  assert.match(find(".muses-course-sure").textContent, /What you wrote is kept in a file beside it/);
  assert.match(find(".muses-course-sure").textContent, /Save it first .*: changes that are not saved are lost/);
  assert.equal(document.activeElement.textContent, "Give it back");
  button("Cancel").click();
  assert.equal(find(".muses-course-sure"), null);
  assert.equal(document.activeElement.getAttribute("aria-label"), "Start again: A map");
  button("Start again").click();
  button("Give it back").click();
  await settle();
  assert.ok(asked.includes(path));
  assert.equal(find(".muses-course-said").textContent, "as it was published");
  end();
});

test("where no server has the course the kernel gives a notebook back, and a refusal is told", async () => {
  server({});
  const { button, find, sent, say, end } = await shown(Card, { about: ABOUT });
  button("Start again").click();
  button("Give it back").click();
  await settle();
  assert.deepEqual(sent, [{ do: "reset", notebook: "01-map.ipynb", asked: "1" }]);
  say({ kind: "reset", failed: "the disk is full" });
  assert.ok(find(".muses-course-said").classList.contains("muses-error"));
  end();
  const refused = "POST courses/first-steps/reset/01-map.ipynb";
  server({ [refused]: { status: 403, code: "other", message: "not yours" } });
  const saved = await shown(Card, { about: ABOUT }, { live: false });
  saved.button("Start again").click();
  saved.button("Give it back").click();
  await settle();
  assert.equal(saved.find(".muses-course-said").textContent, "not yours");
  saved.end();
});

test("a trainer's own folder has nothing to give back", async () => {
  server({});
  const { button, end } = await shown(Card, { about: { ...ABOUT, can_reset: false } });
  assert.equal(button("Start again"), undefined);
  end();
});

const QUESTIONS = [
  { id: "why", title: "", question: "Why the `median`?", points: 1, choices: ["faster", "robust"], several: false },
  { id: "bands", title: "Bands", question: "Which?", points: 2, choices: ["red", "green", "nir"], several: true },
];
const WRONG = { chosen: [0], state: "wrong", message: "", marks: [{ choice: 0, right: false, text: "It is slower." }], tries: 1, solved: false };
const RIGHT = { chosen: [1], state: "right", message: "So it is.", marks: [{ choice: 1, right: true, text: "" }], tries: 2, solved: true };
const QUIZ = { course: "first-steps", questions: QUESTIONS, answers: {} };

test("questions have radio buttons or check boxes, each with a name, and Check waits for a choice", async () => {
  server({});
  const { el, end } = await shown(Quiz, QUIZ);
  const [why, bands] = el.querySelectorAll("fieldset");
  assert.deepEqual([...why.querySelectorAll("input")].map((one) => one.type), ["radio", "radio"]);
  assert.deepEqual([...bands.querySelectorAll("input")].map((one) => one.type), ["checkbox", "checkbox", "checkbox"]);
  assert.equal(why.querySelector("legend").textContent, "Why the median?");
  assert.equal(bands.querySelector("legend").textContent, "Bands: Which?");
  const asking = await shown(Quiz, { ...QUIZ, questions: [{ ...QUESTIONS[0], title: "Why mask?" }] });
  assert.equal(asking.find("legend").textContent, "Why mask? Why the median?");
  asking.end();
  assert.ok([...el.querySelectorAll("input")].every((one) => one.closest("label").textContent));
  assert.ok(why.querySelector("button").disabled);
  why.querySelector("input").click();
  assert.ok(!why.querySelector("button").disabled && bands.querySelector("button").disabled);
  end();
});

test("the kernel is asked, and its feedback stands at the choices until another one is made", async () => {
  const asked = server({});
  const { el, sent, tell, say, end } = await shown(Quiz, QUIZ);
  const why = el.querySelector("fieldset");
  why.querySelector("input").click();
  why.querySelector("button").click();
  await settle();
  assert.deepEqual(sent, [{ do: "check", question: "why", chosen: [0], asked: sent[0].asked }]);
  assert.deepEqual(asked, []);
  assert.ok(why.hasAttribute("aria-busy") && why.querySelector("button").disabled);
  tell({ answers: { why: WRONG } });
  say({ kind: "checked", asked: sent[0].asked });
  assert.equal(why.querySelector(".muses-quiz-feedback").textContent, "✗It is slower.");
  assert.match(why.querySelector("[role=status]").textContent, /Not yet\./);
  assert.match(why.querySelector(".muses-quiz-foot").textContent, /1 point · 1 try$/);
  why.querySelectorAll("input")[1].click();
  assert.equal(why.querySelector(".muses-quiz-feedback").textContent, "");
  tell({ answers: { why: RIGHT } });
  assert.match(why.querySelector("[role=status]").textContent, /Right\. So it is\./);
  assert.match(why.textContent, /✓Right\./);
  assert.match(why.querySelector(".muses-quiz-foot").textContent, /2 tries · solved$/);
  end();
});

test("the same wrong answer twice is told twice", async () => {
  server({});
  const { el, sent, tell, say, end } = await shown(Quiz, { ...QUIZ, answers: { why: WRONG } });
  const why = el.querySelector("fieldset");
  const [first, second] = why.querySelectorAll("input");
  assert.ok(first.checked);
  second.click();
  first.click();
  why.querySelector("button").click();
  await settle();
  tell({ answers: { why: { ...WRONG, tries: 2 } } });
  say({ kind: "checked", asked: sent[0].asked });
  assert.match(why.querySelector("[role=status]").textContent, /Not yet/);
  end();
});

test("without a kernel the server looks at an answer, and it is saved with the notebook", async () => {
  const asked = server({ "POST courses/first-steps/answers": RIGHT });
  const { el, sent, model, end } = await shown(Quiz, QUIZ, { live: false });
  el.querySelectorAll("input")[1].click();
  el.querySelector("button").click();
  await settle();
  assert.deepEqual(asked, ['POST courses/first-steps/answers {"exercise":"why","chosen":[1]}']);
  assert.deepEqual(model.get("answers"), { why: RIGHT });
  assert.deepEqual(sent, ["saved"]);
  assert.match(el.querySelector("[role=status]").textContent, /Right/);
  end();
});

test("where nobody can look at an answer it is said", async () => {
  server({});
  const { el, end } = await shown(Quiz, QUIZ, { live: false });
  el.querySelector("input").click();
  el.querySelector("button").click();
  await settle();
  assert.match(el.querySelector("[role=status]").textContent, /no kernel is running/);
  assert.ok(!el.querySelector("button").disabled);
  end();
});
