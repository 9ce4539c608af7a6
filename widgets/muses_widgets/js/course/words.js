// @ts-check
// Texts of courses, and the signs of their states: one way to show them in the card and in quizzes.

import { h } from "../dom.js";

/** By state of an exercise: its sign, and the word that says it. */
const STATES = /** @type {Record<string, [string, string]>} */ ({
  right: ["✓", "right"],
  wrong: ["✗", "not right yet"],
  error: ["!", "could not be looked at"],
  begun: ["◐", "begun"],
  open: ["○", "open"],
});

/**
 * The sign of a state, with its word for those who do not see it.
 * @param {string} state
 */
export function sign(state) {
  const [text, word] = STATES[state] ?? ["○", state];
  return h("span", { class: `muses-course-sign muses-course-${state}`, role: "img", "aria-label": word, title: word }, text);
}

/**
 * 1 point, 2.5 points
 * @param {number} points
 */
export const pointsText = (points) => `${+points.toFixed(2)} ${points === 1 ? "point" : "points"}`;

/**
 * 1 try, 3 tries
 * @param {number} tries
 */
export const triesText = (tries) => `${tries} ${tries === 1 ? "try" : "tries"}`;
