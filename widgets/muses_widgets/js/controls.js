// @ts-check
// Controls of parameters: an input for each row that the kernel tells, one message at a time, the newest values in it.

/** @import { ControlRow, ControlsTraits, Model } from "./types" */

import { fieldOf } from "./controlfields.js";
import { h, keepKeys } from "./dom.js";
import { findModel, hasKernel } from "./mapview.js";

/** Milliseconds that an input rests before its value is sent. */
const REST_MS = 150;
/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;
/** Milliseconds after which it is said that it works. */
const WORKING_MS = 400;

/** @typedef {ReturnType<typeof fieldOf>} Field */

export class Controls {
  /** @type {Map<string, Field>} by the parameter's name */
  fields = new Map();
  /** @type {Record<string, unknown>} values that have not been sent */
  waiting = {};
  /** @type {string | null} the message that has no answer yet */
  asked = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  rest;
  /** @type {ReturnType<typeof setTimeout>[]} */
  patience = [];
  count = 0;
  page = Math.random().toString(36).slice(2);
  live = true;

  /**
   * @param {Model<ControlsTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.model = model;
    this.signal = signal;
    this.of = h("div", { class: "muses-controls-of" });
    this.list = h("div", { class: "muses-controls-rows" });
    this.note = h("div", { class: "muses-note muses-controls-note", role: "status" });
    this.root = h("section", { class: "muses-panel muses-controls", "aria-label": "Controls" }, this.of, this.list, this.note);
    keepKeys(this.root, signal);
    el.classList.add("muses-panel-host");
    el.append(this.root);
    /** @type {[string, (value: any) => void][]} */
    const heard = [
      ["change:rows", () => this.show()],
      ["change:bound", () => this.show()],
      ["change:told", () => this.tell()],
      ["msg:custom", (message) => this.receive(message)],
    ];
    for (const [name, callback] of heard) model.on(name, callback);
    signal.addEventListener("abort", () => {
      for (const [name, callback] of heard) model.off(name, callback);
      clearTimeout(this.rest);
      this.wait(false);
    });
    this.show();
    this.tell();
    this.look();
  }

  /** Whether a kernel is there that could do anything; without one the controls show what they were saved with. */
  async look() {
    const manager = this.model.widget_manager;
    const self = await findModel(manager, this.model.get("own_id"), this.signal).catch(() => null);
    this.live = hasKernel(manager, self);
    for (const field of this.fields.values()) field.enable(this.live);
    this.root.classList.toggle("muses-controls-off", !this.live);
    this.tell();
  }

  show() {
    const bound = this.model.get("bound");
    this.of.textContent = bound.length ? `Changes ${bound.join(", ")}` : "";
    this.of.hidden = !bound.length;
    const rows = this.model.get("rows");
    for (const name of [...this.fields.keys()]) if (!rows.some((row) => row.name === name)) this.fields.delete(name);
    for (const row of rows) {
      let field = this.fields.get(row.name);
      if (!field || field.kind !== row.kind) {
        field = fieldOf(row, (value, now) => this.changed(row.name, value, now));
        field.enable(this.live);
        field.show(row);
        this.fields.set(row.name, field);
      }
      // What somebody is moving is not moved back to where the kernel is, nor what is wrong before it was mended.
      if (!(row.name in this.waiting) && this.asked === null && !row.problem) field.show(row);
      field.problem(row.problem ?? "", row.differs ?? false);
    }
    const wanted = rows.flatMap((row) => this.fields.get(row.name)?.element ?? []);
    const there = [...this.list.children];
    if (wanted.length !== there.length || wanted.some((element, i) => element !== there[i])) this.list.replaceChildren(...wanted);
  }

  /**
   * @param {string} name
   * @param {unknown} value
   * @param {boolean} now whether it is let go of
   */
  changed(name, value, now) {
    this.waiting[name] = value;
    clearTimeout(this.rest);
    if (now) this.send();
    else this.rest = setTimeout(() => this.send(), REST_MS);
  }

  /** Sends what waits, unless an answer is still to come: then with it. */
  send() {
    if (this.asked !== null || !Object.keys(this.waiting).length) return;
    this.count += 1;
    this.asked = `${this.page} ${this.count}`;
    const values = this.waiting;
    this.waiting = {};
    this.model.send({ do: "set", values, asked: this.asked });
    this.wait(true);
  }

  /** @param {boolean} begins */
  wait(begins) {
    for (const timer of this.patience) clearTimeout(timer);
    this.patience = [];
    this.root.classList.remove("muses-controls-busy");
    if (!begins) return;
    this.patience.push(
      setTimeout(() => this.root.classList.add("muses-controls-busy"), WORKING_MS),
      setTimeout(() => this.say("The kernel has not answered yet. If it is busy, the values come when it is free."), ANSWER_MS),
    );
  }

  /** @param {{ kind?: string, asked?: string[] }} message */
  receive({ kind, asked }) {
    if (kind !== "done" || this.asked === null || !asked?.includes(this.asked)) return;
    this.asked = null;
    this.wait(false);
    this.tell();
    this.show();
    this.send();
  }

  tell() {
    const { state, text } = this.model.get("told");
    if (!this.live) this.say("These are the values that were saved. Run the notebook's cells to change them.");
    else this.say(state === "failed" ? (text ?? "") : "", state === "failed");
  }

  /**
   * @param {string} text
   * @param {boolean} [failed]
   */
  say(text, failed = false) {
    // What is wrong with one value is said beside it.
    const beside = this.model.get("rows").some((row) => row.problem === text);
    this.note.textContent = beside ? "" : text;
    this.note.hidden = !this.note.textContent;
    this.note.classList.toggle("muses-error", failed);
  }
}

export default {
  /** @param {{ model: Model<ControlsTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new Controls(model, el, signal);
  },
};
