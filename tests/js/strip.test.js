// The strip of dates: which one is marked, and when it is brought into sight.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage } from "./page.js";

openPage();
globalThis.IntersectionObserver = class {
  observe() {}
  disconnect() {}
};
const { DateStrip } = await import("../../widgets/muses_widgets/js/series/strip.js");

const DAYS = ["2018-01-21", "2018-03-09", "2018-06-10"];
const date = (label, text = "0.5") => ({ time: `${label}T10:54:00`, label, ms: Date.parse(label), text, state: "valid", mask: "", scene: "S2", clouds: 3, sun: 20 });
const time = (label) => date(label).time;

/** A strip, and how often it was scrolled. */
function made() {
  const strip = new DateStrip({ show() {}, compare() {}, ask() {} }, new AbortController().signal);
  const scrolled = [];
  strip.strip.scrollTo = ({ left }) => scrolled.push(left);
  return { strip, scrolled };
}

const marked = ({ strip }) => [...strip.querySelectorAll("[aria-pressed=true]")].map((chip) => chip.textContent);

test("the date that the map shows is in sight when the dates come", () => {
  const { strip, scrolled } = made();
  strip.mark(time(DAYS[1]), "");
  assert.equal(scrolled.length, 0);
  strip.show(DAYS.map((day) => date(day)));
  assert.deepEqual(marked(strip), [DAYS[1]]);
  assert.equal(scrolled.length, 1);
  assert.equal(strip.slider.value, "1");
});

test("other values of the same dates leave the strip where it was scrolled to", () => {
  const { strip, scrolled } = made();
  strip.show(DAYS.map((day) => date(day)));
  strip.mark(time(DAYS[0]), "");
  strip.show(DAYS.map((day) => date(day, "0.6")));
  assert.equal(scrolled.length, 1);
  strip.show(DAYS.slice(1).map((day) => date(day)));
  strip.mark(time(DAYS[2]), "");
  assert.equal(scrolled.length, 2);
  assert.deepEqual(marked(strip), [DAYS[2]]);
});
