// @ts-check
// Exports: of what is seen with one click, or of what the form says; follows the kernel that writes, and offers the file.

/** @import { Panel } from "../panel.js" */
/** @import { ExportForm, ExportState } from "../types" */

import { h } from "../dom.js";
import { ExportFormBox } from "../exportform.js";
import { formatBytes, formatLength, formatSeconds } from "../format.js";
import { groundResolution, WEB_MERCATOR_METRES } from "../mapview.js";
import { addSection } from "../sections.js";
import { baseUrl, completeUrl } from "../server.js";

/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;
const NAME = "export";

class ExportBox {
  /** @type {string | undefined} ids and names of the layers in the list */
  listed;
  /** @type {string | undefined} id of the layer that was chosen */
  chosen;
  /** @type {ExportState | undefined} the state that is shown */
  shown;
  /** @type {string | undefined} what can be chosen, as it was told last */
  offered;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.button = h("button", { class: "muses-button muses-primary", type: "button" }, "Export this view");
    this.button.addEventListener("click", () => panel.guard(() => this.start()));
    this.select = h("select", { class: "muses-select", "aria-label": "Layer to export" });
    this.select.addEventListener("change", () => {
      this.chosen = this.select.value;
      this.describe();
    });
    this.form = new ExportFormBox({
      look: () => this.look(),
      open: () => this.describe(),
      estimate: (form, asked) => this.estimate(form, asked),
      start: (form) => panel.guard(() => this.start(form)),
    });
    this.pause = h("button", { class: "muses-button", type: "button", hidden: true }, "Pause");
    this.pause.addEventListener("click", () => panel.guard(() => this.change(this.job.state === "paused" ? "resume" : "pause")));
    this.cancel = h("button", { class: "muses-button", type: "button", hidden: true }, "Cancel");
    this.cancel.addEventListener("click", () => panel.guard(() => this.change("cancel")));
    this.file = h("div", { class: "muses-note muses-file" });
    this.bar = h("progress", { max: "1", "aria-label": "Export progress", hidden: true });
    this.state = h("div", { class: "muses-note muses-export-state", role: "status" });
    this.note = h("div", { class: "muses-note", role: "status", hidden: true });
    this.element = h(
      "div",
      { class: "muses-export", role: "group", "aria-label": "Export" },
      this.select,
      h("div", { class: "muses-export-row" }, this.button, this.pause, this.cancel, this.file),
      this.bar,
      this.state,
      this.note,
    );
    this.body = [this.form.element];
    this.foot = [this.element];
  }

  /** @returns {ExportState} */
  get job() {
    return this.panel.model.get("sections")[NAME] ?? { state: "idle" };
  }

  connected() {
    this.show();
  }

  layersChanged() {
    this.show();
  }

  moved() {
    this.showFile();
    this.form.moved();
  }

  told() {
    this.show();
  }

  get running() {
    return ["running", "paused"].includes(this.job.state) && this.panel.hasKernel;
  }

  /** Layers that there are pixels of. */
  get rows() {
    return this.panel.ownRows.filter((row) => !row.empty);
  }

  show() {
    const { rows, running } = this;
    const listed = JSON.stringify(rows.map((row) => [row.entry.id, row.entry.name]));
    if (listed !== this.listed) {
      this.listed = listed;
      this.select.replaceChildren(...rows.map((row) => h("option", { value: row.entry.id }, row.entry.name)));
    }
    const first = rows.find((row) => row.visible)?.entry.id;
    const chosen = rows.find((row) => row.entry.id === this.chosen)?.entry.id;
    this.select.value = chosen ?? first ?? rows[0]?.entry.id ?? "";
    this.select.hidden = rows.length < 2;
    this.select.title = rows.find((row) => row.entry.id === this.select.value)?.entry.name ?? "";
    this.button.disabled = running || !rows.length;
    const focused = document.activeElement === this.cancel;
    this.cancel.hidden = this.pause.hidden = this.bar.hidden = !running;
    if (!running && focused) this.button.focus();
    const { job } = this;
    this.pause.textContent = job.state === "paused" ? "Resume" : "Pause";
    this.form.element.hidden = !rows.length;
    // What the kernel told before comes again with everything that it tells: only what is new counts.
    const offered = JSON.stringify(job.offer);
    if (job.offer?.layer === this.select.value && offered !== this.offered) {
      this.offered = offered;
      this.form.show(job.offer);
    } else if (this.form.isOpen && this.form.offer?.layer !== this.select.value) {
      this.describe();
    }
    if (job.estimate) this.form.tell(job.estimate);
    this.bar.value = job.progress ?? 0;
    if (JSON.stringify(job) !== JSON.stringify(this.shown)) this.showState(job);
    this.showFile();
  }

  /** @param {ExportState} job */
  showState(job) {
    this.shown = job;
    this.hush();
    this.state.className = `muses-note muses-export-state muses-${job.state}`;
    this.state.hidden = job.state === "idle" || (["running", "paused"].includes(job.state) && !this.running);
    const left = job.state === "running" && job.remaining ? ` about ${formatSeconds(job.remaining)} left` : "";
    this.state.replaceChildren(...(job.state === "done" ? drawFile(job) : [(job.text ?? "") + left]));
  }

  /** What the file of this view would be: the window that the kernel makes of bounds and zoom. */
  showFile() {
    const { map } = this.panel;
    if (!map) return;
    const zoom = Math.round(map.getZoom());
    const { min, max } = map.getPixelBounds();
    const scale = map.getZoomScale(zoom, map.getZoom());
    /** @param {number} low @param {number} high in pixels */
    const count = (low, high) => Math.ceil(high * scale - 1e-6) - Math.floor(low * scale + 1e-6);
    const size = WEB_MERCATOR_METRES / (256 * 2 ** zoom);
    const ground = groundResolution(map, zoom);
    this.file.textContent = `EPSG:3857, ${formatLength(size)} pixels (${formatLength(ground)} on the ground)`;
    this.file.title = `GeoTIFF in EPSG:3857 (Web Mercator) of ${count(min.x, max.x)} × ${count(min.y, max.y)} pixels. “Export…” above has other areas, systems and formats.`;
  }

  /** What is seen of the chosen layer. */
  look() {
    const { map } = this.panel;
    const bounds = map.getBounds();
    const zoom = map.getZoom();
    return {
      layer: this.select.value,
      bounds: [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()],
      zoom,
      pixel: groundResolution(map, Math.round(zoom)),
    };
  }

  /** Asks what can be chosen for the layer. */
  describe() {
    if (!this.form.isOpen || !this.select.value) return;
    this.offered = undefined;
    if (this.needsKernel()) this.panel.model.send({ section: NAME, do: "describe", layer: this.select.value });
  }

  /**
   * @param {ExportForm} form
   * @param {number} asked
   */
  estimate(form, asked) {
    if (this.panel.hasKernel) this.panel.model.send({ section: NAME, do: "estimate", asked, form });
  }

  /** @param {ExportForm} [form] that of the view without one */
  start(form) {
    if (!this.needsKernel()) return;
    const { layer, bounds, zoom } = this.look();
    this.expectAnswer("The kernel has not answered yet. If it is busy, the export starts when it is free.");
    this.panel.model.send({ section: NAME, do: "export", form: form ?? { layer, bounds, zoom } });
  }

  /** @param {"cancel" | "pause" | "resume"} change */
  change(change) {
    this.expectAnswer(`The kernel has not answered yet. If it is busy, it hears of “${change}” when it is free.`);
    this.panel.model.send({ section: NAME, do: change });
  }

  /** Whether there is one; says so where there is none. */
  needsKernel() {
    const { hasKernel } = this.panel;
    if (!hasKernel) this.tell("Exporting needs the notebook's kernel, and none is connected. Run the notebook's cells, then try again.");
    return hasKernel;
  }

  /** @param {string} otherwise */
  expectAnswer(otherwise) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(otherwise), ANSWER_MS);
  }

  /** The kernel has got a message. */
  heard() {
    clearTimeout(this.timer);
    this.hush();
  }

  /** @param {string} text */
  tell(text) {
    this.note.textContent = text;
    this.note.hidden = false;
  }

  hush() {
    this.note.hidden = true;
  }
}

/**
 * Where the file is, to be seen where the page's server shows its folder, and to be downloaded wherever it is.
 * @param {ExportState} job
 */
function drawFile({ id, name = "", path = "", place, bytes = 0, text, folder }) {
  const address = place && `${baseUrl()}files/${place.split("/").map(encodeURIComponent).join("/")}`;
  return [
    "Wrote ",
    address ? h("a", { href: address, target: "_blank", rel: "noopener", title: place }, name) : path,
    ` (${formatBytes(bytes)})${text ? `; ${text}` : ""} `,
    folder ? "" : h("a", { class: "muses-button muses-download", href: completeUrl(`muses:exports/${id}`), download: name }, "Download"),
  ];
}

addSection(NAME, (panel) => new ExportBox(panel), { order: 50 });
