// The order of layers and their groups: steps by keyboard, drops, groups made and left.

import assert from "node:assert/strict";
import { test } from "node:test";

import { drop, linesOf, newGroup, regroup, stepGroup, stepLayer } from "../../widgets/muses_widgets/js/arrangement.js";

const group = (name, members, open = true) => ({ name, members, visible: true, opacity: 1, open });
/** "a G[b c] d": what the list shows. */
const written = ({ order, groups }) =>
  linesOf(order, groups)
    .map((line) => (line.id === undefined ? `${line.group}:` : line.group === null ? line.id : `(${line.id})`))
    .join(" ");
const four = (open = true) => ({ order: ["a", "b", "c", "d"], groups: [group("G", ["b", "c"], open)] });

test("a group's head stands before its members, where the first of them is", () => {
  assert.equal(written(four()), "a G: (b) (c) d");
  assert.equal(written({ order: ["a", "b", "d", "c"], groups: [group("G", ["b", "c"])] }), "a G: (b) (c) d");
});

test("a step goes into a group at its edge, through it, and out again", () => {
  let now = four();
  const seen = [];
  for (let next = stepLayer(now, "a", 1); next; next = stepLayer(now, "a", 1)) {
    now = next;
    seen.push(written(now));
  }
  assert.deepEqual(seen, ["G: (a) (b) (c) d", "G: (b) (a) (c) d", "G: (b) (c) (a) d", "G: (b) (c) a d", "G: (b) (c) d a"]);
  const back = [];
  for (let next = stepLayer(now, "a", -1); next; next = stepLayer(now, "a", -1)) {
    now = next;
    back.push(written(now));
  }
  assert.deepEqual(back, ["G: (b) (c) a d", "G: (b) (c) (a) d", "G: (b) (a) (c) d", "G: (a) (b) (c) d", "a G: (b) (c) d"]);
});

test("a step passes a closed group, and a group that its last layer leaves is none", () => {
  assert.equal(written(stepLayer(four(false), "a", 1)), "G: (b) (c) a d");
  assert.equal(written(stepLayer(four(false), "d", -1)), "a d G: (b) (c)");
  const left = stepLayer({ order: ["a", "b"], groups: [group("G", ["a"])] }, "a", 1);
  assert.deepEqual([written(left), left.groups], ["a b", []]);
});

test("a group moves as one", () => {
  assert.equal(written(stepGroup(four(), "G", 1)), "a d G: (b) (c)");
  assert.equal(written(stepGroup(four(), "G", -1)), "G: (b) (c) a d");
  assert.equal(stepGroup(stepGroup(four(), "G", -1), "G", -1), null);
});

test("what is dropped beside a member is one, and what is dropped elsewhere is none", () => {
  const dropped = (dragged, target, below) => written(drop(four(), dragged, target, below));
  const a = { id: "a", group: null };
  const b = { id: "b", group: "G" };
  assert.equal(dropped(a, { id: "c", group: "G" }, false), "G: (b) (a) (c) d");
  assert.equal(dropped(a, { group: "G" }, true), "G: (a) (b) (c) d");
  assert.equal(dropped(b, { group: "G" }, false), "a b G: (c) d");
  assert.equal(dropped(b, { id: "d", group: null }, true), "a G: (c) d b");
  assert.equal(dropped(b, null, false), "a G: (c) d b");
  assert.equal(dropped({ group: "G" }, { id: "d", group: null }, true), "a d G: (b) (c)");
  const two = { order: ["a", "b", "c", "d"], groups: [group("G", ["a", "b"]), group("H", ["c", "d"])] };
  assert.equal(written(drop(two, { group: "G" }, { id: "d", group: "H" }, true)), "H: (c) (d) G: (a) (b)");
  assert.equal(written(drop(two, { group: "H" }, { id: "a", group: "G" }, false)), "H: (c) (d) G: (a) (b)");
});

test("a layer is put into a group, a new one, or none", () => {
  assert.equal(written(regroup(four(), "a", "G")), "G: (b) (c) (a) d");
  assert.equal(written(regroup(four(), "c", null)), "a c G: (b) d");
  assert.equal(written(newGroup(four(), "d", "H")), "a G: (b) (c) H: (d)");
  assert.equal(written(newGroup(four(), "b", "H")), "a H: (b) G: (c) d");
  const only = { order: ["a", "b"], groups: [group("G", ["b"])] };
  assert.equal(written(regroup(only, "b", null)), "a b");
});
