// @ts-check
// The map on the whole screen: its panel and tools come along, because they lie on it.

/** @import { Panel } from "./panel.js" */

import { h } from "./dom.js";

/**
 * A button that is pressed while the map has the screen; none where the browser has no full screen.
 * @param {Panel} panel
 */
export function fullScreenButton(panel) {
  if (!document.fullscreenEnabled) return null;
  const isFull = () => document.fullscreenElement === panel.map?.getContainer();
  const button = h(
    "button",
    { type: "button", class: "muses-icon muses-full", "aria-label": "Full screen", title: "Full screen", "aria-pressed": "false", onclick: () => panel.guard(toggle) },
    h("span", { "aria-hidden": "true" }),
  );
  async function toggle() {
    await (isFull() ? document.exitFullscreen() : panel.map.getContainer().requestFullscreen());
  }
  document.addEventListener(
    "fullscreenchange",
    () => {
      button.setAttribute("aria-pressed", String(isFull()));
      panel.map?.invalidateSize();
    },
    { signal: panel.signal },
  );
  return button;
}
