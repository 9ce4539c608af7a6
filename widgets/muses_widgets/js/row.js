// @ts-check
// A chain in the panel's list, and its hold on the Leaflet layer.

/** @import { Panel } from "./panel.js" */
/** @import { Expectation } from "./describe.js" */
/** @import { FailedScene, LayerEntry, LeafletTileLayer, Progress, QueueStatus, Remarks, TileFailure, TileState, WidgetModel } from "./types" */

import { describeBriefly, describeFailures, describeReport, describeTime, describeWait, enlargement, tilesDone } from "./describe.js";
import { h, present } from "./dom.js";
import { plural } from "./format.js";
import { LayerRow } from "./layerrow.js";
import { Look } from "./look.js";
import { stateOf } from "./mapstate.js";
import { coversView, findLayer, takeOver } from "./mapview.js";
import { askJson } from "./server.js";
import { joinReports } from "./tilereport.js";
import { noTiles, tileLoader } from "./tiles.js";

const WATCHED = "change:visible change:opacity change:url";
/** Failures that only the notebook's cells can cure. */
const RUN_AGAIN = new Set(["made-elsewhere", "private-gone"]);
const PRIVATE =
  "This layer uses an operator declared in the notebook. It runs on your own cluster, for you; it cannot be published or shared.";
/** While there is no Leaflet layer. */
const NO_TILES = noTiles();

export class Row extends LayerRow {
  /** How it looks in this page. */
  look;
  /** @type {string | undefined} the failures that are drawn */
  failureKey;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  reportTimer;

  /**
   * @param {Panel} panel
   * @param {WidgetModel} layerModel
   * @param {LayerEntry} entry
   */
  constructor(panel, layerModel, entry) {
    super(panel, layerModel, entry, WATCHED);
    this.look = new Look(panel, this);
    this.toggle = (/** @type {number} */ value) => void panel.guard(() => this.look.toggle(value));
    /** @type {LeafletTileLayer | null} */
    this.layer = null;
    /** @type {FailedScene[]} scenes that could not be read, with the service's reasons */
    this.unread = [];
    /** @type {(Progress & { cluster?: { state: string } }) | null} what goes before this layer's tiles, while they load */
    this.queue = null;
    /** @type {Expectation | null} until when the cluster's last block let expect the rest */
    this.expectation = null;
    /** @type {number | null} how often larger than on the ground's native pixels it is drawn, where that is much */
    this.enlarged = null;
    /** @type {number | null} scenes that touch the tiles shown */
    this.found = null;
    /** @type {number | null} those of them that the tiles are made of */
    this.used = null;
    this.badge = h("div", { class: "muses-badge", hidden: true });
    this.private = h("span", { class: "muses-private", title: PRIVATE, hidden: true }, "private");
    this.holesText = h("span");
    this.holes = h("div", { class: "muses-holes", hidden: true }, h("span", { class: "muses-swatch muses-hole" }), this.holesText);
    this.nothing = h("div", { class: "muses-note muses-nothing", role: "status", hidden: true });
    this.note = h("div", { class: "muses-note muses-told" });
    this.remarks = h("details", { class: "muses-note muses-remarks", hidden: true });
    this.failures = h("details", { class: "muses-failures" });
    this.retry = h("button", { class: "muses-button", type: "button", onclick: () => panel.guard(() => this.askAgain()) }, "Retry");
    this.trouble = h("div", { class: "muses-trouble", hidden: true }, this.failures, this.retry);
    this.filled = h("div");
    this.bar = h("div", { class: "muses-bar", role: "progressbar", "aria-label": "Tiles shown" }, this.filled);
    this.label.append(this.private);
    this.details.append(this.nothing, this.legend, this.holes, this.opacityRow, this.note, this.remarks, this.trouble);
    this.details.before(this.badge, this.bar);
  }

  /**
   * The sentence that says that no scene fits the chain's dates, place and filter; else nothing.
   * @override
   */
  get empty() {
    return this.entry?.empty ?? "";
  }

  /**
   * Takes over what the kernel says of the layer.
   * @override
   * @param {LayerEntry} entry
   */
  update(entry) {
    const old = this.entry;
    super.update(entry);
    this.name.title = entry.empty ? entry.name : `${entry.name}\nchain ${entry.chain}\nstyle ${entry.style}`;
    this.private.hidden = !entry.private;
    this.nothing.textContent = this.empty.replace(/^./, (first) => first.toUpperCase());
    this.nothing.hidden = !this.empty;
    this.element.classList.toggle("muses-empty", Boolean(this.empty));
    this.drawRemarks(entry.remarks ?? { count: 0, shown: [] });
    if (old.chain !== entry.chain) this.unread = [];
    this.recolour();
    this.drawLegend();
    this.showModel();
  }

  drawLegend() {
    this.drawLegendOf(this.look.legend);
  }

  /** Finds the Leaflet layer once ipyleaflet has made it, and lets its tiles come if it is visible. */
  async adopt() {
    const layer = await findLayer(this.layerModel, this.panel.mapView);
    if (!layer || this.removed) return;
    if (layer !== this.layer) {
      this.leave(); // ipyleaflet makes anew what stands above a layer that is removed or put below it
      this.layer = layer;
      takeOver(layer);
      layer.on("musestiles", () => this.tilesChanged());
    }
    this.recolour();
    this.applyVisibility();
    tileLoader().adopt(layer);
  }

  /** The Leaflet layer until now is no longer the row's. */
  leave() {
    if (this.layer && this.panel.map.hasLayer(this.layer)) this.panel.map.removeLayer(this.layer);
    this.layer = null;
  }

  /** Gives the layer's tiles the colours that it has. */
  recolour() {
    const { chain, frames = [] } = this.entry;
    const { colours } = this.look;
    if (!this.layer || !colours || !chain) return;
    tileLoader().recolour(this.layer, { ...colours, chains: [chain, ...frames.map((frame) => frame.chain)] });
  }

  /**
   * ipyleaflet hides a layer by opacity 0 and goes on loading it; what is not looked at must not be computed.
   * @override
   */
  applyVisibility() {
    const { layer } = this;
    const { map } = this.panel;
    if (!layer) return;
    const wanted = this.visible && !this.empty && this.layerModel.get("url").startsWith("muses:");
    if (wanted && !map.hasLayer(layer)) map.addLayer(layer);
    if (!wanted && map.hasLayer(layer)) map.removeLayer(layer);
    if (!wanted) return;
    const opacity = this.opaque;
    // ipyleaflet sets that of the layer alone, in this turn of the event loop.
    queueMicrotask(() => map.hasLayer(layer) && layer.setOpacity(opacity));
  }

  /**
   * @override
   * @param {number} share
   */
  showOpacity(share) {
    this.layer?.setOpacity(share);
  }

  /**
   * @override
   * @param {number} index
   */
  setZIndex(index) {
    this.layer?.setZIndex(index);
  }

  /** @override */
  told() {
    return stateOf(this);
  }

  tilesChanged() {
    if (this.removed || !this.layer) return;
    this.panel.showStatus();
    this.panel.queue.watch();
    clearTimeout(this.reportTimer);
    const state = tileLoader().state(this.layer);
    for (const { code, reason } of state.failed.values()) if (RUN_AGAIN.has(code)) this.panel.showProblem(reason);
    if (state.jobs.size) return;
    this.queue = null;
    const unread = [...state.reports.values()].some((report) => report.failed);
    if (!unread) this.unread = [];
    else this.reportTimer = setTimeout(() => this.panel.guard(() => this.askReasons()), 150);
  }

  /** Why scenes could not be read: the tiles themselves tell only how many. */
  async askReasons() {
    const { chain } = this.entry;
    const status = await askJson(`muses:status/${chain}?z=${Math.round(this.panel.map.getZoom())}`);
    if (chain !== this.entry.chain) return;
    this.unread = status.failed;
    this.panel.showStatus();
  }

  /**
   * How long this layer's tiles still have to wait, and for what.
   * @param {Progress | undefined} progress
   * @param {QueueStatus["queue"]} cluster
   * @param {number} since when the cluster gave its last block back
   */
  showQueue(progress, cluster, since) {
    this.queue = this.loading ? { ...progress, ...(cluster && { cluster }) } : null;
    const seconds = progress?.expected_seconds;
    if (since < this.state.begun || typeof seconds !== "number") this.expectation = null; // no block of this view is back
    else if (this.expectation?.since !== since) this.expectation = { since, until: performance.now() + 1000 * this.expected(seconds) };
  }

  /**
   * The service knows of the tiles that have been asked for; those that wait here for a connection take as long each.
   * @param {number} seconds
   */
  expected(seconds) {
    return seconds * Math.max(1, this.state.jobs.size / Math.max(1, this.queue?.waiting ?? 1));
  }

  askAgain() {
    if (this.layer) tileLoader().retry(this.layer);
  }

  /** @returns {TileState} */
  get state() {
    return this.layer ? tileLoader().state(this.layer) : NO_TILES;
  }

  get loading() {
    return this.visible && this.state.jobs.size > 0;
  }

  /** Whether every part of the view has its tile. */
  get shown() {
    return this.layer !== null && this.state.jobs.size === 0 && coversView(this.layer);
  }

  /**
   * Draws progress, scenes, time and failures.
   * @param {number} metres of a pixel of the screen
   */
  drawState(metres) {
    const { state } = this;
    this.element.classList.toggle("muses-busy", state.jobs.size > 0);
    const done = tilesDone(state);
    this.filled.style.width = `${state.total ? (100 * done) / state.total : 0}%`;
    this.element.dataset.seconds = String(state.seconds ?? "");
    this.element.dataset.tiles = String(state.total);
    this.bar.setAttribute("aria-valuenow", String(done));
    this.bar.setAttribute("aria-valuemax", String(state.total));
    const loading = state.jobs.size > 0;
    // Tiles that are still those of the chain before do not count.
    const reports = [...state.reports.values()].filter((report) => report.source === this.layer?._url);
    const report = joinReports(reports);
    this.found = report?.found ?? null;
    this.used = report?.used ?? null;
    this.enlarged = enlargement(report, metres);
    this.badge.textContent = loading ? "" : describeBriefly(report);
    this.badge.hidden = !this.badge.textContent || !this.visible || !this.closed;
    this.showDot();
    showLines(this.note, [
      loading && describeWait(state, this.queue, this.expectation),
      ...describeReport(report, loading ? null : describeTime(state), this.enlarged, state.failed.size > 0),
    ]);
    this.drawHoles(report?.holes ?? 0);
    this.drawTrouble(describeFailures(state.failed, this.unread), state.failed);
  }

  /**
   * What it means where the map shows through.
   * @param {number} share of such pixels
   */
  drawHoles(share) {
    this.holes.hidden = !share || Boolean(this.empty);
    if (this.holes.hidden) return;
    const percent = share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
    this.holesText.textContent = `${this.entry.legend?.missing ?? "no data"} (${percent})`;
  }

  /**
   * What choosing the scenes left out (copies of an acquisition, unusable items) or corrected: no failure.
   * @param {Remarks} remarks
   */
  drawRemarks({ count, shown }) {
    this.remarks.hidden = count === 0;
    const more = count > shown.length ? [h("li", {}, `and ${count - shown.length} more`)] : [];
    this.remarks.replaceChildren(
      h("summary", {}, `${plural(count, "remark")} on the choice of scenes`),
      h("ul", {}, shown.map((text) => h("li", {}, text)), more),
    );
  }

  /**
   * @param {{ heading: string, text: string }[]} lines
   * @param {Map<unknown, TileFailure>} failed
   */
  drawTrouble(lines, failed) {
    this.trouble.hidden = lines.length === 0;
    this.retry.hidden = failed.size === 0;
    const key = JSON.stringify(lines);
    if (key === this.failureKey) return;
    this.failureKey = key;
    const { open } = this.failures;
    this.failures.replaceChildren(
      h("summary", {}, [...new Set(lines.map((l) => l.heading))].join(", ")),
      h("ul", {}, lines.map((l) => h("li", {}, l.text))),
    );
    this.failures.open = open;
  }

  /**
   * The layer is no longer one of the map's: whatever was under way, it is not drawn again.
   * @override
   */
  remove() {
    super.remove();
    this.leave();
    clearTimeout(this.reportTimer);
  }
}

/**
 * Texts of one line each; unchanged ones are left alone, so that a reader of the screen is not told twice.
 * @param {HTMLElement} element
 * @param {(string | null | undefined | false)[]} lines
 */
function showLines(element, lines) {
  const texts = present(lines);
  if (element.dataset.lines === texts.join("\n")) return;
  element.dataset.lines = texts.join("\n");
  element.replaceChildren(...texts.map((text) => h("div", {}, text)));
}
