// The form of an export: which fields count, what is sent of them, what is told.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { openPage } from "./page.js";

openPage();
const { describe, ExportFormBox } = await import("../../widgets/muses_widgets/js/exportform.js");

const OFFER = {
  layer: "one",
  bands: ["B04", "B08"],
  dates: ["2018-06-01", "2018-06-11"],
  native: ["EPSG:32631", 10],
  formats: [
    { name: "GeoTIFF", suffix: ".tif", kind: "pixels", takes: [] },
    { name: "GeoPackage", suffix: ".gpkg", kind: "pixels", takes: ["values"] },
    { name: "PNG", suffix: ".png", kind: "picture", takes: ["decoration", "logo"] },
    { name: "GIF", suffix: ".gif", kind: "animation", takes: ["decoration", "logo", "fps"] },
    { name: "CSV", suffix: ".csv", kind: "table", takes: ["stats"] },
    { name: "array", suffix: "", kind: "array", takes: [] },
  ],
  stats: [["mean", true], ["q90", true], ["max", false]],
  areas: ["North field", "Wood"],
  stem: "ndvi",
};

function form(offer = OFFER) {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  const started = [];
  const box = new ExportFormBox({
    look: () => ({ layer: "one", bounds: [1, 43, 2, 44], zoom: 11, pixel: 55.3 }),
    estimate: (one, number) => asked.push([number, one]),
    start: (one) => started.push(one),
    open: () => undefined,
  });
  document.body.append(box.element);
  box.element.open = true;
  box.show(offer);
  const set = (field, value) => {
    if (field.type === "checkbox") field.checked = value;
    else field.value = value;
    field.dispatchEvent(new document.defaultView.Event("input", { bubbles: true }));
  };
  const shown = () => Object.entries(box.rows).filter(([, row]) => !row.hidden).map(([name]) => name);
  return { box, asked, started, set, shown };
}

test("at first it is the view as shown, as a GeoTIFF of the layer's name", () => {
  const { box, shown } = form();
  assert.deepEqual(shown(), ["area", "grid", "dates", "bands", "format", "name"]);
  const { name, format, area, grid, dates, bands } = box.form();
  assert.deepEqual([name, format, area.kind, grid.kind, dates, bands], ["ndvi.tif", "GeoTIFF", "view", "shown", { kind: "shown" }, []]);
});

test("a layer of one date and one band is not asked for them", () => {
  const { shown } = form({ ...OFFER, dates: [], bands: [] });
  assert.deepEqual(shown(), ["area", "grid", "format", "name"]);
});

test("a picture has a title and no bands, an animation all dates", () => {
  const { box, set, shown } = form();
  set(box.format, "PNG");
  assert.deepEqual(shown(), ["area", "grid", "dates", "format", "name", "decoration", "logo"]);
  assert.equal(box.form().name, "ndvi.png");
  set(box.format, "GIF");
  assert.deepEqual(shown(), ["area", "grid", "between", "format", "name", "decoration", "logo", "fps"]);
  set(box.logo, " mine.png ");
  const { decoration, logo, fps } = box.form().options;
  assert.deepEqual([box.form().dates, decoration, logo, fps], [{ kind: "all" }, true, "mine.png", 2]);
  set(box.decoration, false);
  assert.ok(!shown().includes("logo"));
  assert.equal(box.form().options.logo, "");
});

test("a table is offered of polygons only, with a choice of statistics and no grid", () => {
  const { box, set, shown } = form();
  const names = () => [...box.format.options].map(({ value }) => value);
  assert.ok(!names().includes("CSV"));
  set(box.area, "places");
  assert.ok(names().includes("CSV"));
  set(box.format, "CSV");
  assert.deepEqual(shown(), ["area", "places", "dates", "bands", "format", "name", "stats"]);
  assert.deepEqual([box.form().name, box.form().options.stats], ["ndvi.csv", ["mean", "q90"]]);
  set(box.stats.querySelectorAll("input")[2], true);
  box.moved();
  assert.deepEqual(box.form().options.stats, ["mean", "q90", "max"]);
  set(box.area, "view");
  assert.equal(box.form().format, "GeoTIFF");
  assert.equal(box.form().name, "ndvi.tif");
});

test("an array in the kernel is a line of Python, without a file and a button", () => {
  const { box, set, shown } = form();
  set(box.format, "array");
  assert.deepEqual(shown(), ["area", "grid", "dates", "bands", "format"]);
  assert.ok(box.go.hidden);
  set(box.format, "GeoPackage");
  set(box.values, "1, 3");
  assert.deepEqual(box.form().options.values, ["1", "3"]);
  assert.ok(!box.go.hidden);
});

test("a name that was typed stays, but for its ending", () => {
  const { box, set } = form();
  set(box.name, "July 2018.tif");
  set(box.format, "PNG");
  assert.equal(box.form().name, "July 2018.png");
});

test("other areas, grids, dates and bands are sent as they were written", () => {
  const { box, set } = form();
  set(box.area, "places");
  set(box.places.querySelectorAll("input")[1], false);
  set(box.grid, "own");
  set(box.crs, "EPSG:2154");
  set(box.resolution, "20");
  set(box.dates, "between");
  set(box.start, "2018-06-01");
  set(box.end, "2018-06-30");
  set(box.bands, "B04; B08");
  const { area, grid, dates, bands } = box.form();
  assert.deepEqual([area.kind, area.names], ["places", ["North field"]]);
  assert.deepEqual([grid.kind, grid.crs, grid.resolution], ["own", "EPSG:2154", "20"]);
  assert.deepEqual([dates, bands], [{ kind: "between", start: "2018-06-01", end: "2018-06-30" }, ["B04", "B08"]]);
});

test("what it would be is asked once after some changes, and an answer of an earlier form is not shown", () => {
  const { box, asked, set } = form();
  mock.timers.tick(400);
  set(box.crs, "EPSG:2");
  set(box.crs, "EPSG:21");
  set(box.crs, "EPSG:2154");
  mock.timers.tick(400);
  assert.deepEqual(asked.map(([number]) => number), [1, 2]);
  box.tell({ asked: 1, error: "old" });
  assert.equal(box.told.textContent, "");
  box.tell({ asked: 2, width: 100, height: 50, scenes: 1, bytes: 2048, seconds: 3, difference: "identical to what you see", line: "m.layer('NDVI').export('ndvi.tif')" });
  assert.equal(box.told.textContent, "100 × 50 pixels of 1 scene, about 2 KiB, about 3.0 s. Identical to what you see.");
  assert.equal(box.line.textContent, "m.layer('NDVI').export('ndvi.tif')");
  assert.equal(box.go.disabled, false);
});

test("a fault of the form is told, and nothing can be exported", () => {
  const { box, set } = form();
  mock.timers.tick(400);
  set(box.area, "file");
  mock.timers.tick(400);
  box.tell({ asked: 2, error: "the area is a file that has no name yet" });
  assert.equal(box.told.textContent, "the area is a file that has no name yet");
  assert.equal(box.go.disabled, true);
  assert.equal(box.line.hidden, true);
});

test("another view keeps what was chosen", () => {
  const { box, set } = form();
  set(box.grid, "native");
  set(box.format, "PNG");
  box.moved();
  assert.deepEqual([box.form().grid.kind, box.form().format], ["native", "PNG"]);
});

test("a folded form asks for nothing", () => {
  const { box, asked, set } = form();
  mock.timers.tick(400);
  box.element.open = false;
  set(box.crs, "EPSG:2154");
  mock.timers.tick(400);
  assert.equal(asked.length, 1);
});

test("what it will be, in a sentence", () => {
  assert.equal(
    describe({ width: 10, height: 20, scenes: 2, bytes: 100, seconds: 100, difference: "the map shows fewer dates" }),
    "10 × 20 pixels of 2 scenes, about 1 KiB, about 2 min. The map shows fewer dates.",
  );
  assert.equal(describe({ areas: 2, dates: 12 }), "24 rows: 2 areas at 12 dates, of the data's own pixels.");
});
