// @ts-check
// The trainer's view: a grid of participants and exercises that follows the class, and what a trainer can do with it.

import { h, marked } from "./dom.js";
import { formatBytes, formatWhen, plural } from "./format.js";

/**
 * @typedef {{id: string, title: string, points: number, kind: string}} Exercise
 * @typedef {{file: string, title: string, exercises: Exercise[]}} Book
 * @typedef {{user: string, here: boolean, seen?: string, notebook?: string, error?: string, cluster?: string,
 *   load?: number, memory?: number, answers: Record<string, [string, number, number]>, notebooks: string[]}} Participant
 * @typedef {{id: string, text: string, kind: string, by: string, at: string}} Note
 * @typedef {{course: {id: string, title: string, state: string, version: string}, notebooks: Book[], notes: Note[],
 *   participants: Participant[]}} State
 * @typedef {{state: string, exercise: string, points?: number, given?: string, message?: string, at?: string}} Answer
 */

const EVERY = 3000;
const SIGNS = /** @type {Record<string, string>} */ ({ right: "✓", wrong: "✗", error: "!" });

const root = /** @type {HTMLElement} */ (document.getElementById("class"));
const { base = "", course = "", copies = "" } = root.dataset;
const place = `${base}courses/${course}`;
const draft = `muses-note-${course}`;

/** @type {State | null} */
let state = null;
let tag = "";
let order = { by: "user", down: false };
let shown = { text: "", which: "all" };

class Refused extends Error {}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
async function ask(path, options = {}) {
  const xsrf = document.cookie.match(/(?:^|;\s*)_xsrf=([^;]*)/)?.[1] ?? "";
  const headers = { "X-XSRFToken": decodeURIComponent(xsrf), ...options.headers };
  const answer = await fetch(`${place}/class/${path}`, { ...options, headers, cache: "no-store" });
  if (answer.status === 304 || answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  // The service was started anew, and knows none of its former visitors: the hub says who this is.
  if (answer.status === 403 && /not logged in|Forbidden/.test(told.message ?? "Forbidden") && reloads()) location.reload();
  throw new Refused(told.message ?? `the hub answers ${answer.status}`);
}

/** Whether the page may be loaded anew by itself: not again and again. */
function reloads() {
  const last = Number(sessionStorage.getItem("muses-reloaded") ?? 0);
  if (Date.now() - last < 20_000) return false;
  sessionStorage.setItem("muses-reloaded", String(Date.now()));
  return true;
}

/** @param {Record<string, unknown>} wish */
async function act(wish) {
  try {
    await ask("act", { method: "POST", body: JSON.stringify(wish), headers: { "Content-Type": "application/json" } });
    tell("");
    await look();
    return true;
  } catch (error) {
    tell(String(error instanceof Error ? error.message : error));
    return false;
  }
}

const trouble = h("p", { class: "trouble", role: "alert", hidden: true });

/** @param {string} text what went wrong; empty when nothing did */
function tell(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

// What does not change while one looks

const sums = h("p", { class: "by", "aria-live": "off" });
const status = h("p", { class: "closed", hidden: true });
const notes = h("ul", { class: "notes", "aria-label": "Notes that participants see" });
const head = h("thead");
const body = h("tbody");
const foot = h("tfoot");
const grid = h("div", { class: "grid", tabindex: "0", role: "region", "aria-label": "Participants and exercises" });
const details = h("dialog", { "aria-labelledby": "details-title" });
const text = h("input", {
  name: "text", placeholder: "A note to all participants", "aria-label": "A note to all participants",
  maxlength: "1000", autocomplete: "off", value: sessionStorage.getItem(draft) ?? "",
  oninput: () => sessionStorage.setItem(draft, text.value),
});
const closing = h("button", { type: "button", onclick: () => act({ do: state?.course.state === "open" ? "close" : "open" }) });
const withAnswers = h("input", { type: "checkbox", id: "with-answers" });
const removing = h("dialog", { "aria-labelledby": "removing-title" });

/** @param {SubmitEvent} event */
async function send(event) {
  event.preventDefault();
  if (!text.value.trim() || !(await act({ do: "note", text: text.value }))) return;
  text.value = "";
  sessionStorage.removeItem(draft);
}

function build() {
  const link = `${location.origin}${place}`;
  const copy = h("button", { type: "button", onclick: async () => {
    await navigator.clipboard.writeText(link);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  } }, "Copy");
  const filter = h("input", {
    type: "search", "aria-label": "Filter by name", placeholder: "Name",
    oninput: () => { shown = { ...shown, text: filter.value.trim().toLowerCase() }; draw(); },
  });
  const which = h(
    "select", { "aria-label": "Which participants", onchange: () => { shown = { ...shown, which: which.value }; draw(); } },
    ...[["all", "All"], ["here", "Here now"], ["help", "With a wrong answer or an error"], ["done", "With everything right"]]
      .map(([value, label]) => h("option", { value }, label)),
  );
  removing.append(
    h("h2", { id: "removing-title" }, "Remove this course?"),
    h("p", {}, "Its exercises, questions, chains and scenes go from the hub for good, and nobody can join it."),
    h("p", {}, h("strong", {}, "What no longer works: "), "the course's card, exercises and maps in participants' notebooks. ",
      "To let them go on and only keep new ones out, close the course instead."),
    h("p", {}, h("strong", {}, "What stays: "), "the notebooks in participants' own folders with what they wrote, and all answers, ",
      "results and collected notebooks, unless you tick this:"),
    h("p", {}, h("label", { for: "with-answers" }, withAnswers, " Delete all answers, results and collected notebooks as well")),
    h("div", { class: "bar" },
      h("button", { type: "button", class: "danger", onclick: remove }, "Remove"),
      h("button", { type: "button", onclick: () => removing.close() }, "Cancel")),
  );
  grid.append(h("table", {}, h("caption", { class: "sr" }, "Participants and exercises"), head, body, foot));
  root.replaceChildren(
    h("div", { class: "bar" }, h("span", {}, "The link for participants: ", h("a", { href: link }, link)), copy),
    status, trouble, sums,
    h("div", { class: "bar" },
      h("form", { class: "note-form", onsubmit: send }, text, h("button", { class: "main" }, "Send")),
      h("button", { type: "button", onclick: () => act({ do: "start" }) }, "Start clusters"),
      h("button", { type: "button", onclick: () => act({ do: "stop" }) }, "Stop clusters")),
    notes,
    h("div", { class: "bar" },
      h("label", {}, "Show ", which), filter, h("span", { class: "gap" }),
      h("a", { class: "button", href: `${place}/class/results.csv` }, "Results (CSV)"),
      h("a", { class: "button", href: `${place}/class/notebooks.zip` }, "Notebooks (ZIP)"),
      closing,
      h("button", { type: "button", class: "danger", onclick: () => removing.showModal() }, "Remove…")),
    grid, details, removing,
  );
}

async function remove() {
  const answers = withAnswers.checked;
  removing.close();
  if ((await act({ do: "remove", answers })) && answers) location.assign(`${base}courses`);
}

// What follows the class

/** @param {State} now */
function exercises(now) {
  return now.notebooks.flatMap((book) => book.exercises.map((one, n) => ({ ...one, first: n === 0 })));
}

/** @param {Participant} one */
const points = (one) => Object.values(one.answers).reduce((sum, [, , earned]) => sum + earned, 0);

/** @param {Participant} one @param {string} by */
function key(one, by) {
  if (by === "points") return points(one);
  if (by === "seen") return one.here ? Infinity : Date.parse(one.seen ?? "1970-01-01");
  if (by === "error") return one.error ? 1 : 0;
  if (by === "load") return one.load ?? 0;
  if (by.startsWith("of:")) return one.answers[by.slice(3)]?.[2] ?? -1;
  return one.user.toLowerCase();
}

/** @param {State} now @returns {Participant[]} */
function rows(now) {
  const all = exercises(now);
  const wanted = now.participants.filter((one) => {
    if (shown.text && !one.user.toLowerCase().includes(shown.text)) return false;
    if (shown.which === "here") return one.here;
    if (shown.which === "help") {
      return Boolean(one.error) || Object.values(one.answers).some(([how]) => how !== "right");
    }
    return shown.which !== "done" || all.every((exercise) => one.answers[exercise.id]?.[0] === "right");
  });
  const sign = order.down ? -1 : 1;
  return wanted.sort((a, b) => {
    const [x, y] = [key(a, order.by), key(b, order.by)];
    return x === y ? a.user.localeCompare(b.user) : sign * (x < y ? -1 : 1);
  });
}

/** @param {string} label @param {string} by @param {string} kind @param {string} [title] @param {number} [span] */
function column(label, by, kind, title, span) {
  const sorted = order.by === by ? (order.down ? "descending" : "ascending") : null;
  const sort = () => {
    order = { by, down: order.by === by ? !order.down : by !== "user" };
    draw(true);
  };
  const mark = sorted ? (order.down ? " ↓" : " ↑") : "";
  const button = h("button", { type: "button", title, onclick: sort, "data-by": by }, `${label}${mark}`);
  return h("th", { scope: "col", class: kind, "aria-sort": sorted, rowspan: span ? String(span) : null }, button);
}

let drawn = "";

/** @param {State} now */
function drawHead(now) {
  const wanted = JSON.stringify([now.notebooks, order]);
  if (wanted === drawn) return;
  drawn = wanted;
  const focus = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.by : null;
  const books = now.notebooks.filter((book) => book.exercises.length);
  head.replaceChildren(
    h("tr", {},
      column("Participant", "user", "who", "", 2), column("Seen", "seen", "", "", 2),
      h("th", { scope: "col", rowspan: "2" }, "Notebook"), column("Last error", "error", "", "", 2),
      column("Cluster", "load", "", "", 2), column("Points", "points", "number", "", 2),
      ...books.map((book) => h("th", { scope: "colgroup", class: "group", colspan: String(book.exercises.length) }, book.title,
        h("small", {}, book.file)))),
    h("tr", {}, ...exercises(now).map((one) =>
      column(one.title, `of:${one.id}`, `exercise${one.first ? " first" : ""}`, `${one.id}: ${plural(one.points, "point")}`))),
  );
  if (focus) /** @type {HTMLElement | null} */ (head.querySelector(`[data-by="${CSS.escape(focus)}"]`))?.focus();
}

/** @param {string} when */
function ago(when) {
  const seconds = Math.max(0, (Date.now() - Date.parse(when)) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h ago` : new Date(when).toLocaleDateString();
}

/** @param {Participant} one */
function cluster(one) {
  if (!one.cluster) return [];
  const load = Math.round(100 * (one.load ?? 0));
  const memory = one.memory ? `, ${formatBytes(one.memory)}` : "";
  const bar = h("i");
  bar.style.width = `${load}%`;
  return [`${one.cluster}${load ? ` ${load} %` : ""}${memory}`, load ? h("span", { class: "meter", "aria-hidden": "true" }, bar) : ""];
}

/** @param {Participant} one @param {Exercise & {first: boolean}} exercise */
function cell(one, exercise) {
  const [how, tries, earned] = one.answers[exercise.id] ?? ["", 0, 0];
  const kind = how === "error" ? "failed" : how;
  const told = how ? `${how} after ${tries === 1 ? "one try" : `${tries} tries`}, ${earned} of ${exercise.points}` : "not tried";
  const sign = h("span", { "aria-hidden": "true" }, how ? `${SIGNS[how] ?? "?"} ${tries}` : "·");
  return h("td", { class: `${kind}${exercise.first ? " first" : ""}`, title: told }, sign, h("span", { class: "sr" }, told));
}

/** @param {State} now @param {Participant} one */
function row(now, one) {
  const all = exercises(now);
  const most = all.reduce((sum, exercise) => sum + exercise.points, 0);
  const title = now.notebooks.find((book) => book.file === one.notebook)?.title;
  const name = h("button", { type: "button", "data-user": one.user, onclick: () => open(one.user) }, one.user);
  return h("tr", {},
    h("th", { scope: "row", class: "who" }, name),
    h("td", { class: one.here ? "" : "away" }, one.here ? "here" : one.seen ? ago(one.seen) : "never"),
    h("td", {}, title ?? one.notebook ?? ""),
    h("td", { class: "error" }, one.error ?? ""),
    h("td", {}, ...cluster(one)),
    h("td", { class: "number" }, `${+points(one).toFixed(2)} of ${most}`),
    ...all.map((exercise) => cell(one, exercise)));
}

/** @type {Map<string, {told: string, row: HTMLTableRowElement}>} */
let kept = new Map();

/** @param {boolean} [moved] whether rows may have another order */
function draw(moved = false) {
  const now = state;
  if (!now) return;
  drawHead(now);
  const all = exercises(now);
  const wanted = rows(now);
  const next = new Map();
  for (const one of wanted) {
    const told = JSON.stringify([one, now.notebooks, one.here || !one.seen ? "" : ago(one.seen)]);
    const before = kept.get(one.user);
    next.set(one.user, before?.told === told ? before : { told, row: row(now, one) });
  }
  const focus = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.user : null;
  const list = [...next.values()].map((entry) => entry.row);
  if (moved || list.length !== body.children.length || list.some((one, n) => one !== body.children[n])) {
    body.replaceChildren(...list);
    if (focus) /** @type {HTMLElement | null} */ (body.querySelector(`[data-user="${CSS.escape(focus)}"]`))?.focus();
  }
  kept = next;
  if (!list.length) {
    const columns = String(6 + all.length);
    const none = now.participants.length ? "Nobody is like that." : "Nobody has joined yet: give them the link above.";
    body.replaceChildren(h("tr", {}, h("td", { colspan: columns, class: "away" }, none)));
  }
  foot.replaceChildren(h("tr", {},
    h("th", { scope: "row", class: "who" }, "Right"), h("td", { colspan: "5" }, `of ${plural(wanted.length, "participant")} shown`),
    ...all.map((exercise) => {
      const right = wanted.filter((one) => one.answers[exercise.id]?.[0] === "right").length;
      return h("td", { class: exercise.first ? "first" : "" }, `${right} of ${wanted.length}`);
    })));
  drawAbove(now);
}

/** @param {State} now */
function drawAbove(now) {
  const here = now.participants.filter((one) => one.here).length;
  const most = now.participants.length * exercises(now).reduce((sum, one) => sum + one.points, 0);
  const earned = +now.participants.reduce((sum, one) => sum + points(one), 0).toFixed(2);
  const broken = now.participants.filter((one) => one.error).length;
  sums.textContent =
    `${plural(now.participants.length, "participant")}, ${here} here now · ${earned} of ${plural(most, "point")} · ` +
    `${plural(broken, "participant")} with an error`;
  const told = { closed: "The course is closed: nobody new can join it.", removed: "The course was removed; its results are kept until they are deleted." };
  status.textContent = told[/** @type {"closed"} */ (now.course.state)] ?? "";
  status.hidden = now.course.state === "open";
  closing.textContent = now.course.state === "open" ? "Close the course" : "Open the course again";
  closing.hidden = now.course.state === "removed";
  const wanted = JSON.stringify(now.notes);
  if (notes.dataset.told !== wanted) {
    notes.dataset.told = wanted;
    notes.replaceChildren(...now.notes.map((note) => h("li", {},
      h("span", {}, note.kind === "note" ? note.text : `All clusters were told to ${note.kind}`),
      h("time", { datetime: note.at }, formatWhen(note.at)),
      note.kind === "note" &&
        h("button", { type: "button", "aria-label": `Take back: ${note.text}`, onclick: () => act({ do: "unnote", id: note.id }) }, "Take back"))));
  }
}

// One participant

/** @param {string} user */
async function open(user) {
  const close = h("button", { type: "button", onclick: () => details.close() }, "Close");
  const title = h("h2", { id: "details-title" }, user);
  details.replaceChildren(title, h("p", {}, "Loading…"), close);
  if (!details.open) details.showModal();
  try {
    const answer = await ask(`answers?user=${encodeURIComponent(user)}`);
    /** @type {{answers: Answer[], notebooks: {file: string, at: string}[]}} */
    const { answers, notebooks } = await answer.json();
    const one = state?.participants.find((entry) => entry.user === user);
    const titles = Object.fromEntries((state ? exercises(state) : []).map((exercise) => [exercise.id, exercise.title]));
    const cells = answers.reverse().map((entry) => h("tr", {},
      h("td", { class: "short" }, entry.at ? formatWhen(entry.at) : ""),
      h("td", { title: entry.exercise }, titles[entry.exercise] ?? entry.exercise),
      h("td", { class: "short" }, entry.state), h("td", {}, entry.given ?? ""), h("td", {}, ...marked(entry.message ?? ""))));
    const heads = ["Time", "Exercise", "State", "Answer", "What they were told"].map((label) => h("th", { scope: "col" }, label));
    details.replaceChildren(
      title,
      one?.error ? h("p", { class: "trouble" }, one.error) : "",
      h("h3", {}, "Notebooks, as they were saved last"),
      notebooks.length
        ? h("ul", {}, ...notebooks.map((book) => h("li", {},
          h("a", { target: "_blank", rel: "opener", href: `${copies}/${encodeURIComponent(user)}/${book.file.split("/").map(encodeURIComponent).join("/")}` },
            `Open a copy of ${book.file}`), ` saved ${ago(book.at)}`)))
        : h("p", { class: "by" }, "None was saved yet."),
      h("h3", {}, "Answers"),
      answers.length
        ? h("div", { class: "grid", tabindex: "0", role: "region", "aria-label": "Answers" },
          h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...cells)))
        : h("p", { class: "by" }, "None yet."),
      h("div", { class: "bar" }, close),
    );
  } catch (error) {
    details.replaceChildren(title, h("p", { class: "trouble" }, String(error instanceof Error ? error.message : error)), close);
  }
}

// It follows

async function look() {
  try {
    const answer = await ask("state", tag ? { headers: { "If-None-Match": tag } } : {});
    if (answer.status !== 304) {
      state = await answer.json();
      tag = answer.headers.get("ETag") ?? "";
    }
    tell("");
    draw();
  } catch (error) {
    const gone = "The hub does not answer; what is below is as it was. It is asked again and again.";
    tell(error instanceof Refused ? error.message : gone);
  }
}

async function follow() {
  if (!document.hidden) await look();
  setTimeout(follow, EVERY);
}

build();
follow();
document.addEventListener("visibilitychange", () => document.hidden || look());
