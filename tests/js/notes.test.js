// Notes of trainers: one asker for a page, bars in all panels, nothing asked of a server without a hub.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage, setServer, withServer } from "./page.js";

const page = openPage();
const { NoteBoard, notesBar } = await import("../../widgets/muses_widgets/js/notes.js");

const at = "2026-12-01T10:00:00+00:00";
const note = (id, text, until) => ({ id, text, by: "tom", at, until });

test("a note is seen in every panel until it is put away or taken back", () => {
  const board = new NoteBoard();
  clearTimeout((board.timer = setTimeout(() => {}, 0)));
  const bars = [notesBar(new AbortController().signal, board), notesBar(new AbortController().signal, board)];
  board.take({ hub: true, notes: [note("a", "Break <b>now</b>"), note("b", "Stops", "2026-12-01T12:00:00+00:00")] });
  for (const bar of bars) {
    assert.equal(bar.querySelectorAll(".muses-bulletin").length, 2);
    assert.equal(bar.querySelector("b"), null);
    assert.match(bar.textContent, /Break <b>now<\/b>.*Stops \(until /);
  }
  bars[0].querySelector("button").click();
  assert.deepEqual(bars.map((bar) => bar.textContent.includes("Break")), [false, false]);
  board.take({ hub: true, notes: [note("a", "Break <b>now</b>")] });
  assert.deepEqual(bars.map((bar) => bar.children.length), [0, 0]);
});

test("a panel that is gone hears nothing, and a server without a hub is asked once", async () => {
  const asked = [];
  await withServer(
    (request, response) => {
      asked.push(request.url);
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ hub: false, notes: [] }));
    },
    async (url) => {
      setServer(url);
      const board = new NoteBoard();
      const gone = new AbortController();
      board.listen(() => {}, gone.signal);
      clearTimeout(board.timer);
      await board.look();
      assert.equal(board.alone, true);
      assert.equal(board.timer, undefined);
      gone.abort();
      assert.equal(board.listeners.size, 0);
      board.listen(() => {}, new AbortController().signal);
      assert.equal(board.timer, undefined);
    },
  );
  assert.equal(asked.length, 1);
  assert.match(asked[0], /muses\/notes$/);
  page.happyDOM.abort();
});
