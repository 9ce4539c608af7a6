// @ts-check
// Values at the clicked place: of every visible layer, and always of what the map shows now.

/** @import { Panel } from "../panel.js" */
/** @import { Row } from "../row.js" */
/** @import { LatLng, Legend, PlaceValues } from "../types" */

import { h, present } from "../dom.js";
import { formatLengths, formatNumber, formatPlace, plural } from "../format.js";
import { groundResolution } from "../mapview.js";
import { addSection } from "../sections.js";
import { askJson, messageOf } from "../server.js";
import { tileLoader } from "../tiles.js";

/**
 * What was asked for a layer, and the newest answer.
 * @typedef {object} Asked
 * @property {string} key of what is asked for
 * @property {PlaceValues | null} answer
 * @property {string | null} reason why there is none
 * @property {boolean} asking
 * @property {AbortController} abort
 */

class Inspector {
  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    /** @type {LatLng | null} the clicked place */
    this.place = null;
    /** @type {HTMLElement | null} */
    this.marker = null;
    /** @type {Map<string, Asked>} by the layer's model id */
    this.asked = new Map();
    this.native = false; // whether the sensor's own pixel is asked for, whatever the zoom
    this.where = h("span");
    this.values = h("div", { class: "muses-values" });
    this.hint = h("div", { class: "muses-section muses-note" }, "Click the map to read values.");
    this.nativeButton = h(
      "button",
      { type: "button", class: "muses-link", "aria-pressed": "false", onclick: () => panel.guard(() => this.setNative(!this.native)) },
      "Native value",
    );
    const close = h("button", { type: "button", class: "muses-icon", "aria-label": "Clear the clicked place" }, "×");
    close.addEventListener("click", () => panel.guard(() => panel.clearPlace()));
    this.element = h(
      "div",
      { class: "muses-inspector", role: "region", "aria-label": "Values at the clicked place", "aria-live": "polite", hidden: true },
      h("div", { class: "muses-place" }, this.where, this.nativeButton, close),
      this.values,
    );
    this.top = [this.element];
    this.body = [this.hint];
  }

  layersChanged() {
    this.update();
  }

  zoomed() {
    this.placeMarker();
    this.update();
  }

  zooming() {
    this.placeMarker();
  }

  /** @param {LatLng} place */
  clicked(place) {
    this.place = place;
    this.asked.clear();
    this.placeMarker();
    const { lat, lng } = place.wrap();
    this.where.textContent = formatPlace(lng, lat);
    this.show(true);
    this.panel.scroll.scrollTop = 0;
    this.update();
  }

  cleared() {
    this.place = null;
    for (const { abort } of this.asked.values()) abort.abort();
    this.asked.clear();
    this.remove();
    this.show(false);
  }

  /** @param {boolean} values */
  show(values) {
    this.element.hidden = !values;
    this.hint.hidden = values;
  }

  remove() {
    this.marker?.remove();
    this.marker = null;
  }

  /** @param {boolean} native */
  setNative(native) {
    this.native = native;
    this.nativeButton.setAttribute("aria-pressed", String(native));
    this.update();
  }

  /** Asks anew for whatever the map shows otherwise than when it was asked; called whenever that may be. */
  update() {
    if (!this.place) return;
    const rows = this.panel.visibleRows;
    const ids = new Set(rows.map((row) => row.entry.id));
    for (const [id, { abort }] of this.asked) {
      if (ids.has(id)) continue;
      abort.abort();
      this.asked.delete(id);
    }
    for (const row of rows) {
      const z = this.zoomFor(row);
      const key = row.empty ? row.empty : `${row.entry.chain}/${z}`;
      const before = this.asked.get(row.entry.id);
      if (before?.key === key) continue;
      before?.abort.abort();
      /** @type {Asked} */
      const asked = { key, answer: before?.answer ?? null, reason: null, asking: !row.empty, abort: new AbortController() };
      this.asked.set(row.entry.id, asked);
      if (!row.empty) this.panel.guard(() => this.ask(row, z, asked));
    }
    this.draw();
  }

  /**
   * @param {Row} row
   * @param {number} z
   * @param {Asked} asked
   */
  async ask(row, z, asked) {
    if (!this.place) return;
    const { lat, lng } = this.place.wrap();
    const { chain, style } = row.entry;
    try {
      const url = `muses:values/${chain}?lon=${lng}&lat=${lat}&z=${z}&style=${style}`;
      asked.answer = await askJson(url, { seconds: tileLoader().patience, signal: asked.abort.signal });
    } catch (error) {
      if (asked.abort.signal.aborted) return;
      asked.answer = null;
      asked.reason = messageOf(error);
    }
    asked.asking = false;
    if (this.native && this.zoomFor(row) !== z) this.update(); // only the answer tells the native pixels' size
    else this.draw();
  }

  /**
   * The zoom whose pixel is read: that of the map, or the first one at which the layer is computed at its native size.
   * @param {Row} row
   */
  zoomFor(row) {
    const { map } = this.panel;
    const shown = Math.round(map.getZoom());
    const native = this.native && this.asked.get(row.entry.id)?.answer?.native_metres_per_pixel[0];
    if (!native || !this.place) return shown;
    const finest = Math.ceil(Math.log2(groundResolution(map, 0, this.place.lat) / native));
    return Math.max(shown, Math.min(map.getMaxZoom(), finest));
  }

  draw() {
    const { visibleRows } = this.panel;
    const shown = visibleRows.flatMap((row) => {
      const asked = this.asked.get(row.entry.id);
      return asked ? [{ row, asked, pixel: row.empty || !asked.answer ? "" : describePixel(asked.answer) }] : [];
    });
    const pixels = new Set(present(shown.map(({ pixel }) => pixel)));
    const drawn = shown.flatMap(({ row, asked, pixel }) => [
      ...drawValues(row, asked),
      ...(pixel && pixels.size > 1 ? [drawPixel(pixel)] : []),
    ]);
    if (pixels.size === 1) drawn.push(...[...pixels].map(drawPixel)); // the same for all: told once
    if (!visibleRows.length) drawn.push(h("div", { class: "muses-note" }, "No layer is visible."));
    this.values.replaceChildren(...drawn);
    this.element.setAttribute("aria-busy", String(shown.some(({ asked }) => asked.asking)));
    const coarse = shown.some(({ asked }) => asked.answer && !isNative(asked.answer));
    this.nativeButton.hidden = !this.native && !coarse;
  }

  placeMarker() {
    if (!this.place) return;
    const { map } = this.panel;
    if (!this.marker) {
      this.marker = h("div", { class: "muses-marker leaflet-zoom-hide", "aria-hidden": "true" });
      map.getPane("markerPane").append(this.marker);
    }
    const { x, y } = map.latLngToLayerPoint(this.place);
    this.marker.style.transform = `translate3d(${x}px, ${y}px, 0)`;
  }
}

/**
 * Rows of name and value for one layer; an answer for what the map showed before is grey until the new one is there.
 * @param {Pick<Row, "entry" | "empty">} row
 * @param {Pick<Asked, "asking" | "answer" | "reason">} asked
 */
export function drawValues({ entry, empty }, { asking, answer, reason }) {
  const { name, legend } = entry;
  const old = asking && answer ? "muses-old" : "";
  /** @type {(label: string, value?: string, kind?: string) => HTMLElement} */
  const line = (label, value, kind = "") => {
    const output = value === undefined ? null : h("output", {}, value);
    if (old && output) output.title = "Of what the map showed before; the new value is being computed";
    return h("div", { class: `muses-value ${kind} ${old}` }, h("span", {}, label), output);
  };
  if (empty) return [line(name, "no scenes", "muses-none")];
  if (reason) return [line(name, reason, "muses-bad")];
  if (!answer) return [line(name, "…", "muses-pending")];
  const { bands, values } = answer;
  /** @param {number | null} value */
  const text = (value) => {
    if (value === null) return describeMissing(answer, legend);
    const known = legend?.entries?.find((one) => one.value === value);
    if (known) return `${known.label} (${formatNumber(value)})`;
    return formatNumber(value) + (legend?.unit ? ` ${legend.unit}` : "");
  };
  /** @param {number | null} value */
  const kind = (value) => (value === null ? "muses-none" : "");
  if (values.every((value) => value === null)) return [line(name, text(null), "muses-none")];
  const [value] = values;
  if (values.length === 1 && value !== undefined) return [line(name, text(value), kind(value))];
  return [line(name), ...values.map((v, i) => line(bands[i] ?? `band ${i + 1}`, text(v), `muses-band ${kind(v)}`))];
}

/**
 * @param {PlaceValues} answer
 * @param {Legend | undefined} legend
 */
function describeMissing({ scenes_here, failed }, legend) {
  if (!scenes_here) return "no scenes here";
  if (failed.length) return `no data here; ${plural(failed.length, "scene")} left out`;
  return `${legend?.missing ?? "no data"} here`;
}

/**
 * What a value is of: the pixel that the map shows, by its size on the ground.
 * @param {PlaceValues} answer
 */
export function describePixel(answer) {
  const { metres_per_pixel: levels, native_metres_per_pixel: native } = answer;
  if (!levels.length) return "";
  if (isNative(answer)) return `Native pixel of ${formatLengths(levels)}`;
  return `Pixel of ${formatLengths(levels)}, from averaged bands; native: ${formatLengths(native)}`;
}

/** @param {string} text */
const drawPixel = (text) => h("div", { class: "muses-note muses-of" }, text);
/** @param {PlaceValues} answer */
const isNative = (answer) => formatLengths(answer.metres_per_pixel) === formatLengths(answer.native_metres_per_pixel);

addSection("inspector", (panel) => new Inspector(panel), { order: 30 });
