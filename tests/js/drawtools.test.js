// The drawing tools of ipyleaflet: they have names, say whether they are pressed, and take the space bar.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
globalThis.KeyboardEvent = window.KeyboardEvent;
const { h } = await import("../../widgets/muses_widgets/js/dom.js");
const { nameDrawTools } = await import("../../widgets/muses_widgets/js/drawtools.js");

const rest = () => new Promise((resolve) => {
  setTimeout(resolve, 20);
});

/** A toolbar as Geoman makes it. */
const toolbar = (kind, ...titles) =>
  h(
    "div",
    { class: `leaflet-pm-toolbar leaflet-pm-${kind} leaflet-bar leaflet-control` },
    titles.map((title) => h("div", { class: "button-container", title }, h("a", { class: "leaflet-buttons-control-button", role: "button", tabindex: "0", href: "#" }, h("div", { class: "control-icon" })))),
  );

test("tools that are there and that come have names, and say which of them is in use", async () => {
  const left = h("div", { class: "leaflet-top leaflet-left" });
  const right = h("div", { class: "leaflet-top leaflet-right" });
  const map = h("div", {}, h("div", { class: "leaflet-control-container" }, left, right));
  document.body.append(map);
  left.append(toolbar("draw", "Draw Polygons", "Draw Rectangle"));
  const leaving = new AbortController();
  nameDrawTools(map, leaving.signal);
  const labels = () => [...map.querySelectorAll(".leaflet-buttons-control-button")].map((one) => one.getAttribute("aria-label"));
  assert.deepEqual(labels(), ["Draw a polygon", "Draw a rectangle"]);
  assert.equal(left.firstChild.getAttribute("aria-label"), "Draw");

  right.append(toolbar("edit", "Edit Layers", "Cut Layers"));
  await rest();
  assert.deepEqual(labels().slice(2), ["Move corners", "Cut Layers"], "what is not ours keeps its title");
  assert.equal(right.firstChild.getAttribute("aria-label"), "Change what is drawn");

  const [polygon] = map.querySelectorAll(".button-container");
  const button = polygon.querySelector("a");
  assert.equal(button.getAttribute("aria-pressed"), "false");
  polygon.classList.add("active");
  await rest();
  assert.equal(button.getAttribute("aria-pressed"), "true");

  let clicks = 0;
  button.addEventListener("click", () => (clicks += 1));
  button.dispatchEvent(new window.KeyboardEvent("keydown", { key: " ", bubbles: true }));
  button.dispatchEvent(new window.KeyboardEvent("keydown", { key: "a", bubbles: true }));
  assert.equal(clicks, 1);
  leaving.abort();
});
