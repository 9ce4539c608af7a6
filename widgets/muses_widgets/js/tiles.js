// @ts-check
// Tiles of `muses:` layers: fetched by us rather than by <img src>, because only then are the status and the reason
// of a failed tile known, a tile nobody looks at any more is really given up, a replaced layer keeps its old tiles
// until the new ones are there, and other colours of the same values ask for nothing.

/** @import { Coords, Job, LayerColours, LeafletTileLayer, TileDone, TileFailure, TileReport, TileState } from "./types" */

import { theme } from "./dom.js";
import { ask, ServiceError, serviceError, within } from "./server.js";
import { drawFailure, drawPicture, drawValues, tileCanvas } from "./tilecanvas.js";
import { readReport, REPORT_HEADER } from "./tilereport.js";
import { readValues, VALUES_TYPE } from "./values.js";

/** Chromium opens six connections to a server; one stays free for the notebook's own traffic. */
const PARALLEL = 5;
/** A layer drawn before its panel looked at it waits this long for the panel to say whether it is visible. */
const ADOPTION_MS = 1500;

/** Seconds after which a failure that may pass is asked for again; once they are used up, the user decides. */
const AGAIN = [2, 4, 8, 15, 30, 30, 60];
/** How often a tile may be refused because there is too much to do, before it counts as failed. */
const REFUSALS = 40;

/** The page's one tile loader, shared by all maps on it. */
export class TileLoader {
  constructor() {
    /** @type {Set<Job>} */
    this.waiting = new Set();
    /** @type {Set<Job>} */
    this.running = new Set();
    /** Seconds that a tile may take; the service, which gives up first, tells its own limit. */
    this.patience = 130;
  }

  /**
   * What is known of a Leaflet layer's tiles. Fires `musestiles` on the layer when it changes.
   * @param {LeafletTileLayer} layer
   * @returns {TileState}
   */
  state(layer) {
    if (!layer._muses) {
      layer._muses = noTiles();
      layer.on("tileunload", (event) => this.drop(layer, event.tile));
      setTimeout(() => this.adopt(layer), ADOPTION_MS);
    }
    return layer._muses;
  }

  /**
   * From now on the layer's tiles are fetched; hidden layers are taken off the map before this.
   * @param {LeafletTileLayer} layer
   */
  adopt(layer) {
    const state = this.state(layer);
    if (state.adopted) return;
    state.adopted = true;
    this.pump();
  }

  /**
   * Loads the tile at `coords` into `tile`, then calls `done`; an earlier request for the same image is given up.
   * @param {LeafletTileLayer} layer
   * @param {Coords} coords
   * @param {HTMLCanvasElement} tile
   * @param {TileDone} [done]
   * @param {number} [tries] after failures
   */
  load(layer, coords, tile, done, tries = 0) {
    const state = this.state(layer);
    const earlier = state.jobs.get(tile);
    if (earlier) this.giveUp(earlier);
    this.forgetFailure(state, tile);
    const url = themed(layer.getTileUrl(coords)); // now: Leaflet puts its current zoom into it, not that of `coords`
    this.count(state, layer, coords.z, Boolean(earlier));
    /** @type {Job} */
    const job = {
      layer,
      tile,
      url,
      source: layer._url,
      coords: { x: coords.x, y: coords.y, z: coords.z },
      done: done ?? earlier?.done,
      tries,
      refused: 0,
      refusal: null,
      notBefore: 0,
      rank: 0,
      abort: new AbortController(),
    };
    state.jobs.set(tile, job);
    tile.classList.toggle("muses-tile-old", (state.reports.get(tile)?.source ?? job.source) !== job.source);
    this.waiting.add(job);
    this.changed(layer);
    // After Leaflet has asked for the whole view, so that the middle of the view comes first.
    queueMicrotask(() => this.pump());
  }

  /**
   * The clock of a view starts with its first tile; what is still under way from before is part of it.
   * @param {TileState} state
   * @param {LeafletTileLayer} layer
   * @param {number} zoom
   * @param {boolean} replaces an earlier request for the same tile
   */
  count(state, layer, zoom, replaces) {
    const centre = layer._map?.getCenter();
    const view = [zoom, centre?.lat.toFixed(6), centre?.lng.toFixed(6), layer._url].join();
    if (view !== state.view || !state.jobs.size) {
      state.view = view;
      state.begun = performance.now();
      state.total = state.jobs.size;
      state.seconds = null;
    }
    if (!replaces) state.total += 1;
  }

  /**
   * A tile that the map no longer has.
   * @param {LeafletTileLayer} layer
   * @param {HTMLCanvasElement} tile
   */
  drop(layer, tile) {
    const state = this.state(layer);
    const job = state.jobs.get(tile);
    if (job) {
      this.giveUp(job);
      state.jobs.delete(tile);
      state.total -= 1;
      this.settle(state);
    }
    this.forgetFailure(state, tile);
    state.reports.delete(tile);
    state.values.delete(tile);
    this.changed(layer);
  }

  /** @param {Job} job */
  giveUp(job) {
    job.abort.abort();
    this.waiting.delete(job);
  }

  /**
   * Asks again for every failed tile of a layer.
   * @param {LeafletTileLayer} layer
   */
  retry(layer) {
    for (const [tile, failure] of [...this.state(layer).failed]) this.load(layer, failure.coords, tile);
  }

  /**
   * @param {TileState} state
   * @param {HTMLCanvasElement} tile
   */
  forgetFailure(state, tile) {
    clearTimeout(state.failed.get(tile)?.timer);
    state.failed.delete(tile);
  }

  /** @param {TileState} state */
  settle(state) {
    if (!state.jobs.size && state.seconds === null) state.seconds = (performance.now() - state.begun) / 1000;
  }

  /** Asks for the tiles nearest to the middle of their map, as many at a time as there are connections. */
  pump() {
    for (;;) {
      const best = this.nearest();
      // Base map tiles take milliseconds: they do not wait until slow ones give a connection back.
      if (best === null || this.running.size >= PARALLEL + (isBase(best) ? 1 : 0)) return;
      this.waiting.delete(best);
      this.running.add(best);
      this.run(best).finally(() => {
        this.running.delete(best);
        this.pump();
      });
    }
  }

  /** Of the tiles that may be asked for now, the one to ask for first. */
  nearest() {
    /** @type {Job | null} */
    let best = null;
    for (const job of this.waiting) {
      if (!this.state(job.layer).adopted || !job.layer._map || job.notBefore > performance.now()) continue;
      job.rank = distanceToCentre(job);
      if (best === null || job.rank < best.rank) best = job;
    }
    return best;
  }

  /** @param {Job} job */
  async run(job) {
    const { layer, tile, abort, source } = job;
    const state = this.state(layer);
    /** @type {ServiceError | Error | null} */
    let failure;
    /** @type {TileReport | null} */
    let report = null;
    try {
      const answer = await within(this.patience, abort.signal, (signal) => this.fetchTile(job, signal));
      if (answer === null) return; // it was put off
      ({ failure, report } = answer);
    } catch (error) {
      if (abort.signal.aborted) return;
      // fetch() raises a TypeError when the connection breaks in the middle of an answer.
      failure = error instanceof TypeError ? new ServiceError("unreachable", "The connection broke.") : asError(error);
      state.values.delete(tile);
      drawFailure(tile);
    }
    if (abort.signal.aborted || state.jobs.get(tile) !== job) return;
    state.jobs.delete(tile);
    tile.classList.toggle("muses-tile-failed", failure !== null);
    tile.classList.remove("muses-tile-old");
    state.reports.delete(tile);
    if (report) state.reports.set(tile, { ...report, source });
    if (failure) this.noteFailure(job, failure);
    this.settle(state);
    job.done?.(null, tile);
    this.changed(layer);
  }

  /**
   * Asks for a tile and shows what came; null if the service has put it off.
   * @param {Job} job
   * @param {AbortSignal} signal
   */
  async fetchTile(job, signal) {
    const response = await ask(job.url, { signal });
    const type = response.headers.get("Content-Type") ?? "";
    const isImage = type.startsWith("image/");
    const failure = response.ok ? null : await serviceError(isImage ? response.clone() : response);
    if (failure && this.putOff(job, failure)) return null;
    const areValues = type.startsWith(VALUES_TYPE);
    if (!isImage && !areValues) throw failure ?? new ServiceError("not-a-tile", `The server sent no tile for ${job.url}`);
    const told = response.headers.get(REPORT_HEADER);
    const report = told ? readReport(JSON.parse(told)) : null;
    const { values } = this.state(job.layer);
    if (areValues) {
      const found = readValues(await response.arrayBuffer());
      if (signal.aborted) return null;
      values.set(job.tile, { ...found, source: job.source });
      this.colour(job.layer, job.tile);
    } else {
      const picture = await response.blob();
      if (!signal.aborted) values.delete(job.tile);
      await drawPicture(job.tile, picture, signal);
    }
    return { failure, report };
  }

  /**
   * From now on these are the colours of a layer's values, also of those that are there; nothing is asked for.
   * @param {LeafletTileLayer} layer
   * @param {LayerColours} colours
   */
  recolour(layer, colours) {
    const state = this.state(layer);
    if (JSON.stringify(colours) === JSON.stringify(state.colours)) return;
    state.colours = colours;
    for (const tile of state.values.keys()) this.colour(layer, tile);
  }

  /**
   * Draws a tile's values, if the layer's colours are told.
   * @param {LeafletTileLayer} layer
   * @param {HTMLCanvasElement} tile
   */
  colour(layer, tile) {
    const { colours, values } = this.state(layer);
    const found = values.get(tile);
    if (found && colours && areOf(colours, found.source)) drawValues(tile, found, colours);
  }

  /**
   * A tile that was refused because there is too much to do waits as long as the service says.
   * @param {Job} job
   * @param {ServiceError} failure
   */
  putOff(job, failure) {
    const { status, retryAfter } = failure;
    if (retryAfter === null || ![429, 503].includes(status) || ++job.refused > REFUSALS) return false;
    job.refusal = failure.message;
    this.waiting.add(job);
    const wait = Math.min(60, Math.max(0.2, retryAfter)) * 1000;
    job.notBefore = performance.now() + wait;
    setTimeout(() => this.pump(), wait + 5);
    this.changed(job.layer);
    return true;
  }

  /**
   * Keeps why a tile failed; asks for it again where that may pass.
   * @param {Job} job
   * @param {Error} failure
   */
  noteFailure({ layer, tile, coords, tries }, failure) {
    const { failed } = this.state(layer);
    const code = failure instanceof ServiceError ? failure.code : "error";
    /** @type {TileFailure} */
    const entry = { coords, code, reason: failure.message, again: null, timer: undefined };
    const seconds = mayPass(failure) ? AGAIN[tries] : undefined;
    if (seconds !== undefined) {
      entry.again = performance.now() + seconds * 1000;
      entry.timer = setTimeout(() => {
        if (layer._map && failed.get(tile) === entry) this.load(layer, coords, tile, undefined, tries + 1);
      }, seconds * 1000);
    }
    failed.set(tile, entry);
  }

  /** @param {LeafletTileLayer} layer */
  changed(layer) {
    layer.fire("musestiles");
  }

  /**
   * Makes a Leaflet TileLayer class load `muses:` tiles through this loader; other URLs are left to Leaflet.
   * @param {LeafletTileLayer} prototype
   */
  teach(prototype) {
    if (Object.hasOwn(prototype, "_musesTaught")) return;
    const loader = this;
    const { createTile, refresh } = prototype;
    prototype._musesTaught = true;
    /** @this {LeafletTileLayer} @param {Coords} coords @param {TileDone} done */
    prototype.createTile = function (coords, done) {
      if (!this._url?.startsWith("muses:")) return createTile.call(this, coords, done);
      const tile = tileCanvas();
      loader.load(this, coords, tile, done);
      return tile;
    };
    // ipyleaflet calls refresh() when a layer's URL changes.
    /** @this {LeafletTileLayer} */
    prototype.refresh = function () {
      if (!this._map) return; // it is hidden; what it shows is asked for when it comes back
      if (!this._url?.startsWith("muses:")) return refresh?.call(this);
      for (const tile of Object.values(this._tiles ?? {})) {
        if (tile.current) loader.load(this, this._wrapCoords(tile.coords), tile.el);
      }
    };
  }
}

/** What is known of a layer's tiles when there are none. */
export const noTiles = () =>
  /** @type {TileState} */ ({
    adopted: false,
    jobs: new Map(),
    failed: new Map(),
    reports: new Map(),
    values: new Map(),
    colours: null,
    view: "",
    begun: 0,
    total: 0,
    seconds: null,
  });

/**
 * Whether a failure is one of the connection, the server or the cluster rather than of what was asked for.
 * @param {Error} failure
 */
export function mayPass(failure) {
  if (!(failure instanceof ServiceError)) return false;
  const { code, status } = failure;
  if (code === "no-answer" || code === "timeout") return false; // it was waited for long enough: the user decides
  return code === "unreachable" || [429, 499, 502, 503, 504].includes(status);
}

/** @param {unknown} error */
const asError = (error) => (error instanceof Error ? error : new Error(String(error)));

/** @param {{ url: string }} tile or layer */
export const isBase = ({ url }) => url.startsWith("muses:base/");

/**
 * The base map is drawn for the page's theme; layers have their own colours.
 * @param {string} url
 */
const themed = (url) => (isBase({ url }) ? `${url}?theme=${theme()}` : url);

/**
 * Distance of a tile from the middle of its map, in tiles; the base map, which costs next to nothing, comes first.
 * @param {Job} job
 */
function distanceToCentre(job) {
  if (isBase(job)) return -1;
  const { layer, coords } = job;
  const map = layer._map;
  if (!map) return Infinity;
  const centre = map.project(map.getCenter(), coords.z).unscaleBy(layer.getTileSize());
  return Math.hypot(coords.x + 0.5 - centre.x, coords.y + 0.5 - centre.y);
}

/**
 * Whether a layer's colours are those of a tile: of another chain than they are, it waits until its own are told.
 * @param {LayerColours | null} colours
 * @param {string} source
 */
const areOf = (colours, source) => colours !== null && colours.chains.some((chain) => source.includes(`/${chain}/`));

/** All panels of the page share one loader, whichever of them came first. */
export function tileLoader() {
  const page = /** @type {Record<symbol, TileLoader | undefined>} */ (/** @type {unknown} */ (window));
  return (page[Symbol.for("muses-lab.tile-loader.4")] ??= new TileLoader());
}
