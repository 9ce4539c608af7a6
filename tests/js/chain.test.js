// The chain panel: what is drawn of a chain, where keys lead, what is asked of the kernel, and what is told without one.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { openPage } from "./page.js";

const page = openPage();
for (const name of ["HTMLLabelElement", "HTMLInputElement", "SVGElement", "Element", "Event", "KeyboardEvent"]) globalThis[name] = page[name];
const { ChainPanel } = await import("../../widgets/muses_widgets/js/chain/panel.js");
const { argumentWords, costWords, formatPixels, keptWords } = await import("../../widgets/muses_widgets/js/chain/graph.js");

const node = (id, row, x, more = {}) => ({
  id, process: id, title: id, says: `It does ${id}.`, arguments: [], callbacks: [], inputs: [], is_image: true, row, x, ...more,
});
const NODES = [
  node("load", 0, 1),
  node("ndvi", 1, 0.5, { arguments: [{ name: "nir", value: '"B08"', control: null, told: false }] }),
  node("ndwi", 1, 1.6),
  node("above", 2, 1, {
    arguments: [{ name: "process", value: "x > 0.4", control: "threshold", told: true }],
    callbacks: [{ argument: "process", formula: "x > 0.4", steps: ["x > 0.4"] }],
  }),
];
const EDGES = [["load", "ndvi"], ["load", "ndwi"], ["ndvi", "above"], ["ndwi", "above"]].map(([from, to]) => {
  const at = (id) => NODES.find((one) => one.id === id);
  return { from, to, points: [[at(from).row, at(from).x], [at(to).row, at(to).x]] };
});
const COST = { pieces: 4, reads: 0, bytes: 0, evaluated: 2_100_000, seconds: 0.11, kept: 3, of: 4 };
const settle = () =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/** A panel of these traits, as a page draws it; what it sends to the kernel. */
async function panel(changes = {}, { live = true } = {}) {
  mock.timers.enable({ apis: ["setTimeout"] });
  const traits = {
    choices: ["Green", "NDVI"], chosen: "Green", on_map: true, drawn: { nodes: NODES, edges: EDGES, text: "" },
    documents: { python: "import muses_lab as ml\n", json: "{}" }, costs: {}, compared: {}, draft: {}, mode: "chain", selected: "",
    unfolded: [], zoom: 1, told: { state: "ok", text: "" }, own_id: "me", ...changes,
  };
  const listeners = {};
  const sent = [];
  const model = {
    get: (name) => traits[name],
    set: (name, value) => {
      traits[name] = value;
      listeners[`change:${name}`]?.();
    },
    save_changes: () => undefined,
    on: (name, callback) => (listeners[name] = callback),
    off: () => undefined,
    send: (message) => sent.push(message),
    widget_manager: { get_model: async () => ({ comm_live: live }) },
  };
  const el = document.createElement("div");
  document.body.append(el);
  const abort = new AbortController();
  const made = new ChainPanel(model, el, abort.signal);
  await settle();
  await settle();
  return {
    made,
    el,
    sent,
    traits,
    model,
    listeners,
    body: (id) => el.querySelector(`[data-node="${id}"]`),
    end: () => {
      abort.abort();
      mock.timers.reset();
    },
  };
}

test("numbers as words", () => {
  assert.equal(formatPixels(2_100_000), "2.1 Mpx");
  assert.equal(formatPixels(57_000), "57 kpx");
  assert.equal(costWords(undefined), "");
  assert.equal(costWords({ ...COST, pieces: 0 }), "nothing to do here");
  assert.equal(costWords(COST), "2.1 Mpx, 0.11 s");
  assert.equal(costWords({ ...COST, reads: 32, bytes: 14 << 20 }), "32 reads, 14 MiB, 0.11 s");
  assert.deepEqual([0, 3, 4].map((kept) => keptWords({ ...COST, kept })), ["not cached", "3 of 4 cached", "cached"]);
  assert.equal(keptWords({ ...COST, of: 0 }), "");
  assert.deepEqual(NODES.map(argumentWords), ["", "nir: B08", "", "◆ threshold"]);
});

test("each node is a button with all that it tells as its name", async () => {
  const { el, body, end } = await panel({ costs: { state: "done", text: "4 blocks", nodes: { ndvi: COST } } });
  assert.equal(el.querySelectorAll(".muses-graph-body").length, 4);
  assert.equal(body("ndvi").getAttribute("aria-label"), "ndvi; nir: B08; 2.1 Mpx, 0.11 s; 3 of 4 cached");
  assert.equal(el.querySelectorAll(".muses-graph-edge").length, 4);
  assert.equal([...el.querySelectorAll('.muses-graph-body[tabindex="0"]')].length, 1, "Tab reaches one of them");
  end();
});

test("the keyboard walks along edges, chooses, unfolds and opens", async () => {
  const { body, sent, traits, end } = await panel();
  const press = (id, key) => body(id).dispatchEvent(new page.KeyboardEvent("keydown", { key, bubbles: true }));
  const there = () => document.activeElement.getAttribute("data-node");
  body("above").focus();
  const walked = [];
  for (const [from, key] of [["above", "ArrowUp"], ["ndvi", "ArrowRight"], ["ndwi", "ArrowUp"], ["load", "ArrowDown"], ["ndvi", "End"]]) {
    press(from, key);
    walked.push(there());
  }
  assert.deepEqual(walked, ["ndvi", "ndwi", "load", "ndvi", "above"]);
  press("above", "Enter");
  await settle();
  assert.equal(traits.selected, "above");
  press("above", " ");
  await settle();
  assert.deepEqual(traits.unfolded, ["above"]);
  assert.ok(body("above").textContent.includes("#1 x > 0.4"));
  press("above", "o");
  assert.deepEqual({ ...sent.at(-1), asked: undefined }, { do: "show", node: "above", asked: undefined });
  end();
});

test("a chosen step has its details, and its parameter is marked", async () => {
  const { el, end } = await panel({ selected: "above" });
  const text = el.querySelector(".muses-chain-details").textContent;
  assert.ok(text.includes("It does above.") && text.includes("◆ parameter threshold") && text.includes("Show on the map"));
  end();
});

test("faults and differences stand at their nodes and in a list", async () => {
  const faults = [{ node: "ndvi", text: "there is no process" }, { node: "", text: "no result" }];
  const first = await panel({ mode: "draft", draft: { text: "{}", state: "failed", faults, nodes: NODES, edges: EDGES } });
  assert.ok(first.body("ndvi").getAttribute("aria-label").includes("there is no process"));
  assert.equal(first.el.querySelector(".muses-chain-heading").textContent, "2 faults");
  assert.equal(first.el.querySelectorAll(".muses-chain-line").length, 2);
  assert.equal(first.el.querySelectorAll(".muses-graph-tool").length, 1, "nothing of a draft is opened");
  first.end();
  const changed = NODES.map((one) => ({ ...one, kind: "same", changes: [], text: "" }));
  changed[1] = { ...changed[1], kind: "changed", changes: [{ argument: "nir", before: '"B08"', after: null }], text: "~ ndvi" };
  const second = await panel({ mode: "compare", compared: { other: "NDVI", text: "", lines: ["~ ndvi"], nodes: changed, edges: EDGES } });
  assert.ok(second.body("ndvi").getAttribute("aria-label").includes("changed"));
  second.el.querySelector("button.muses-chain-line").click();
  assert.equal(second.traits.selected, "ndvi");
  second.end();
});

test("without a kernel it shows what was saved, and asks for nothing", async () => {
  const { el, sent, made, end } = await panel({}, { live: false });
  assert.ok(el.querySelector(".muses-chain-note").textContent.startsWith("This is what was saved."));
  assert.ok([...el.querySelectorAll("select")].every((one) => one.disabled));
  assert.equal(el.querySelector('[aria-label="Copy as Python"]').disabled, false, "documents are there as text");
  made.ask({ do: "price" });
  assert.deepEqual(sent, []);
  end();
});

test("a kernel that does not answer is told of", async () => {
  const { el, made, listeners, end } = await panel();
  made.ask({ do: "check", text: "{}" }, "Checking…");
  const note = el.querySelector(".muses-chain-note");
  assert.equal(note.textContent, "Checking…");
  mock.timers.tick(3000);
  assert.ok(note.textContent.includes("has not answered"));
  listeners["msg:custom"]({ kind: "done", asked: made.asked });
  assert.equal(note.textContent, "");
  end();
});
