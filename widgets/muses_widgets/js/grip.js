// @ts-check
// The handle by which a line of the list is moved: dragged, or with the arrow keys.

import { h } from "./dom.js";

/**
 * What a list does for its handles.
 * @typedef {object} GripList
 * @property {(y: number) => void} over shows where the line would go, at a height on the screen
 * @property {(y: number) => void} drop puts it there
 * @property {() => void} leave it stays where it was
 */

/**
 * @param {() => string} label
 * @param {(step: -1 | 1) => void} step
 * @param {() => GripList} begin called when dragging begins
 */
export function grip(label, step, begin) {
  const element = h("button", { type: "button", class: "muses-grip", title: "Drag to move, or use the arrow keys" }, h("span", { "aria-hidden": "true" }, "⠿"));
  const name = () => element.setAttribute("aria-label", label());
  element.addEventListener("focus", name);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    step(event.key === "ArrowUp" ? -1 : 1);
  });
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault(); // no text is selected on the way
    event.stopPropagation(); // nor the map moved
    element.focus();
    drag(element, event.pointerId, event.clientY, begin);
  });
  return { element, name };
}

/** Pixels from which on a press is a drag. */
const STILL = 4;

/**
 * @param {HTMLElement} element
 * @param {number} pointer
 * @param {number} start
 * @param {() => GripList} begin
 */
function drag(element, pointer, start, begin) {
  /** @type {GripList | null} */
  let list = null;
  const end = new AbortController();
  const { signal } = end;
  element.setPointerCapture?.(pointer);
  /** @param {PointerEvent} event */
  const move = ({ clientY }) => {
    if (!list && Math.abs(clientY - start) < STILL) return;
    list ??= begin();
    list.over(clientY);
  };
  element.addEventListener("pointermove", move, { signal });
  element.addEventListener("pointerup", ({ clientY }) => {
    end.abort();
    list?.drop(clientY);
  }, { signal });
  const leave = () => {
    end.abort();
    list?.leave();
  };
  element.addEventListener("pointercancel", leave, { signal });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    leave();
  }, { signal, capture: true });
}
