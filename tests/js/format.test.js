// Values as text.

import assert from "node:assert/strict";
import { test } from "node:test";

import { formatBytes, formatLength, formatLengths, formatNumber, formatPlace, formatSeconds, formatTimes, formatWhen, ordinal, plural } from "../../widgets/muses_widgets/js/format.js";

const table = (format, rows) => {
  for (const [value, text] of rows) assert.equal(format(value), text, `of ${value}`);
};

test("a value has four significant digits, a whole number all of its own up to ten million", () =>
  table(formatNumber, [
    [0.123456, "0.1235"],
    [-0.5, "-0.5"],
    [0, "0"],
    [12345.678, "12345.68"],
    [9999999, "9999999"],
    [12345678, "1.235e+7"],
    [0.00001, "1e-5"],
    [0.0000123456, "1.235e-5"],
  ]));

test("what is no finite number is no data", () =>
  table(formatNumber, [[null, "no data"], [undefined, "no data"], [NaN, "no data"], [Infinity, "no data"]]));

test("a length is told in metres, from a thousand on in kilometres", () =>
  table(formatLength, [[0.597, "0.6 m"], [10, "10 m"], [38.21, "38.2 m"], [999, "999 m"], [1222.99, "1.22 km"], [156543, "157 km"]]));

test("several lengths are listed", () => assert.equal(formatLengths([10, 20]), "10 m and 20 m"));

test("a factor is told to a tenth below ten", () => table(formatTimes, [[2.94, "2.9 ×"], [9.6, "10 ×"], [89.7, "90 ×"]]));

test("a time is as precise as one needs to know, and never nothing", () =>
  table(formatSeconds, [
    [0, "0.01 s"],
    [0.42, "0.42 s"],
    [0.996, "1.0 s"],
    [3.14, "3.1 s"],
    [9.96, "10 s"],
    [99.4, "99 s"],
    [120, "2 min"],
  ]));

test("bytes are told in binary units", () =>
  table(formatBytes, [[1, "1 KiB"], [2048, "2 KiB"], [1572864, "1.5 MiB"], [104857600, "100 MiB"], [2147483648, "2.0 GiB"]]));

test("a place is told as the API takes it: longitude first, and which is which", () => {
  assert.equal(formatPlace(1.4, 43.6), "lon 1.40000°, lat 43.60000°");
  assert.equal(formatPlace(-0.5, -43.61239, 4), "lon -0.5000°, lat -43.6124°");
});

test("a number agrees with its noun", () => {
  assert.equal(plural(1, "tile"), "1 tile");
  assert.equal(plural(0, "tile"), "0 tiles");
});

test("places in a queue are counted as in English", () =>
  table(ordinal, [
    [1, "1st"],
    [2, "2nd"],
    [3, "3rd"],
    [4, "4th"],
    [11, "11th"],
    [12, "12th"],
    [13, "13th"],
    [20, "20th"],
    [21, "21st"],
    [102, "102nd"],
    [111, "111th"],
  ]));

test("a moment of today is a time of 24 hours, another day's has its date", () => {
  const now = new Date(2026, 4, 31, 20, 0);
  assert.equal(formatWhen(new Date(2026, 4, 31, 17, 2, 51).toISOString(), now), "17:02");
  assert.equal(formatWhen(new Date(2026, 4, 30, 0, 7).toISOString(), now), "2026-05-30 00:07");
});
