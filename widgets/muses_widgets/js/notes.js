// @ts-check
// What trainers and the hub's administrators tell everybody: a bar at the head of every panel of the page.

import { h } from "./dom.js";
import { askJson } from "./server.js";

/** @typedef {{ id: string, text: string, by: string, at: string, until?: string }} Note */

/** Milliseconds until the first question: the map's first tiles go before. */
const FIRST_MS = 2000;
/** Milliseconds between two looks: a note is there within ten seconds. */
const LOOK_MS = 5000;
/** Milliseconds until a server that did not answer is asked again. */
const LATER_MS = 30_000;

export class NoteBoard {
  /** @type {Note[]} */
  notes = [];
  /** @type {Set<string>} ids of those that were put away */
  away = new Set();
  /** @type {Map<AbortSignal, (notes: Note[]) => void>} */
  listeners = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  /** Whether there is nobody to ask: a server without a hub. */
  alone = false;

  /**
   * Calls `listener` with the notes that hold, now and whenever they change.
   * @param {(notes: Note[]) => void} listener
   * @param {AbortSignal} signal
   */
  listen(listener, signal) {
    this.listeners.set(signal, listener);
    signal.addEventListener("abort", () => this.listeners.delete(signal));
    listener(this.notes);
    if (!this.alone) this.timer ??= setTimeout(() => this.look(), FIRST_MS);
  }

  async look() {
    let later = LOOK_MS;
    try {
      if (!document.hidden) this.take(await askJson("muses:notes", { seconds: 10 }));
    } catch (error) {
      console.debug("[muses] notes are not known:", error); // the tiles themselves tell of a lost server
      later = LATER_MS;
    }
    const over = this.alone || !this.listeners.size;
    this.timer = over ? undefined : setTimeout(() => this.look(), later);
  }

  /** @param {{ hub: boolean, notes: Note[] }} answer */
  take({ hub, notes }) {
    this.alone = !hub;
    const shown = notes.filter((note) => !this.away.has(note.id));
    if (JSON.stringify(shown) === JSON.stringify(this.notes)) return;
    this.notes = shown;
    for (const listener of this.listeners.values()) listener(shown);
  }

  /** @param {string} id */
  putAway(id) {
    this.away.add(id);
    this.take({ hub: !this.alone, notes: this.notes });
  }
}

/** All panels of the page share one, whichever of them came first. */
export function noteBoard() {
  const page = /** @type {Record<symbol, NoteBoard | undefined>} */ (/** @type {unknown} */ (window));
  return (page[Symbol.for("muses-lab.notes.1")] ??= new NoteBoard());
}

/**
 * The bar of one panel; without notes nothing is seen of it.
 * @param {AbortSignal} signal
 * @param {NoteBoard} [board]
 */
export function notesBar(signal, board = noteBoard()) {
  const bar = h("div", { class: "muses-bulletins", role: "status", "aria-label": "Notes to everybody" });
  board.listen((notes) => {
    bar.replaceChildren(...notes.map((note) => line(note, () => board.putAway(note.id))));
  }, signal);
  return bar;
}

/** @param {Note} note @param {() => void} putAway */
function line(note, putAway) {
  const until = note.until && Date.parse(note.until) - Date.parse(note.at) !== 86_400_000 ? ` (until ${clock(note.until)})` : "";
  return h(
    "div",
    { class: "muses-bulletin", "data-note": note.id, title: `${note.by}, ${clock(note.at)}` },
    h("span", {}, `${note.text}${until}`),
    h("button", { type: "button", class: "muses-icon", "aria-label": `Put away: ${note.text}`, onclick: putAway }, "×"),
  );
}

/** @param {string} when */
const clock = (when) => new Date(when).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
