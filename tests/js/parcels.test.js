// Parcels: filters, sorting, colours and the paths of small plots.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
const { colourOf } = await import("../../widgets/muses_widgets/js/colours.js");
const { FilterError, nothingFits, rowsOf } = await import("../../widgets/muses_widgets/js/parcels/rows.js");
const { extent, pathOf } = await import("../../widgets/muses_widgets/js/parcels/plots.js");

const CELLS = { "a:crop": ["wheat", "maize", "Wheat", null], mean: [0.4, null, 0.1, 0.25] };
const TABLE = {
  names: ["Field 2", "Field 10", "Field 1", "Meadow"],
  columns: [
    { name: "a:crop", title: "crop", kind: "text", statistic: false },
    { name: "mean", title: "mean", kind: "number", statistic: true },
  ],
  cells: (column) => CELLS[column],
};
const rows = (filter, sort = "", down = false) => rowsOf(TABLE, { filter, sort, down });

test("texts are sorted as people do, numbers by size, and what is missing comes last either way", () => {
  assert.deepEqual(rows(""), [0, 1, 2, 3]);
  assert.deepEqual(rows("", "name"), [2, 0, 1, 3]);
  assert.deepEqual(rows("", "mean"), [2, 3, 0, 1]);
  assert.deepEqual(rows("", "mean", true), [0, 3, 2, 1]);
  assert.deepEqual(rows("", "a:crop", true), [0, 2, 1, 3]);
});

test("a filter takes parts of names and attributes, comparisons, and several of them", () => {
  assert.deepEqual(rows("field"), [0, 1, 2]);
  assert.deepEqual(rows("WHEAT"), [0, 2]);
  assert.deepEqual(rows("mean < 0.3"), [2, 3]);
  assert.deepEqual(rows("crop = wheat and mean >= .4"), [0]);
  assert.deepEqual(rows("crop != 'wheat'"), [1]);
  assert.deepEqual(rows("name = meadow"), [3]);
  assert.deepEqual(rows("0.4"), [], "statistics are no texts");
});

test("a filter with a column that there is not says which there are", () => {
  assert.throws(() => rows("colour = red"), (error) => error instanceof FilterError && /“colour”; there are name, crop, mean/.test(error.message));
});

test("a filter that means nothing says what is wrong with it", () => {
  const says = (filter) => {
    try {
      return rows(filter).length ? "" : nothingFits(TABLE, filter);
    } catch (error) {
      assert.ok(error instanceof FilterError);
      return error.message;
    }
  };
  assert.match(says("gibberish"), /^No parcel has “gibberish” in its name or its attributes.*mean < 0\.3; there are name, crop, mean\.$/);
  assert.match(says("mean <"), /^“mean <” is no comparison: .* such as mean < 0\.3\.$/);
  assert.match(says("< 3"), /is no comparison/);
  assert.match(says("mean > much"), /^“mean” is a column of numbers, and “much” is none: such as mean > 0\.40\.$/);
  assert.match(says("mean < 0.1 or crop = wheat"), /joined by “and” alone/);
  assert.equal(says("mean > 7"), "No parcel fits “mean > 7”.");
});

test("colours are those of the legend, linear between its stops, and at its ends beyond them", () => {
  const legend = { vmin: 0, vmax: 10, stops: [[0, "#000000"], [0.5, "#ff0000"], [1, "#ffffff"]] };
  assert.equal(colourOf(legend, 0), "#000000");
  assert.equal(colourOf(legend, 2.5), "#800000");
  assert.equal(colourOf(legend, 5), "#ff0000");
  assert.equal(colourOf(legend, 99), "#ffffff");
  assert.equal(colourOf(legend, -1), "#000000");
  assert.equal(colourOf(legend, null), null);
  const hard = { vmin: 0, vmax: 1, stops: [[0, "#111111"], [0.5, "#111111"], [0.5, "#222222"], [1, "#222222"]] };
  assert.equal(colourOf(hard, 0.25), "#111111");
  assert.equal(colourOf(hard, 0.75), "#222222");
});

test("small plots have one extent, and paths of the values that there are", () => {
  assert.deepEqual(extent([{ number: 0, line: [1, null, 3], low: [0.5], high: [4] }, { number: 1, line: [2] }]), [0.5, 4]);
  assert.deepEqual(extent([{ number: 0, line: [null] }]), [0, 1]);
  assert.deepEqual(extent([{ number: 0, line: [2, 2] }]), [1.5, 2.5]);
  assert.equal(pathOf([1, null, 3], [0, 5, 10], (value) => value * 2), "M0.0,2.0L10.0,6.0");
  assert.equal(pathOf([null], [0], Number), "");
});
