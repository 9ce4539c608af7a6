// Tiles of `muses:` layers: fetched by us rather than by <img src>, because only then are the status and the reason
// of a failed tile known, a tile nobody looks at any more is really given up, and a replaced layer keeps its old
// tiles until the new ones are there.

/** Chromium opens six connections to a server; one stays free for the notebook's own traffic. */
const PARALLEL = 5;
/** A layer drawn before its panel looked at it waits this long for the panel to say whether it is visible. */
const ADOPTION_MS = 1500;

/** Seconds after which a failure that may pass is asked for again; once they are used up, the user decides. */
const AGAIN = [2, 4, 8, 15, 30, 30, 60];
/** How often a tile may be refused because there is too much to do, before it counts as failed. */
const REFUSALS = 40;
const HEADER = "X-Muses-Report";

/** The page's one tile loader, shared by all maps on it. */
class TileLoader {
  constructor() {
    this.waiting = new Set();
    this.running = new Set();
    /** Seconds that a tile may take; the service, which gives up first, tells its own limit. */
    this.patience = 130;
  }

  /** What is known of a Leaflet layer's tiles. Fires `musestiles` on the layer when it changes. */
  state(layer) {
    if (!layer._muses) {
      layer._muses = {
        adopted: false,
        jobs: new Map(), // tile's image → what is asked for
        failed: new Map(), // image → why, and when it is asked for again
        reports: new Map(), // image → what the tile that it shows told of itself
        view: "",
        begun: 0,
        total: 0, // tiles that this view needed
        seconds: null, // that they took; null until all are there
      };
      layer.on("tileunload", (event) => this.drop(layer, event.tile));
      setTimeout(() => this.adopt(layer), ADOPTION_MS);
    }
    return layer._muses;
  }

  /** From now on the layer's tiles are fetched; hidden layers are taken off the map before this. */
  adopt(layer) {
    const state = this.state(layer);
    if (state.adopted) return;
    state.adopted = true;
    this.pump();
  }

  /** Loads the tile at `coords` into `img`, then calls `done`; an earlier request for the same image is given up. */
  load(layer, coords, img, done, tries = 0) {
    const state = this.state(layer);
    const earlier = state.jobs.get(img);
    earlier?.abort.abort();
    this.waiting.delete(earlier);
    this.forgetFailure(state, img);
    const url = layer.getTileUrl(coords); // now: Leaflet puts its current zoom into it, not that of `coords`
    this.count(state, layer, coords.z, Boolean(earlier));
    const job = {
      layer,
      img,
      url,
      source: layer._url,
      coords: { x: coords.x, y: coords.y, z: coords.z },
      done: done ?? earlier?.done,
      tries,
      refused: 0,
      refusal: null,
      notBefore: 0,
      abort: new AbortController(),
    };
    state.jobs.set(img, job);
    this.waiting.add(job);
    this.changed(layer);
    // After Leaflet has asked for the whole view, so that the middle of the view comes first.
    queueMicrotask(() => this.pump());
  }

  /** The clock of a view starts with its first tile; what is still under way from before is part of it. */
  count(state, layer, zoom, replaces) {
    const { lat, lng } = layer._map.getCenter();
    const view = [zoom, lat.toFixed(6), lng.toFixed(6), layer._url].join();
    if (view !== state.view || !state.jobs.size) {
      state.view = view;
      state.begun = performance.now();
      state.total = state.jobs.size;
      state.seconds = null;
    }
    if (!replaces) state.total += 1;
  }

  drop(layer, img) {
    const state = this.state(layer);
    const job = state.jobs.get(img);
    if (job) {
      job.abort.abort();
      this.waiting.delete(job);
      state.jobs.delete(img);
      state.total -= 1;
      this.settle(state);
    }
    this.forgetFailure(state, img);
    state.reports.delete(img);
    this.changed(layer);
  }

  /** Asks again for every failed tile of a layer. */
  retry(layer) {
    for (const [img, failure] of [...this.state(layer).failed]) this.load(layer, failure.coords, img);
  }

  forgetFailure(state, img) {
    clearTimeout(state.failed.get(img)?.timer);
    state.failed.delete(img);
  }

  settle(state) {
    if (!state.jobs.size && state.seconds === null) state.seconds = (performance.now() - state.begun) / 1000;
  }

  pump() {
    for (;;) {
      let best = null;
      for (const job of this.waiting) {
        if (!job.layer._muses.adopted || !job.layer._map || job.notBefore > performance.now()) continue;
        job.rank = distanceToCentre(job);
        if (best === null || job.rank < best.rank) best = job;
      }
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

  async run(job) {
    const { layer, img, abort, source } = job;
    const state = layer._muses;
    let failure = null;
    let report = null;
    try {
      await within(this.patience, abort.signal, async (signal) => {
        const response = await ask(job.url, { signal });
        const isImage = response.headers.get("Content-Type")?.startsWith("image/");
        if (!response.ok) failure = await serviceError(isImage ? response.clone() : response);
        if (failure && this.putOff(job, failure)) return;
        if (!isImage) throw failure ?? new ServiceError("not-a-tile", `The server sent no image for ${job.url}`);
        const told = response.headers.get(HEADER);
        if (told) report = readReport(JSON.parse(told));
        await show(img, await response.blob(), signal);
      });
    } catch (error) {
      if (abort.signal.aborted) return;
      // fetch() raises a TypeError when the connection breaks in the middle of an answer.
      failure = error instanceof TypeError ? new ServiceError("unreachable", "The connection broke.") : error;
      showFailure(img);
    }
    if (abort.signal.aborted || state.jobs.get(img) !== job || this.waiting.has(job)) return;
    state.jobs.delete(img);
    img.classList.toggle("muses-tile-failed", failure !== null);
    state.reports.delete(img);
    if (report) state.reports.set(img, { ...report, source });
    if (failure) this.noteFailure(job, failure);
    this.settle(state);
    job.done?.(null, img);
    this.changed(layer);
  }

  /** A tile that was refused because there is too much to do waits as long as the service says. */
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

  noteFailure({ layer, img, coords, tries }, failure) {
    const entry = { coords, code: failure.code ?? "error", reason: failure.message, again: null, timer: null };
    const seconds = mayPass(failure) ? AGAIN[tries] : undefined;
    if (seconds !== undefined) {
      entry.again = performance.now() + seconds * 1000;
      entry.timer = setTimeout(() => {
        if (layer._map && layer._muses.failed.get(img) === entry) this.load(layer, coords, img, undefined, tries + 1);
      }, seconds * 1000);
    }
    layer._muses.failed.set(img, entry);
  }

  changed(layer) {
    layer.fire("musestiles");
  }

  /** Makes a Leaflet TileLayer class load `muses:` tiles through this loader; other URLs are left to Leaflet. */
  teach(prototype) {
    if (Object.hasOwn(prototype, "_musesTaught")) return;
    const loader = this;
    const { createTile, refresh } = prototype;
    prototype._musesTaught = true;
    prototype.createTile = function (coords, done) {
      if (!this._url?.startsWith("muses:")) return createTile.call(this, coords, done);
      const img = document.createElement("img");
      img.alt = "";
      loader.load(this, coords, img, done);
      return img;
    };
    // ipyleaflet calls refresh() when a layer's URL changes.
    prototype.refresh = function () {
      if (!this._url?.startsWith("muses:")) return refresh?.call(this);
      for (const tile of Object.values(this._tiles ?? {})) {
        if (tile.current) loader.load(this, this._wrapCoords(tile.coords), tile.el);
      }
    };
  }
}

/** Whether a failure is one of the connection, the server or the cluster rather than of what was asked for. */
function mayPass({ code, status }) {
  if (code === "no-answer" || code === "timeout") return false; // it was waited for long enough: the user decides
  return code === "unreachable" || [429, 499, 502, 503, 504].includes(status);
}

/** What a tile told of itself, its scenes as bits by their number in the chain: see `service/tile_report.py`. */
function readReport({ scenes, bits = {}, levels = [], native = [], thinned = null, failed = 0 }) {
  const found = bytesOf(bits.found);
  const used = bytesOf(bits.used);
  const numbered = new Uint8Array(found.length);
  let nth = 0;
  for (let n = 0; n < found.length * 8; n += 1) {
    if (!bit(found, n)) continue;
    if (bit(used, nth)) numbered[n >> 3] |= 128 >> (n & 7);
    nth += 1;
  }
  return { scenes, found, used: numbered, levels, native, thinned, failed };
}

const bit = (bytes, n) => Boolean(bytes[n >> 3] & (128 >> (n & 7)));
const bytesOf = (text = "") => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** The reports of several tiles as one; null if none of them told anything. */
function joinReports(reports) {
  if (!reports.length) return null;
  const all = (name) => [...new Set(reports.flatMap((r) => r[name]))].sort((a, b) => a - b);
  const count = (name, nth) => countBits(reports.map((r) => r[name])) || Math.max(...reports.map((r) => r.scenes[nth]));
  const thinned = reports.map((r) => r.thinned).filter(Boolean);
  return {
    tiles: reports.length,
    used: count("used", 0),
    found: count("found", 1),
    levels: all("levels"),
    native: all("native"),
    thinned: thinned.sort((a, b) => b[1] - a[1])[0] ?? null,
    failed: Math.max(...reports.map((r) => r.failed)),
  };
}

/** How many bits are set in any of several sets. */
function countBits(sets) {
  const joined = new Uint8Array(Math.max(...sets.map((set) => set.length)));
  for (const set of sets) set.forEach((byte, i) => (joined[i] |= byte));
  let n = 0;
  for (let byte of joined) for (; byte; byte &= byte - 1) n += 1;
  return n;
}

const isBase = ({ url }) => url.startsWith("muses:base/");

/** Distance of a tile from the middle of its map, in tiles; the base map, which costs next to nothing, comes first. */
function distanceToCentre(job) {
  if (isBase(job)) return -1;
  const { layer, coords } = job;
  const map = layer._map;
  const centre = map.project(map.getCenter(), coords.z).unscaleBy(layer.getTileSize());
  return Math.hypot(coords.x + 0.5 - centre.x, coords.y + 0.5 - centre.y);
}

/** Puts an image that has arrived into a tile; what was there before stays until the new one is decoded. */
async function show(img, blob, signal) {
  const url = URL.createObjectURL(blob);
  try {
    const ready = new Image();
    ready.src = url;
    await ready.decode();
    if (signal.aborted) return;
    const loaded = new Promise((resolve, reject) => {
      img.onload = resolve;
      img.onerror = () => reject(new Error("The tile is not an image"));
      signal.addEventListener("abort", resolve);
    });
    img.src = url;
    await loaded;
  } finally {
    URL.revokeObjectURL(url);
  }
}

const FAILED_TILE =
  "data:image/svg+xml," +
  encodeURIComponent(
    `<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"><rect width="256" height="256" fill="#b3261e"
    fill-opacity=".12"/><path d="M0 0L256 256M256 0L0 256" stroke="#b3261e" stroke-opacity=".35"/><text x="128" y="134"
    font-family="sans-serif" font-size="14" text-anchor="middle" fill="#8c1d18">tile failed</text></svg>`,
  );

function showFailure(img) {
  img.onload = img.onerror = null;
  img.src = FAILED_TILE;
}

/** All panels of the page share one loader, whichever of them came first. */
function tileLoader() {
  const key = Symbol.for("muses-lab.tile-loader.2");
  window[key] ??= new TileLoader();
  return window[key];
}
