// @ts-check
// Small helpers for the page's elements and its theme.

/** @typedef {Node | string | null | undefined | false} Child what is appended; nothing for the last three */

/**
 * h("button", {class: "x", onclick: f}, "text", child): an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes] left out where null, undefined or false; `on…` are listeners
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") element.style.cssText = value;
    else if (name in element && typeof value !== "string") Object.assign(element, { [name]: value });
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * A text of a course as elements: `code` between backticks, lines kept; all else is text.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function marked(text) {
  const parts = text.split(/(`[^`]+`|\n)/).filter(Boolean);
  return parts.map((part) => {
    if (part === "\n") return h("br");
    return part.length > 2 && part.startsWith("`") && part.endsWith("`") ? h("code", {}, part.slice(1, -1)) : part;
  });
}

/**
 * Those of some things that there are.
 * @template T
 * @param {readonly (T | null | undefined | false | "")[]} items
 */
export const present = (items) => /** @type {T[]} */ (items.filter(Boolean));

/**
 * Keeps the keys of an element's inputs from JupyterLab, to which an arrow on a slider is its command to fold a heading;
 * Shift+Enter and Escape it may have. A press outside takes the keys away again: JupyterLab lets the focus where it is.
 * @param {HTMLElement} root
 * @param {AbortSignal} signal
 */
export function keepKeys(root, signal) {
  root.addEventListener("keydown", (event) => {
    const command = event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || event.key === "Escape";
    if (!command) event.stopPropagation();
  });
  /** @param {Event} event */
  const leave = (event) => {
    const { activeElement } = document;
    if (activeElement instanceof HTMLElement && root.contains(activeElement) && !root.contains(/** @type {Node} */ (event.target))) {
      activeElement.blur();
    }
  };
  document.addEventListener("pointerdown", leave, true);
  signal.addEventListener("abort", () => document.removeEventListener("pointerdown", leave, true));
}

/** "light" or "dark", as JupyterLab, Notebook 7 and Voilà say of their theme. */
export const theme = () => (document.body.dataset.jpThemeLight === "false" ? "dark" : "light");

/**
 * Calls `callback` whenever the page's theme changes, until `signal` is aborted.
 * @param {() => void} callback
 * @param {AbortSignal} signal
 */
export function onTheme(callback, signal) {
  const watch = new MutationObserver(callback);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  signal.addEventListener("abort", () => watch.disconnect());
}
