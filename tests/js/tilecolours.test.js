// Tiles of values: which are coloured when, and how a tile's body is read. That the colours are the service's:
// tests/test_colours.py.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { coloured, rint, stretched } from "../../widgets/muses_widgets/js/tilecolours.js";
import { TileLoader } from "../../widgets/muses_widgets/js/tiles.js";
import { readValues, VALUES_TYPE } from "../../widgets/muses_widgets/js/values.js";
import { openPage, setServer } from "./page.js";

beforeEach(() => {
  openPage();
  setServer("/");
});

/** Two pixels: 0.5 and nothing. */
function body() {
  const line = '{"size":[1,2],"type":"float32","bands":[{"codes":"uint8","table":1}]}';
  const bytes = new Uint8Array(Math.ceil((line.length + 1) / 8) * 8 + 16);
  bytes.fill(32);
  bytes.set(new TextEncoder().encode(line));
  bytes[bytes.length - 17] = 10;
  bytes.set(new Uint8Array(Float32Array.of(0.5).buffer), bytes.length - 16);
  bytes.set([1, 0], bytes.length - 8);
  return bytes.buffer;
}

/** Of one colour at and above `vmin`, else black. */
const colours = (colour, more = {}) => ({
  kind: "continuous", bands: [0], vmin: 0, vmax: 1, gamma: 1, opacity: 1, cmap: null, classes: [], chains: ["a"],
  table: btoa(String.fromCharCode(...Array.from({ length: 255 }, () => colour).flat())), ...more,
});

const layerOf = (url = "muses:tiles/a/{z}/{x}/{y}.v1") => ({
  _url: url,
  _map: { getCenter: () => ({ lat: 0, lng: 0 }), project: () => ({ unscaleBy: () => ({ x: 8, y: 8 }) }) },
  getTileSize: () => ({ x: 256, y: 256 }),
  getTileUrl: () => url,
  on: () => {},
  fire: () => {},
});

/** A loader that gets these answers, one after the other; what it was asked for. */
function serving(...answers) {
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(url);
    return answers.shift();
  };
  return { loader: new TileLoader(), asked };
}

const values = (status = 200) => new Response(body(), { status, headers: { "Content-Type": VALUES_TYPE } });

async function load(loader, layer, tile = document.createElement("canvas")) {
  loader.adopt(layer);
  await new Promise((resolve) => {
    loader.load(layer, { x: 8, y: 8, z: 4 }, tile, resolve);
  });
  return tile;
}

const pixels = (tile) => [...(tile.drawing?.pixels ?? [])];

test("a tile's values are read from what the service packed", () => {
  const { width, height, bands } = readValues(body());
  assert.deepEqual([width, height, [...bands[0].numbers], [...bands[0].codes]], [2, 1, [0.5], [1, 0]]);
});

test("other colours are drawn at once, and nothing is asked for", async () => {
  const { loader, asked } = serving(values());
  const layer = layerOf();
  loader.recolour(layer, colours([1, 2, 3]));
  const tile = await load(loader, layer);
  assert.deepEqual(pixels(tile), [1, 2, 3, 255, 0, 0, 0, 0]);
  loader.recolour(layer, colours([9, 8, 7], { opacity: 0.5 }));
  assert.deepEqual(pixels(tile), [9, 8, 7, 128, 0, 0, 0, 0]);
  assert.equal(asked.length, 1);
});

test("values that come before their colours are told are drawn when they are", async () => {
  const { loader } = serving(values());
  const layer = layerOf();
  const tile = await load(loader, layer);
  assert.deepEqual(pixels(tile), []);
  loader.recolour(layer, colours([1, 2, 3]));
  assert.deepEqual(pixels(tile), [1, 2, 3, 255, 0, 0, 0, 0]);
});

test("tiles of the chain before keep its colours until the new ones are there", async () => {
  const { loader } = serving(values(), values());
  const layer = layerOf();
  loader.recolour(layer, colours([1, 2, 3]));
  const tile = await load(loader, layer);
  loader.recolour(layer, colours([9, 9, 9], { chains: ["b"] }));
  assert.deepEqual(pixels(tile).slice(0, 3), [1, 2, 3]);
  layer._url = "muses:tiles/b/{z}/{x}/{y}.v1";
  await load(loader, layer, tile);
  assert.deepEqual(pixels(tile).slice(0, 3), [9, 9, 9]);
});

test("a tile that failed shows that, whatever the colours", async () => {
  const { loader } = serving(values(), new Response("oh", { status: 500, headers: { "Content-Type": "text/plain" } }));
  const layer = layerOf();
  loader.recolour(layer, colours([1, 2, 3]));
  const tile = await load(loader, layer);
  await load(loader, layer, tile);
  assert.deepEqual(tile.drawing.texts, ["tile failed"]);
  loader.recolour(layer, colours([9, 9, 9]));
  assert.deepEqual([tile.drawing.texts, tile.drawing.pixels], [["tile failed"], null]);
  assert.equal(loader.state(layer).failed.size, 1);
});

test("a tile that is no longer on the map is not coloured any more", async () => {
  const { loader } = serving(values());
  const layer = layerOf();
  loader.recolour(layer, colours([1, 2, 3]));
  const tile = await load(loader, layer);
  loader.drop(layer, tile);
  loader.recolour(layer, colours([9, 9, 9]));
  assert.deepEqual(pixels(tile).slice(0, 3), [1, 2, 3]);
});

test("halves are rounded to the even number, as in Python", () => {
  assert.deepEqual([0.5, 1.5, 2.5, 76.5, 127.5, 3.49, 3.51].map(rint), [0, 2, 2, 76, 128, 3, 4]);
});

test("a range runs from the first colour to the last, and what is missing has none", () => {
  const range = { vmin: 0, vmax: 1, gamma: 1 };
  assert.deepEqual([...stretched(Float32Array.of(-5, 0, 0.5, 1, 7, NaN, Infinity), range)], [1, 1, 128, 255, 255, 0, 255]);
  const brighter = stretched(Float32Array.of(0, 0.25, 1), { ...range, gamma: 2 });
  assert.deepEqual([...brighter], [1, 128, 255]);
});

test("three bands are one colour, where all of them have a value", () => {
  const one = (...numbers) => ({ numbers: Float32Array.from(numbers), codes: null });
  const found = coloured({ width: 2, height: 1, bands: [one(0, 1), one(0.5, NaN), one(1, 1)] }, colours([], { kind: "rgb", bands: [0, 1, 2], table: "" }));
  assert.deepEqual([...found], [0, 128, 255, 255, 0, 0, 0, 0]);
});
