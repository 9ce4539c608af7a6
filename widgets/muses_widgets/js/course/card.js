// @ts-check
// The card of a course: drawn of what was saved, then of what the page's server says, every few seconds.

/** @import { CardTraits, CourseNotebookState, CourseNote, CourseState, Model } from "../types" */

import { h, keepKeys, marked, present } from "../dom.js";
import { plural } from "../format.js";
import { findModel, hasKernel } from "../mapview.js";
import { askJson, baseUrl, isAbort, messageOf, postJson, ServiceError } from "../server.js";
import { pointsText, sign, triesText } from "./words.js";

/** Milliseconds between two looks at what is new: a trainer's note is there within ten seconds. */
const LOOK_MS = 5000;
/** Milliseconds until a server that did not answer, or knows no such course, is asked again. */
const LATER_MS = 30000;

/** Codes of failures after which the kernel is asked. */
const UNSERVED = ["no-server", "no-service", "unreachable", "not-found"];

export class Card {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  /** @type {string | null} file of the notebook for which it is asked whether it is meant */
  asked = null;
  /** @type {{ text: string, failed: boolean } | null} what became of the last wish */
  said = null;
  /** @type {Set<string>} files of notebooks whose exercises are shown */
  open = new Set();
  /** @type {Set<string> | null} ids of the notes that were there before */
  known = null;
  count = 0;
  /** What is drawn, as text. */
  drawn = "";

  /**
   * @param {Model<CardTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.model = model;
    this.signal = signal;
    /** @type {CourseState} */
    this.now = model.get("about");
    this.head = h("header", { class: "muses-course-head" });
    this.objectives = h("div", { class: "muses-course-objectives" });
    this.newer = h("div", { class: "muses-course-newer", role: "status" });
    this.notes = h("div", { class: "muses-course-notes", role: "log", "aria-label": "Notes of the trainer" });
    this.list = h("ul", { class: "muses-course-notebooks", "aria-label": "Notebooks" });
    this.badge = h("div", { class: "muses-course-badge" });
    this.status = h("div", { class: "muses-course-said", role: "status" });
    this.root = h(
      "section",
      { class: "muses-panel muses-course", "aria-label": `Course: ${this.now.title}` },
      this.head,
      this.newer,
      this.notes,
      this.objectives,
      this.list,
      this.status,
      this.badge,
    );
    keepKeys(this.root, signal);
    el.classList.add("muses-panel-host");
    el.append(this.root);
    const taken = () => this.show(model.get("about"));
    /** @param {any} message */
    const heard = (message) => this.receive(message);
    model.on("change:about", taken);
    model.on("msg:custom", heard);
    const seen = () => {
      if (!document.hidden) this.look();
    };
    document.addEventListener("visibilitychange", seen);
    signal.addEventListener("abort", () => {
      model.off("change:about", taken);
      model.off("msg:custom", heard);
      document.removeEventListener("visibilitychange", seen);
      clearTimeout(this.timer);
    });
    this.show(this.now);
    this.look();
  }

  /** Asks the server what is new, and again in a while; nobody is told where there is none: the kernel tells as well. */
  async look() {
    clearTimeout(this.timer);
    let later = LOOK_MS;
    try {
      if (!document.hidden) this.show(await askJson(`muses:courses/${this.now.course}/me`, { signal: this.signal }));
    } catch (error) {
      if (isAbort(error)) return;
      later = LATER_MS;
      if (error instanceof ServiceError && error.code === "no-server") return;
    }
    if (!this.signal.aborted) this.timer = setTimeout(() => this.look(), later);
  }

  /** @param {CourseState} state the kernel knows nothing of notes and of places on the server: they stay */
  show(state) {
    const before = new Map(this.now.notebooks.map((one) => [one.file, one.path]));
    this.now = {
      ...state,
      notes: state.notes ?? this.now.notes,
      notebooks: state.notebooks.map((one) => ({ ...one, path: one.path ?? before.get(one.file) })),
    };
    const drawn = JSON.stringify(this.now);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.showHead();
    this.newer.hidden = !this.now.newer;
    this.newer.replaceChildren(...marked(this.now.newer ?? ""));
    this.showNotes();
    this.objectives.hidden = !this.now.objectives.length;
    this.objectives.replaceChildren(
      h("h4", {}, "What you will learn"),
      h("ul", {}, this.now.objectives.map((one) => h("li", {}, ...marked(one)))),
    );
    this.showNotebooks();
    this.showBadge();
  }

  showHead() {
    const { title, hours, points, of } = this.now;
    this.head.replaceChildren(
      h("h3", {}, title),
      h("div", { class: "muses-course-sum" }, listed(hours !== null && plural(hours, "hour"), of > 0 && `${points} of ${pointsText(of)}`)),
      bar(points, of, "All points"),
    );
  }

  showNotes() {
    const notes = this.now.notes ?? [];
    const known = this.known;
    if (this.now.notes) this.known = new Set(notes.map((note) => note.id)); // else nobody has told of any yet
    this.notes.hidden = !notes.length;
    this.notes.replaceChildren(...notes.slice(0, 5).map((note) => noteOf(note, known !== null && !known.has(note.id))));
  }

  showNotebooks() {
    const { activeElement } = document;
    const focused = activeElement instanceof HTMLElement && this.list.contains(activeElement) ? activeElement.dataset.key : undefined;
    this.list.replaceChildren(...this.now.notebooks.map((one) => this.notebook(one)));
    if (focused) this.focus(focused);
  }

  /** @param {string} key */
  focus(key) {
    const found = [...this.list.querySelectorAll("[data-key]")].find((one) => one instanceof HTMLElement && one.dataset.key === key);
    if (found instanceof HTMLElement) found.focus();
  }

  /** @param {CourseNotebookState} one */
  notebook(one) {
    const total = one.exercises.length;
    const done = total > 0 && one.right === total;
    const begun = one.exercises.some((exercise) => exercise.tries > 0);
    const about = listed(one.minutes !== null && `${one.minutes} min`, total > 0 && `${one.right} of ${plural(total, "exercise")} right`);
    const link = { href: one.path && addressOf(one.path), target: "_blank", rel: "noopener", "data-key": `open ${one.file}` };
    const progress = total > 0 && [bar(one.points, one.of, `Points of ${one.title}`), soft(`${one.points} of ${pointsText(one.of)}`)];
    return h(
      "li",
      { class: "muses-course-notebook" },
      sign(done ? "right" : begun ? "begun" : "open"),
      h("div", { class: "muses-course-name" }, h("strong", {}, one.path ? h("a", link, one.title) : one.title), h("div", {}, soft(about))),
      h("div", { class: "muses-course-progress" }, progress),
      h("div", { class: "muses-course-tools" }, this.now.can_reset && this.again(one)),
      this.asked === one.file && this.question(one),
      total > 0 && this.exercises(one),
    );
  }

  /** @param {CourseNotebookState} one */
  again(one) {
    const asked = this.asked === one.file;
    const about = { "aria-label": `Start again: ${one.title}`, "aria-expanded": String(asked), "data-key": `again ${one.file}` };
    const onclick = () => this.wish(asked ? null : one.file);
    return h("button", { type: "button", class: "muses-button", ...about, onclick }, "Start again");
  }

  /** @param {CourseNotebookState} one */
  exercises(one) {
    return h(
      "details",
      {
        class: "muses-course-exercises",
        open: this.open.has(one.file),
        /** @param {Event} event */
        ontoggle: (event) => {
          if (/** @type {HTMLDetailsElement} */ (event.target).open) this.open.add(one.file);
          else this.open.delete(one.file);
        },
      },
      h("summary", { "data-key": `exercises ${one.file}` }, "Exercises"),
      h("ul", {}, one.exercises.map(exerciseOf)),
    );
  }

  /** @param {CourseNotebookState} one */
  question(one) {
    const yes = { type: "button", class: "muses-button muses-course-main", "data-key": `yes ${one.file}` };
    const no = { type: "button", class: "muses-button", "data-key": `no ${one.file}` };
    return h(
      "div",
      { class: "muses-course-sure", role: "group", "aria-label": `Start ${one.title} again?` },
      h(
        "p",
        {},
        h("code", {}, one.file),
        " becomes as it was published. What you wrote is kept in a file beside it; your answers and points stay.",
      ),
      h("p", {}, "Is it open? Save it first (Ctrl+S, on a Mac ⌘S): changes that are not saved are lost."),
      h(
        "div",
        { class: "muses-course-tools" },
        h("button", { ...yes, onclick: () => this.reset(one.file) }, "Give it back"),
        h("button", { ...no, onclick: () => this.wish(null, `again ${one.file}`) }, "Cancel"),
      ),
    );
  }

  /**
   * Asks whether a notebook is to be given back, or takes the question away.
   * @param {string | null} file
   * @param {string} [then] the key of what has the focus then
   */
  wish(file, then) {
    this.asked = file;
    this.say("");
    this.showNotebooks();
    const key = then ?? (file === null ? null : `yes ${file}`);
    if (key) this.focus(key);
  }

  /** @param {string} file */
  async reset(file) {
    this.wish(null, `again ${file}`);
    this.say("Giving it back …");
    try {
      const path = file.split("/").map(encodeURIComponent).join("/");
      this.say((await postJson(`muses:courses/${this.now.course}/reset/${path}`, "{}", { signal: this.signal })).text);
    } catch (error) {
      if (isAbort(error)) return;
      if (error instanceof ServiceError && UNSERVED.includes(error.code) && (await this.hasKernel())) {
        this.count += 1;
        this.model.send({ do: "reset", notebook: file, asked: String(this.count) });
      } else this.say(messageOf(error), true);
    }
    this.look();
  }

  async hasKernel() {
    const manager = this.model.widget_manager;
    return hasKernel(manager, await findModel(manager, this.model.get("own_id"), this.signal).catch(() => null));
  }

  /** @param {{ kind?: string, text?: string, failed?: string }} message */
  receive({ kind, text, failed }) {
    if (kind === "reset") this.say(failed ?? text ?? "", Boolean(failed));
  }

  /**
   * @param {string} text
   * @param {boolean} [failed]
   */
  say(text, failed = false) {
    this.status.textContent = text;
    this.status.hidden = !text;
    this.status.classList.toggle("muses-error", failed);
  }

  showBadge() {
    const { badge, points, of } = this.now;
    this.badge.hidden = !(of > 0);
    this.badge.classList.toggle("muses-course-earned", badge.earned);
    const left = +(badge.needed - points).toFixed(2);
    const text = badge.earned
      ? "You have the badge: run `course.badge()` in a cell to see and save it."
      : `You get the badge from ${pointsText(badge.needed)} on: ${left} to go.`;
    this.badge.replaceChildren(
      h("span", { class: "muses-course-star", "aria-hidden": "true" }, badge.earned ? "★" : "☆"),
      h("span", {}, ...marked(text)),
    );
  }
}

/**
 * What there is of some texts, in a line.
 * @param {...(string | false)} texts
 */
const listed = (...texts) => present(texts).join(" · ");

/** @param {string} text */
const soft = (text) => h("span", { class: "muses-course-soft" }, text);

/** @param {CourseNotebookState["exercises"][number]} one */
function exerciseOf(one) {
  const tries = one.tries ? triesText(one.tries) : "not tried";
  return h("li", {}, sign(one.state), h("span", {}, ...marked(one.title)), soft(listed(pointsText(one.of), tries)));
}

/**
 * @param {CourseNote} note
 * @param {boolean} fresh
 */
function noteOf(note, fresh) {
  const at = new Date(note.at);
  const time = Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return h(
    "div",
    { class: fresh ? "muses-course-note muses-course-fresh" : "muses-course-note" },
    h("div", {}, soft(listed(note.by || "Trainer", time))),
    h("div", {}, ...marked(note.text)),
  );
}

/**
 * @param {number} points
 * @param {number} of
 * @param {string} label
 */
function bar(points, of, label) {
  const share = of > 0 ? Math.min(1, points / of) : 0;
  const values = { "aria-valuemin": "0", "aria-valuemax": String(of), "aria-valuenow": String(points) };
  const about = { role: "progressbar", "aria-label": label, ...values, "aria-valuetext": `${points} of ${pointsText(of)}` };
  return h("div", { class: "muses-course-bar", ...about }, h("div", { style: `width: ${(100 * share).toFixed(1)}%` }));
}

/**
 * Where this page's server shows a file: JupyterLab, or Notebook 7 where the page is of that.
 * @param {string} path quoted
 */
function addressOf(path) {
  const base = baseUrl();
  const rest = window.location.pathname.slice(base.length);
  return base + (rest.startsWith("notebooks/") ? "notebooks/" : "lab/tree/") + path;
}

export default {
  /** @param {{ model: Model<CardTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new Card(model, el, signal);
  },
};
