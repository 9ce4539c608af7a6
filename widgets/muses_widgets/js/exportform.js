// @ts-check
// The form of an export: which area, on which grid, which dates and bands, as which file; what that will be, and in Python.

/** @import { ExportEstimate, ExportForm, ExportOffer } from "./types" */

import { h } from "./dom.js";
import { formatBytes, formatLength, formatSeconds, plural } from "./format.js";

/** Milliseconds that a change waits for the next one. */
const DEBOUNCE_MS = 350;

/**
 * @typedef {object} FormOwner
 * @property {() => { layer: string, bounds: number[], zoom: number, pixel: number }} look what is seen; `pixel` in metres on the ground
 * @property {(form: ExportForm, asked: number) => void} estimate
 * @property {(form: ExportForm) => void} start
 * @property {() => void} open the form is unfolded: what can be chosen is wanted
 */

export class ExportFormBox {
  /** @type {ExportOffer | undefined} */
  offer;
  asked = 0;
  /** Whether the user wrote the file's name. */
  named = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;

  /** @param {FormOwner} owner */
  constructor(owner) {
    this.owner = owner;
    this.area = select("Area", [
      ["view", "What the map shows"],
      ["places", "Areas on the map"],
      ["file", "Polygons of a file"],
      ["footprint", "Wherever there are scenes"],
    ]);
    this.places = h("div", { class: "muses-export-places", role: "group", "aria-label": "Areas" });
    this.areaFile = field("File of polygons", "fields.gpkg");
    this.grid = select("Pixels", []);
    this.crs = field("Reference system", "EPSG:32631");
    this.resolution = field("Pixel size", "10");
    this.like = field("Raster whose pixels it takes", "mine.tif");
    this.dates = select("Dates", []);
    this.start = h("input", { type: "date", "aria-label": "First day" });
    this.end = h("input", { type: "date", "aria-label": "Last day" });
    this.bands = field("Bands", "all");
    this.format = select("Format", []);
    this.name = field("File", "");
    this.decoration = h("input", { type: "checkbox", checked: true });
    this.logo = field("Logo", "a picture's path; none without");
    this.values = field("Values", "all; or for example: 1, 3");
    this.stats = h("div", { class: "muses-export-places muses-export-stats", role: "group", "aria-label": "Statistics" });
    this.fps = h("input", { type: "number", min: "0.2", max: "30", step: "any", value: "2", "aria-label": "Dates a second" });
    this.told = h("div", { class: "muses-note muses-export-told", role: "status" });
    this.line = h("pre", { class: "muses-export-line", tabindex: "0", role: "region", "aria-label": "The same in Python" });
    this.copy = h("button", { class: "muses-button", type: "button" }, "Copy as Python");
    this.copy.addEventListener("click", () => this.copyLine());
    this.go = h("button", { class: "muses-button muses-primary", type: "submit" }, "Export");
    this.rows = {
      area: row("Area", this.area),
      places: row("", this.places),
      areaFile: row("", this.areaFile),
      grid: row("Pixels", this.grid),
      own: row("", this.crs, this.resolution),
      like: row("", this.like),
      dates: row("Dates", this.dates),
      between: row("Days", this.start, this.end),
      bands: row("Bands", this.bands),
      format: row("Format", this.format),
      name: row("File", this.name),
      decoration: h("label", { class: "muses-export-check" }, this.decoration, " Title, legend and scale"),
      logo: row("Logo", this.logo),
      fps: row("Dates a second", this.fps),
      values: row("Values", this.values),
      stats: row("Statistics", this.stats),
    };
    this.fields = h("form", { class: "muses-export-fields" }, ...Object.values(this.rows), this.told, this.line, h("div", { class: "muses-export-row" }, this.go, this.copy));
    this.fields.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.go.hidden) this.owner.start(this.form());
    });
    this.fields.addEventListener("input", (event) => this.changed(/** @type {HTMLElement} */ (event.target)));
    this.element = h("details", { class: "muses-export-form" }, h("summary", {}, "Export…"), this.fields);
    this.element.addEventListener("toggle", () => this.element.open && this.owner.open());
  }

  get isOpen() {
    return this.element.open;
  }

  /**
   * What can be chosen for the layer; what was chosen stays where it is still there.
   * @param {ExportOffer} offer
   */
  show(offer) {
    const isNew = this.offer?.layer !== offer.layer;
    this.offer = offer;
    if (isNew) this.named = false;
    const { pixel } = this.owner.look();
    fill(this.grid, [
      ["shown", `As shown: Web Mercator, ${formatLength(pixel)}`],
      ...(offer.native ? [/** @type {[string, string]} */ (["native", `The data's own: ${offer.native[0]}, ${formatLength(offer.native[1])}`])] : []),
      ["own", "Another system or size"],
      ["like", "Those of a raster"],
    ]);
    fill(this.dates, [
      ["shown", "The one shown"],
      ["all", `All ${plural(offer.dates.length, "date")}`],
      ["between", "From … to …"],
    ]);
    const kept = ticked(this.places);
    const known = [...this.places.querySelectorAll("input")].map((box) => box.value);
    this.places.replaceChildren(...offer.areas.map((name) => tick(name, kept.includes(name) || !known.includes(name))));
    const before = ticked(this.stats);
    this.stats.replaceChildren(...offer.stats.map(([name, first]) => tick(name, before.length ? before.includes(name) : first)));
    this.bands.placeholder = offer.bands.length ? `all: ${offer.bands.join(", ")}` : "all";
    this.changed();
  }

  /** The view is another. */
  moved() {
    if (this.offer) this.show(this.offer);
  }

  /** @param {HTMLElement} [target] the field that was changed */
  changed(target) {
    if (target === this.name) this.named = true;
    if (target === this.area && this.area.value === "places") this.owner.open(); // some may have been drawn meanwhile
    this.arrange();
    clearTimeout(this.timer);
    if (!this.isOpen || !this.offer) return;
    this.timer = setTimeout(() => this.owner.estimate(this.form(), ++this.asked), DEBOUNCE_MS);
  }

  /** Formats that there are for the area: tables are of polygons. */
  arrangeFormats() {
    const ofPolygons = ["places", "file"].includes(this.area.value);
    const offered = this.offer?.formats.filter(({ kind }) => ofPolygons || kind !== "table") ?? [];
    fill(this.format, offered.map(({ name, suffix, kind }) => [name, kind === "array" ? "An array in the kernel" : kind === "table" ? `${name} of the areas (${suffix})` : `${name} (${suffix})`]));
    return offered.find(({ name }) => name === this.format.value);
  }

  /** Shows the fields that count, and names the file. */
  arrange() {
    const { offer, rows } = this;
    const format = this.arrangeFormats();
    const { kind = "pixels", takes = [] } = format ?? {};
    const moving = kind === "animation";
    rows.places.hidden = this.area.value !== "places";
    if (!rows.places.hidden && offer && !offer.areas.length) this.places.textContent = "None yet: draw one, or keep one in the panel of series.";
    rows.areaFile.hidden = this.area.value !== "file";
    rows.grid.hidden = kind === "table"; // which has the data's own pixels
    rows.own.hidden = rows.grid.hidden || this.grid.value !== "own";
    rows.like.hidden = rows.grid.hidden || this.grid.value !== "like";
    rows.dates.hidden = !offer?.dates.length || moving;
    rows.between.hidden = rows.dates.hidden ? !moving : this.dates.value !== "between";
    rows.bands.hidden = !offer || offer.bands.length < 2 || kind === "picture" || moving;
    rows.name.hidden = kind === "array";
    rows.decoration.hidden = !takes.includes("decoration");
    rows.logo.hidden = !takes.includes("logo") || !this.decoration.checked;
    rows.fps.hidden = !takes.includes("fps");
    rows.values.hidden = !takes.includes("values");
    rows.stats.hidden = !takes.includes("stats");
    this.go.hidden = kind === "array";
    if (!format?.suffix) return;
    if (offer && !this.named) this.name.value = `${offer.stem}${format.suffix}`;
    else if (this.name.value && !this.name.value.endsWith(format.suffix)) {
      this.name.value = this.name.value.replace(/\.[a-z0-9]{2,8}$/i, "") + format.suffix;
    }
  }

  /** @returns {ExportForm} */
  form() {
    const { layer, bounds, zoom } = this.owner.look();
    const between = !this.rows.between.hidden && (this.start.value || this.end.value);
    const moving = !this.rows.fps.hidden;
    return {
      layer,
      bounds,
      zoom,
      name: this.name.value.trim(),
      format: this.format.value,
      area: { kind: this.area.value, path: this.areaFile.value, names: ticked(this.places) },
      grid: { kind: this.grid.value, crs: this.crs.value, resolution: this.resolution.value, path: this.like.value },
      dates: between ? { kind: "between", start: this.start.value, end: this.end.value } : { kind: moving ? "all" : this.rows.dates.hidden ? "shown" : this.dates.value },
      bands: this.rows.bands.hidden ? [] : listed(this.bands),
      options: {
        decoration: this.decoration.checked,
        logo: this.rows.logo.hidden ? "" : this.logo.value.trim(),
        fps: Number(this.fps.value) || 2,
        values: listed(this.values),
        stats: ticked(this.stats),
      },
    };
  }

  /** @param {ExportEstimate} estimate */
  tell(estimate) {
    if (estimate.asked !== this.asked) return; // of an earlier state of the form
    this.told.classList.toggle("muses-failed", Boolean(estimate.error));
    this.told.textContent = estimate.error ?? describe(estimate);
    this.line.textContent = estimate.line ?? "";
    this.line.hidden = this.copy.hidden = !estimate.line;
    this.go.disabled = Boolean(estimate.error);
  }

  async copyLine() {
    await navigator.clipboard.writeText(this.line.textContent ?? "");
    this.copy.textContent = "Copied";
    setTimeout(() => (this.copy.textContent = "Copy as Python"), 1500);
  }
}

/**
 * A box to tick, named as what it stands for.
 * @param {string} value
 * @param {boolean} checked
 */
const tick = (value, checked) => h("label", {}, h("input", { type: "checkbox", value, checked }), ` ${value}`);

/** @param {HTMLElement} group */
const ticked = (group) => [...group.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value);

/**
 * What is listed in a field, with commas or spaces between.
 * @param {HTMLInputElement} field
 */
const listed = (field) => field.value.split(/[\s,;]+/).filter(Boolean);

/**
 * 4096 × 2048 pixels of 12 scenes, about 33 MiB, about 20 s. Identical to what you see.
 * @param {ExportEstimate} estimate
 */
export function describe({ width = 0, height = 0, scenes = 0, bytes = 0, seconds = 0, difference = "", areas, dates = 0 }) {
  if (areas !== undefined) {
    const rows = areas * Math.max(dates, 1);
    return `${plural(rows, "row")}: ${plural(areas, "area")}${dates ? ` at ${plural(dates, "date")}` : ""}, of the data's own pixels.`;
  }
  const size = `${width} × ${height} pixels of ${plural(scenes, "scene")}, about ${formatBytes(bytes)}, about ${formatSeconds(seconds)}`;
  return difference ? `${size}. ${difference.charAt(0).toUpperCase()}${difference.slice(1)}.` : `${size}.`;
}

/**
 * @param {string} label
 * @param {[string, string][]} options
 */
function select(label, options) {
  const made = h("select", { class: "muses-select", "aria-label": label });
  fill(made, options);
  return made;
}

/**
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} options
 */
function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  if (options.some(([value]) => value === before)) select.value = before;
}

/**
 * @param {string} label
 * @param {string} placeholder
 */
const field = (label, placeholder) => h("input", { type: "text", class: "muses-field", "aria-label": label, placeholder, spellcheck: "false" });

/**
 * @param {string} label
 * @param {...HTMLElement} fields
 */
const row = (label, ...fields) => h("div", { class: "muses-export-line-of" }, h("span", { class: "muses-export-label" }, label), h("div", { class: "muses-export-inputs" }, ...fields));
