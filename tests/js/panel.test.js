// What the panel is made of: its sections, what it tells the service, what it knows of the queue and of the ground.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { beforeEach, test } from "node:test";

import { coversView, groundResolution } from "../../widgets/muses_widgets/js/mapview.js";
import { Queue } from "../../widgets/muses_widgets/js/queue.js";
import { addSection, sectionKinds } from "../../widgets/muses_widgets/js/sections.js";
import { clusterBox, clusterFacts } from "../../widgets/muses_widgets/js/sections/cluster.js";
import "../../widgets/muses_widgets/js/sections/others.js";
import { ViewReport } from "../../widgets/muses_widgets/js/viewreport.js";
import { openPage, setServer, withServer } from "./page.js";

beforeEach(openPage);

test("sections stand in their order, those without one at the end", () => {
  addSection("last", () => ({}));
  addSection("second", () => ({}), { order: 2 });
  addSection("first", () => ({}), { order: 1 });
  const names = sectionKinds().map(({ name }) => name);
  assert.deepEqual(names.filter((name) => ["first", "second", "last"].includes(name)), ["first", "second", "last"]);
  assert.equal(names.at(-1), "last");
});

test("two sections of one name are refused", () => {
  addSection("twice", () => ({}));
  assert.throws(() => addSection("twice", () => ({})), /two sections "twice"/);
});

test("a pixel at zoom 0 is a 256th of the equator, and shrinks with the latitude", () => {
  const at = (lat) => ({ getCenter: () => ({ lat }) });
  assert.ok(Math.abs(groundResolution(at(0), 0) - 156543.034) < 0.001);
  assert.ok(Math.abs(groundResolution(at(60), 10) - 156543.034 / 1024 / 2) < 0.001);
});

test("a view is covered when each of its tiles is asked for or shown", () => {
  const layer = {
    _map: { getZoom: () => 4, getCenter: () => ({}) },
    _tileZoom: 4,
    _clampZoom: (zoom) => zoom,
    _getTiledPixelBounds: () => ({}),
    _pxBoundsToTileRange: () => ({ min: { x: 0, y: 0 }, max: { x: 1, y: 0 } }),
    _isValidTile: () => true,
    _tileCoordsToKey: ({ x, y, z }) => `${x}:${y}:${z}`,
    _tiles: { "0:0:4": { current: true }, "1:0:4": { current: true } },
  };
  assert.ok(coversView(layer));
  layer._tiles["1:0:4"].current = false;
  assert.ok(!coversView(layer));
  assert.ok(!coversView({ ...layer, _tileZoom: 3 })); // a zoom that is under way
  assert.ok(!coversView({ ...layer, _map: null }));
});

test("the cluster works only when blocks come back while somebody waits", () => {
  const queue = new Queue({});
  queue.noteWork(7, 1000);
  assert.equal(queue.since, 0); // those of the time before
  queue.noteWork(7, 2000);
  assert.equal(queue.since, 0);
  queue.noteWork(8, 3000);
  assert.equal(queue.since, 3000);
  queue.noteWork(undefined, 4000);
  assert.deepEqual([queue.since, queue.finished], [3000, 8]);
});

test("the newest view comes last, and those in between are left out", async () => {
  document.cookie = "_xsrf=2";
  const told = [];
  let release;
  const first = new Promise((resolve) => {
    release = resolve;
  });
  await withServer(
    (request, response) => {
      let body = "";
      request.on("data", (part) => (body += part));
      request.on("end", async () => {
        told.push(JSON.parse(body).z);
        if (told.length === 1) await first;
        response.setHeader("Content-Type", "application/json").end("{}");
      });
    },
    async (url) => {
      setServer(url);
      const view = new ViewReport({});
      const all = [1, 2, 3].map((z) => view.tell({ z }));
      release();
      await Promise.all(all);
    },
  );
  assert.deepEqual(told, [1, 3]);
});

test("a view that could not be told is told again with the next one, the same or not", async () => {
  let asked = 0;
  await withServer(
    (request, response) => {
      asked += 1;
      response.statusCode = asked === 1 ? 502 : 200;
      response.end("{}");
    },
    async (url) => {
      setServer(url);
      const view = new ViewReport({});
      await view.tell({ z: 1 });
      await view.tell({ z: 1 });
      await view.tell({ z: 1 });
    },
  );
  assert.equal(asked, 2);
});

test("a cluster's facts name what it has", () => {
  assert.equal(clusterFacts({ workers: 0 }), "");
  assert.equal(clusterFacts({ workers: 1, threads: 2, memory: 1 << 29, limit: 2 ** 31 }), "1 worker · 2 threads · 512 MiB of 2.0 GiB");
});

test("a cluster's box that is looked at for hours leaves nothing behind at the signal of its end", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const end = new AbortController();
  clusterBox(end.signal);
  for (let n = 0; n < 20; n += 1) {
    t.mock.timers.tick(5000);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  assert.ok(getEventListeners(end.signal, "abort").length <= 1);
  end.abort();
});

/** A model of ipyleaflet's, of which the list asks its name and its views. */
function layerModel(name, view = Promise.resolve({})) {
  return { model_id: name, views: { view }, get: (trait) => (trait === "name" ? name : null), has: () => false, on() {}, off() {} };
}

test("other layers are listed, the top one first, and one that goes while another is still drawn is no failure", async () => {
  let drawn;
  const slow = layerModel("Markers", new Promise((resolve) => {
    drawn = resolve;
  }));
  let layers = [slow, layerModel("Borders")];
  const panel = {
    mapModel: { get: () => layers },
    mapView: {},
    model: { get: (name) => (name === "base" ? "IPY_MODEL_base" : []) },
    guard: (work) => work(),
  };
  const section = sectionKinds().find(({ name }) => name === "others").make(panel);
  const names = () => [...section.body[0].querySelectorAll("label")].map((row) => row.textContent);
  const first = section.layersChanged();
  assert.deepEqual(names(), ["Borders", "Markers"]);
  layers = [slow];
  const second = section.layersChanged();
  drawn({});
  await Promise.all([first, second]);
  assert.deepEqual(names(), ["Markers"]);
});
