// @ts-check
// Questions with buttons or check boxes: looked at by the kernel, or by the page's server where none runs.

/** @import { Model, QuizAnswer, QuizQuestion, QuizTraits } from "../types" */

import { h, keepKeys, marked, present } from "../dom.js";
import { findModel, hasKernel } from "../mapview.js";
import { isAbort, messageOf, postJson, ServiceError } from "../server.js";
import { pointsText, sign, triesText } from "./words.js";

/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;

export class Quiz {
  /** @type {Map<string, Question>} */
  questions = new Map();
  page = Math.random().toString(36).slice(2);
  count = 0;

  /**
   * @param {Model<QuizTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.model = model;
    this.signal = signal;
    this.root = h("section", { class: "muses-panel muses-course muses-quiz", "aria-label": "Quiz" });
    keepKeys(this.root, signal);
    el.classList.add("muses-panel-host");
    el.append(this.root);
    for (const one of model.get("questions")) {
      const made = new Question(one, this.page, (chosen) => this.check(one.id, chosen));
      this.questions.set(one.id, made);
      this.root.append(made.element);
    }
    const answered = () => this.show();
    /** @param {any} message */
    const heard = (message) => this.receive(message);
    model.on("change:answers", answered);
    model.on("msg:custom", heard);
    signal.addEventListener("abort", () => {
      model.off("change:answers", answered);
      model.off("msg:custom", heard);
      for (const one of this.questions.values()) one.wait(null);
    });
    this.show();
  }

  show() {
    const answers = this.model.get("answers");
    for (const [id, one] of this.questions) one.show(answers[id]);
  }

  /**
   * @param {string} id
   * @param {number[]} chosen
   */
  async check(id, chosen) {
    const question = /** @type {Question} */ (this.questions.get(id));
    this.count += 1;
    const asked = `${this.page} ${this.count}`;
    question.wait(asked);
    const manager = this.model.widget_manager;
    const self = await findModel(manager, this.model.get("own_id"), this.signal).catch(() => null);
    if (hasKernel(manager, self)) {
      this.model.send({ do: "check", question: id, chosen, asked });
      return;
    }
    try {
      const body = JSON.stringify({ exercise: id, chosen });
      const found = await postJson(`muses:courses/${this.model.get("course")}/answers`, body, { signal: this.signal });
      question.wait(null);
      this.model.set("answers", { ...this.model.get("answers"), [id]: found });
      this.model.save_changes();
      this.show();
    } catch (error) {
      if (isAbort(error)) return;
      question.wait(null);
      const unserved = error instanceof ServiceError && ["no-server", "no-service"].includes(error.code);
      question.say(unserved ? "Run the notebook's cells to answer: no kernel is running." : messageOf(error), true);
    }
  }

  /** @param {{ kind?: string, asked?: string, failed?: string }} message */
  receive({ kind, asked, failed }) {
    if (kind !== "checked") return;
    for (const one of this.questions.values()) {
      if (one.asked !== asked) continue;
      one.wait(null);
      one.show(this.model.get("answers")[one.of.id], true);
      if (failed) one.say(failed, true);
    }
  }
}

/** One question: its choices, and what was told of those that were made. */
class Question {
  /** @type {string | null} the message that has no answer yet */
  asked = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  patience;
  /** @type {string} */
  drawn = "";

  /**
   * @param {QuizQuestion} of
   * @param {string} page
   * @param {(chosen: number[]) => void} check
   */
  constructor(of, page, check) {
    this.of = of;
    const name = `${page}-${of.id}`;
    const kind = { type: of.several ? "checkbox" : "radio", name, onchange: () => this.changed() };
    this.inputs = of.choices.map((_, n) => h("input", { ...kind, value: String(n), "aria-describedby": `${name}-${n}` }));
    this.feedback = of.choices.map((_, n) => h("div", { class: "muses-quiz-feedback", id: `${name}-${n}` }));
    const choices = of.choices.map((text, n) =>
      h("div", { class: "muses-quiz-choice" }, h("label", {}, this.inputs[n], h("span", {}, ...marked(text))), this.feedback[n]),
    );
    const main = { type: "button", class: "muses-button muses-course-main" };
    this.state = h("span", { class: "muses-course-soft" });
    this.button = h("button", { ...main, onclick: () => check(this.chosen()) }, "Check");
    this.said = h("div", { class: "muses-quiz-said", role: "status" });
    this.element = h(
      "fieldset",
      { class: "muses-quiz-question" },
      h("legend", {}, of.title && h("strong", {}, of.title, /[.!?:…]$/.test(of.title) ? " " : ": "), ...marked(of.question)),
      of.several && h("div", { class: "muses-course-soft" }, "Several choices may be right."),
      h("div", { class: "muses-quiz-choices" }, choices),
      h("div", { class: "muses-quiz-foot" }, this.button, this.state),
      this.said,
    );
    this.ready();
  }

  chosen() {
    return this.inputs.flatMap((input, n) => (input.checked ? [n] : []));
  }

  ready() {
    this.button.disabled = this.asked !== null || !this.chosen().length;
  }

  /** Another choice was made: what was told of the last one is of that no more. */
  changed() {
    for (const one of this.feedback) one.replaceChildren();
    this.say("");
    this.element.classList.remove("muses-quiz-right", "muses-quiz-wrong");
    this.ready();
  }

  /** @param {string | null} asked the message that was sent; null: it was answered */
  wait(asked) {
    clearTimeout(this.patience);
    this.asked = asked;
    this.element.toggleAttribute("aria-busy", asked !== null);
    if (asked !== null) {
      this.patience = setTimeout(() => this.say("The kernel is busy: your answer is looked at when it is free."), ANSWER_MS);
    }
    this.ready();
  }

  /**
   * @param {QuizAnswer | undefined} answer
   * @param {boolean} [again] although it is what is shown
   */
  show(answer, again = false) {
    const drawn = JSON.stringify(answer ?? null);
    if (!again && drawn === this.drawn) return;
    this.drawn = drawn;
    const known = [answer && triesText(answer.tries), answer?.solved && "solved"];
    this.state.textContent = present([pointsText(this.of.points), ...known]).join(" · ");
    if (!answer) return;
    this.inputs.forEach((input, n) => (input.checked = answer.chosen.includes(n)));
    this.changed();
    for (const { choice, right, text } of answer.marks) {
      this.feedback[choice]?.replaceChildren(sign(right ? "right" : "wrong"), h("span", {}, ...marked(text || (right ? "Right." : "Not right."))));
    }
    this.element.classList.toggle("muses-quiz-right", answer.state === "right");
    this.element.classList.toggle("muses-quiz-wrong", answer.state !== "right");
    const head = { right: "Right.", wrong: "Not yet.", error: "Not looked at." }[answer.state];
    const text = present([answer.message, answer.note]).join(" ");
    this.said.replaceChildren(sign(answer.state), h("span", {}, h("strong", {}, head), " ", ...marked(text)));
    this.said.hidden = false;
    this.said.classList.remove("muses-error");
  }

  /**
   * @param {string} text
   * @param {boolean} [failed]
   */
  say(text, failed = false) {
    this.said.textContent = text;
    this.said.hidden = !text;
    this.said.classList.toggle("muses-error", failed);
  }
}

export default {
  /** @param {{ model: Model<QuizTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new Quiz(model, el, signal);
  },
};
