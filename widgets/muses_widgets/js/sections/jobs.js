// @ts-check
// The user's jobs: how far each is, what it left; stopped, tried again, shown, and copied. The list comes from the page's
// server, so it is there without a kernel, and after kernel and server were started anew.

/** @import { Panel } from "../panel.js" */
/** @import { JobTold, ListedJob } from "../types" */

import { h } from "../dom.js";
import { formatBytes, formatSeconds, plural } from "../format.js";
import { addSection } from "../sections.js";
import { askJson, completeUrl, isAbort, messageOf, postJson } from "../server.js";

const NAME = "jobs";
/** Milliseconds between looks: while something goes on, and while nothing does. */
const SOON = 1500;
const LATER = 15_000;
/** Names of files that can be opened as layers. */
const OPENED = /\.(tiff?|gpkg|nc)$/i;
const LIVE = ["running", "paused", "pausing", "resuming", "cancelling"];
/** Kinds of jobs that leave a file; tables are no layers. */
const FILES = ["export", "table"];

class JobsBox {
  /** @type {ListedJob[]} */
  jobs = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  /** @type {Map<string, string>} states that were seen: what ends meanwhile is told */
  seen = new Map();
  /** Whether the list was there once: what is new after that has begun meanwhile. */
  knows = false;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.count = h("span", { class: "muses-jobs-count" });
    this.notice = h("div", { class: "muses-note muses-jobs-notice", role: "status" });
    this.list = h("ul", { class: "muses-jobs-list", "aria-label": "Jobs" });
    this.code = h("textarea", { class: "muses-jobs-code", readonly: true, rows: "6", hidden: true, "aria-label": "The job as Python", spellcheck: "false" });
    this.element = h("details", { class: "muses-jobs" }, h("summary", {}, "Jobs", this.count), this.list, this.code);
    this.element.addEventListener("toggle", () => this.ask());
    this.body = [this.element, this.notice];
  }

  connected() {
    this.ask();
  }

  remove() {
    clearTimeout(this.timer);
  }

  /** The kernel has started or ended something, or done what was asked of it. */
  told() {
    /** @type {JobTold | undefined} */
    const told = this.panel.model.get("sections")[NAME];
    if (!told?.text) return;
    const isCode = told.do === "python" && !told.failed;
    this.code.hidden = !isCode;
    if (isCode) {
      this.code.value = told.text;
      this.code.select();
    } else {
      this.tell(told.text, told.failed);
    }
    this.ask();
  }

  /** @param {string} text @param {boolean} [failed] */
  tell(text, failed = false) {
    this.notice.textContent = text;
    this.notice.classList.toggle("muses-failed", failed);
  }

  async ask() {
    clearTimeout(this.timer);
    const { signal } = this.panel;
    try {
      this.jobs = await askJson("muses:jobs", { signal });
      this.show();
    } catch (error) {
      if (isAbort(error)) return;
      if (this.element.open) this.tell(messageOf(error), true);
    }
    if (signal.aborted) return;
    const goesOn = this.jobs.some(({ state }) => LIVE.includes(state));
    if (goesOn || this.element.open) this.timer = setTimeout(() => this.ask(), goesOn ? SOON : LATER);
  }

  show() {
    const going = this.jobs.filter(({ state }) => LIVE.includes(state)).length;
    this.count.textContent = going ? ` ${going} running` : "";
    for (const { id, name, state, why } of this.jobs) {
      const before = this.seen.get(id);
      const isNews = before ? LIVE.includes(before) : this.knows;
      if (isNews && !LIVE.includes(state)) this.tell(sentence(name, state, why), state === "failed");
      this.seen.set(id, state);
    }
    this.knows = true;
    if (!this.element.open) return;
    const at = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.key;
    this.list.replaceChildren(...this.jobs.map((job) => this.draw(job)));
    if (!this.jobs.length) this.list.append(h("li", { class: "muses-note" }, "No exports yet."));
    if (at) /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-key="${at}"]`))?.focus();
  }

  /** @param {ListedJob} job */
  draw(job) {
    const { id, name, state, progress, bytes, left_out: leftOut } = job;
    const live = LIVE.includes(state);
    return h(
      "li",
      { class: `muses-job muses-job-${state}` },
      h("span", { class: "muses-job-name", title: name }, name),
      h("span", { class: "muses-job-state" }, live && state === "running" ? `${Math.floor(progress * 100)} %` : state),
      live && h("progress", { max: "1", value: progress, "aria-label": `Progress of ${name}` }),
      h(
        "div",
        { class: "muses-note" },
        [live && job.remaining ? `about ${formatSeconds(job.remaining)} left` : "", bytes && state === "done" ? formatBytes(bytes) : "", job.why ?? "", leftOut ? `${plural(leftOut, "scene")} left out` : ""].filter(Boolean).join(" · "),
      ),
      h("div", { class: "muses-job-buttons" }, ...this.buttons(job).map(([label, act]) => button(`${id} ${label}`, label, `${label}: ${name}`, act)), state === "done" && FILES.includes(job.job) && !name.endsWith(".zarr") && h("a", { class: "muses-button", href: completeUrl(`muses:exports/${id}`), download: name }, "Download")),
    );
  }

  /**
   * @param {ListedJob} job
   * @returns {[string, () => void][]}
   */
  buttons({ id, name, state, job }) {
    /** @param {string} change */
    const change = (change) => () => this.change(id, change);
    /** @param {string} what */
    const kernel = (what) => () => this.kernel(id, what);
    /** @type {[string, () => void]} */
    const python = ["Copy as Python", kernel("python")];
    if (state === "running") return [["Pause", change("pause")], ["Cancel", change("cancel")], python];
    if (state === "paused") return [["Resume", change("resume")], ["Cancel", change("cancel")], python];
    if (LIVE.includes(state)) return [python];
    if (state !== "done") return [["Retry", kernel("retry")], python];
    /** @type {[string, () => void][]} */
    const buttons = [python];
    if (FILES.includes(job)) buttons.unshift(["Run again", kernel("again")]);
    if (job === "export" && OPENED.test(name)) buttons.unshift(["Open as a layer", kernel("open")]);
    return buttons;
  }

  /** @param {string} id @param {string} change */
  async change(id, change) {
    try {
      await postJson(`muses:jobs/${id}`, JSON.stringify({ do: change }));
    } catch (error) {
      this.tell(messageOf(error), true);
    }
    await this.ask();
  }

  /** @param {string} id @param {string} what */
  kernel(id, what) {
    if (this.panel.hasKernel) this.panel.model.send({ section: NAME, do: what, id });
    else this.tell("That needs the notebook's kernel, and none is connected. Run the notebook's cells, then try again.", true);
  }
}

/** @param {string} name @param {string} state @param {string | null | undefined} why */
const sentence = (name, state, why) => (state === "done" ? `${name} is written` : `${name}: ${state}${why ? `: ${why}` : ""}`);

/** @param {string} key @param {string} text @param {string} label @param {() => void} act */
function button(key, text, label, act) {
  const made = h("button", { class: "muses-button", type: "button", "aria-label": label, "data-key": key }, text);
  made.addEventListener("click", act);
  return made;
}

addSection(NAME, (panel) => new JobsBox(panel), { order: 55 });
