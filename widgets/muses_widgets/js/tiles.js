// Tiles of `muses:` layers: fetched by us rather than by <img src>, because only then are the status and the reason
// of a failed tile known, a tile nobody looks at any more is really given up, and a replaced layer keeps its old
// tiles until the new ones are there.

/** Chromium opens six connections to a server; one stays free for the notebook's own traffic. */
const PARALLEL = 5;
/** A layer drawn before its panel looked at it waits this long for the panel to say whether it is visible. */
const ADOPTION_MS = 1500;

/** The page's one tile loader, shared by all maps on it. */
class TileLoader {
  constructor() {
    this.waiting = new Set();
    this.running = new Set();
  }

  /** What is known of a Leaflet layer's tiles. Fires `musestiles` on the layer when it changes. */
  state(layer) {
    if (!layer._muses) {
      layer._muses = { jobs: new Map(), failed: new Map(), shown: 0, adopted: false };
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
  load(layer, coords, img, done) {
    const state = this.state(layer);
    const earlier = state.jobs.get(img);
    earlier?.abort.abort();
    this.waiting.delete(earlier);
    const job = {
      layer,
      img,
      url: layer.getTileUrl(coords), // now: Leaflet puts its current zoom into it, not that of `coords`
      coords: { x: coords.x, y: coords.y, z: coords.z },
      done: done ?? earlier?.done,
      abort: new AbortController(),
    };
    state.jobs.set(img, job);
    state.failed.delete(img);
    this.waiting.add(job);
    this.changed(layer);
    // After Leaflet has asked for the whole view, so that the middle of the view comes first.
    queueMicrotask(() => this.pump());
  }

  drop(layer, img) {
    const state = this.state(layer);
    const job = state.jobs.get(img);
    if (job) {
      job.abort.abort();
      this.waiting.delete(job);
      state.jobs.delete(img);
    }
    state.failed.delete(img);
    this.changed(layer);
  }

  /** Asks again for every failed tile of a layer. */
  retry(layer) {
    for (const [img, failure] of [...this.state(layer).failed]) this.load(layer, failure.coords, img);
  }

  pump() {
    while (this.running.size < PARALLEL) {
      let best = null;
      for (const job of this.waiting) {
        if (!job.layer._muses.adopted || !job.layer._map) continue;
        job.rank = distanceToCentre(job);
        if (best === null || job.rank < best.rank) best = job;
      }
      if (best === null) return;
      this.waiting.delete(best);
      this.running.add(best);
      this.run(best).finally(() => {
        this.running.delete(best);
        this.pump();
      });
    }
  }

  async run(job) {
    const { layer, img } = job;
    const state = layer._muses;
    let failure = null;
    try {
      const response = await ask(job.url, { signal: job.abort.signal });
      const isImage = response.headers.get("Content-Type")?.startsWith("image/");
      if (!response.ok) failure = await serviceError(isImage ? response.clone() : response);
      if (isImage) await show(img, await response.blob(), job.abort.signal);
      else throw failure ?? new ServiceError("not-a-tile", `The server sent no image for ${job.url}`);
    } catch (error) {
      if (job.abort.signal.aborted) return;
      failure = error;
      showFailure(img);
    }
    if (job.abort.signal.aborted || state.jobs.get(img) !== job) return;
    state.jobs.delete(img);
    img.classList.toggle("muses-tile-failed", failure !== null);
    if (failure) state.failed.set(img, { coords: job.coords, code: failure.code ?? "error", reason: failure.message });
    else state.shown += 1;
    job.done?.(null, img);
    this.changed(layer);
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

/** Distance of a tile from the middle of its map, in tiles. */
function distanceToCentre({ layer, coords }) {
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
  const key = Symbol.for("muses-lab.tile-loader.1");
  window[key] ??= new TileLoader();
  return window[key];
}
