// The tile loader: what is asked for first, how many at a time, what is asked for again, how tiles are counted.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ServiceError } from "../../widgets/muses_widgets/js/server.js";
import { isBase, mayPass, TileLoader } from "../../widgets/muses_widgets/js/tiles.js";
import { openPage } from "./page.js";

/** Loaders of the test: what they still wait for would keep Node running. */
let loaders = [];

beforeEach(openPage);
afterEach(() => {
  for (const loader of loaders) {
    loader.waiting.clear();
    for (const { job } of loader.asked) job.abort.abort();
  }
  loaders = [];
});

/** A loader whose server answers when the test says so. */
class ScriptedLoader extends TileLoader {
  asked = [];

  constructor() {
    super();
    loaders.push(this);
  }

  fetchTile(job, signal) {
    return new Promise((resolve, reject) => {
      this.asked.push({ job, resolve, reject });
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  }

  /** Lets the newest request for a tile be answered; `failure` is an error that was drawn as a tile. */
  async answer(tile, { failure = null, report = null, error = null } = {}) {
    const { resolve, reject } = this.asked.findLast(({ job }) => job.tile === tile);
    if (error) reject(error);
    else resolve({ failure, report });
    await settled();
  }

  get coordinates() {
    return this.asked.map(({ job }) => `${job.coords.x}/${job.coords.y}`);
  }
}

const settled = () => new Promise((resolve) => {
  setImmediate(resolve);
});

/** A layer over the middle of tile 8/8 of zoom 4, of which Leaflet is only what the loader asks. */
function layerOf(url = "muses:tiles/a/b/{z}/{x}/{y}.png") {
  const events = {};
  const map = {
    getCenter: () => ({ lat: 43.6, lng: 1.44 }),
    project: () => ({ unscaleBy: () => ({ x: 8.5, y: 8.5 }) }),
  };
  return {
    _url: url,
    _map: map,
    events,
    getTileSize: () => ({ x: 256, y: 256 }),
    getTileUrl: ({ x, y, z }) => url.replace("{z}", z).replace("{x}", x).replace("{y}", y),
    on: (name, callback) => (events[name] = callback),
    fire: () => {},
  };
}

/** Asks a loader for tiles of a layer that is on the map; gives their images. */
async function load(loader, layer, places) {
  loader.adopt(layer);
  const images = places.map(([x, y]) => {
    const tile = document.createElement("canvas");
    loader.load(layer, { x, y, z: 4 }, tile, () => {});
    return tile;
  });
  await settled();
  return images;
}

const ROW = [5, 6, 7, 8, 9, 10, 11, 12].map((x) => [x, 8]);

test("the tile in the middle of the view comes first, in whatever order Leaflet asks", async () => {
  const loader = new ScriptedLoader();
  await load(loader, layerOf(), ROW);
  assert.equal(loader.coordinates[0], "8/8");
  assert.deepEqual(new Set(loader.coordinates.slice(1, 3)), new Set(["7/8", "9/8"]));
});

test("five are asked for at a time, so that the notebook keeps a connection; the base map does not wait for them", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  await load(loader, layer, ROW);
  assert.equal(loader.asked.length, 5);
  await load(loader, layerOf("muses:base/{z}/{x}/{y}.png"), [[8, 8]]);
  assert.equal(loader.asked.length, 6);
  assert.ok(isBase(loader.asked[5].job));
  await loader.answer(loader.asked[0].job.tile);
  assert.equal(loader.asked.length, 6); // the base map has the sixth connection
  await loader.answer(loader.asked[5].job.tile);
  assert.equal(loader.asked.length, 7);
});

test("a layer is not asked for before it is known whether it is visible", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  loader.load(layer, { x: 8, y: 8, z: 4 }, document.createElement("canvas"));
  await settled();
  assert.equal(loader.asked.length, 0);
  loader.adopt(layer);
  assert.equal(loader.asked.length, 1);
});

test("a view counts its tiles until all are there", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [a, b] = await load(loader, layer, [[8, 8], [9, 8]]);
  const state = loader.state(layer);
  assert.deepEqual([state.total, state.jobs.size, state.seconds], [2, 2, null]);
  await loader.answer(a);
  assert.deepEqual([state.total, state.jobs.size, state.seconds], [2, 1, null]);
  await loader.answer(b);
  assert.equal(state.jobs.size, 0);
  assert.equal(typeof state.seconds, "number");
});

test("a tile that left the view is given up and counts no longer", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [a, b] = await load(loader, layer, [[8, 8], [9, 8]]);
  const { job } = loader.asked.find((one) => one.job.tile === b);
  layer.events.tileunload({ tile: b });
  const state = loader.state(layer);
  assert.ok(job.abort.signal.aborted);
  assert.deepEqual([state.total, state.jobs.size], [1, 1]);
  await loader.answer(a);
  assert.equal(typeof state.seconds, "number");
});

test("a tile that is asked for anew replaces the request before, whose answer is not shown", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [tile] = await load(loader, layer, [[8, 8]]);
  const before = loader.asked[0];
  before.resolve({ failure: new ServiceError("gone", "Of the chain before"), report: null }); // on its way already
  loader.load(layer, { x: 8, y: 8, z: 4 }, tile);
  assert.ok(before.job.abort.signal.aborted);
  await settled();
  const state = loader.state(layer);
  assert.deepEqual([state.total, state.jobs.size, state.failed.size], [1, 1, 0]);
});

test("a failure that may pass is asked for again after 2, 4, 8 … seconds, one that may not never", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [tile] = await load(loader, layer, [[8, 8]]);
  const waits = [2, 4, 8, 15, 30, 30, 60];
  for (const [n, seconds] of waits.entries()) {
    await loader.answer(tile, { error: new ServiceError("http-502", "The server answered 502", { status: 502 }) });
    assert.equal(loader.state(layer).failed.size, 1);
    t.mock.timers.tick(seconds * 1000 - 1);
    await settled();
    assert.equal(loader.asked.length, n + 1, `before ${seconds} s`);
    t.mock.timers.tick(1);
    await settled();
    assert.equal(loader.asked.length, n + 2, `after ${seconds} s`);
  }
  await loader.answer(tile, { error: new ServiceError("http-502", "The server answered 502", { status: 502 }) });
  t.mock.timers.tick(3600_000);
  await settled();
  assert.equal(loader.asked.length, waits.length + 1); // from now on the user decides
  assert.equal(loader.state(layer).failed.get(tile).again, null);
  loader.retry(layer);
  await settled();
  assert.equal(loader.asked.length, waits.length + 2);
});

test("which failures may pass: those of the connection, the server, the cluster; not those of what was asked for", () => {
  const passes = (code, status) => mayPass(new ServiceError(code, "", { status }));
  assert.ok(passes("unreachable", 0) && passes("http-503", 503) && passes("busy", 429));
  assert.ok(!passes("no-band", 422) && !passes("no-document", 404) && !passes("internal", 500));
  assert.ok(!passes("timeout", 504) && !passes("no-answer", 0)); // it was waited for long enough
  assert.ok(!mayPass(new Error("The tile is not an image")));
});

test("a broken connection counts as the server's, whatever the browser calls it", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [tile] = await load(loader, layer, [[8, 8]]);
  await loader.answer(tile, { error: new TypeError("network error") });
  const failure = loader.state(layer).failed.get(tile);
  assert.equal(failure.code, "unreachable");
  assert.notEqual(failure.again, null);
  clearTimeout(failure.timer);
});

test("a tile refused because there is too much to do waits as long as the service says, and is no failure", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [tile] = await load(loader, layer, [[8, 8]]);
  const { job, resolve } = loader.asked[0];
  const busy = new ServiceError("busy", "Too much to do", { status: 503, retryAfter: 3 });
  const before = performance.now();
  assert.ok(loader.putOff(job, busy));
  assert.ok(job.notBefore >= before + 3000);
  resolve(null);
  await settled();
  const state = loader.state(layer);
  assert.deepEqual([state.jobs.get(tile), state.failed.size, job.refusal], [job, 0, "Too much to do"]);
  for (let n = 1; n < 40; n += 1) assert.ok(loader.putOff(job, busy));
  assert.ok(!loader.putOff(job, busy)); // forty times is a failure
});

test("what has no time to wait for, or is no matter of load, is not put off", async () => {
  const loader = new ScriptedLoader();
  await load(loader, layerOf(), [[8, 8]]);
  const { job } = loader.asked[0];
  assert.ok(!loader.putOff(job, new ServiceError("busy", "", { status: 503 })));
  assert.ok(!loader.putOff(job, new ServiceError("no-band", "", { status: 422, retryAfter: 3 })));
});

test("a replaced layer keeps its old tiles, marked as such, until the new ones are there", async () => {
  const loader = new ScriptedLoader();
  const layer = layerOf();
  const [tile] = await load(loader, layer, [[8, 8]]);
  await loader.answer(tile, { report: { scenes: [1, 1] } });
  layer._url = "muses:tiles/c/d/{z}/{x}/{y}.png";
  loader.load(layer, { x: 8, y: 8, z: 4 }, tile);
  await settled();
  assert.ok(tile.classList.contains("muses-tile-old"));
  await loader.answer(tile, { report: { scenes: [1, 1] } });
  assert.ok(!tile.classList.contains("muses-tile-old"));
  assert.equal(loader.state(layer).reports.get(tile).source, layer._url);
});
