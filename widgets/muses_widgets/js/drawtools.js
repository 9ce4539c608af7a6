// @ts-check
// The drawing tools of ipyleaflet (Geoman's toolbars): their signs are links without a name, which are neither read out nor
// pressed by the space bar.

import { keepKeys, present } from "./dom.js";

/** What Geoman calls its tools, and what they do; others keep their titles. */
const NAMES = new Map([
  ["Draw Polygons", "Draw a polygon"],
  ["Draw Rectangle", "Draw a rectangle"],
  ["Edit Layers", "Move corners"],
  ["Drag Layers", "Move shapes"],
  ["Remove Layers", "Remove shapes"],
]);

/**
 * Names the tools that are on a map, and those that come.
 * @param {HTMLElement} container the map's
 * @param {AbortSignal} signal
 */
export function nameDrawTools(container, signal) {
  /** @type {WeakSet<Element>} */
  const known = new WeakSet();
  const tools = new MutationObserver((records) => {
    for (const bar of new Set(present(records.map(({ target }) => /** @type {Element} */ (target).closest(".leaflet-pm-toolbar"))))) name(bar);
  });
  const found = () => {
    for (const bar of container.querySelectorAll(".leaflet-pm-toolbar")) {
      if (known.has(bar)) continue;
      known.add(bar);
      keepKeys(/** @type {HTMLElement} */ (bar), signal);
      bar.addEventListener("keydown", press);
      tools.observe(bar, { childList: true, subtree: true, attributeFilter: ["class"] });
      name(bar);
    }
  };
  const corners = new MutationObserver(found);
  for (const corner of container.querySelectorAll(".leaflet-control-container > *")) corners.observe(corner, { childList: true });
  found();
  signal.addEventListener("abort", () => {
    tools.disconnect();
    corners.disconnect();
  });
}

/** @param {Element} bar */
function name(bar) {
  tell(bar, "role", "group");
  tell(bar, "aria-label", bar.classList.contains("leaflet-pm-edit") ? "Change what is drawn" : "Draw");
  for (const tool of bar.querySelectorAll(".button-container")) {
    const button = tool.querySelector(".leaflet-buttons-control-button");
    const title = tool.getAttribute("title") ?? "";
    const known = NAMES.get(title) ?? title;
    tell(tool, "title", known);
    if (!button) continue;
    tell(button, "aria-label", known);
    tell(button, "aria-pressed", String(tool.classList.contains("active")));
    tell(button, "aria-disabled", String(button.classList.contains("pm-disabled")));
  }
}

/**
 * Sets what is another: each change is noticed.
 * @param {Element} element
 * @param {string} attribute
 * @param {string} value
 */
function tell(element, attribute, value) {
  if (value && element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

/** @param {Event} event of a key: links are pressed by Enter alone */
function press(event) {
  const { target } = event;
  if (!(event instanceof KeyboardEvent) || event.key !== " " || !(target instanceof HTMLElement) || target.getAttribute("role") !== "button") return;
  event.preventDefault(); // the page is not to scroll
  target.click();
}
