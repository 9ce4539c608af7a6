// @ts-check
// A chain as a picture: SVG, layer by layer from what is read down to the result; walked with the arrow keys.

/** @import { ChainCosts, ChainNode, ChainPicture, Fault, NodeCost } from "../types" */

import { formatBytes, formatSeconds } from "../format.js";

/** Of a node, in pixels at zoom 1; places across are told in widths. */
const WIDTH = 220;
const HEAD = 48;
const LINE = 15;
const GAP = 34;
const MARGIN = 10;
/** Characters of which not all may fit into a node. */
const LONGEST = 60;

const MARKS = { added: "+", removed: "−", changed: "~", moved: "", same: "" };
const KINDS = { added: "added", removed: "removed", changed: "changed", moved: "same step, of something that differs", same: "the same" };

/**
 * @typedef {object} Shown what is drawn beside nodes and edges
 * @property {ChainCosts} [costs]
 * @property {Fault[]} [faults]
 * @property {string} selected
 * @property {string[]} unfolded
 * @property {boolean} opens whether a node can be opened as a layer
 * @property {string} label what the picture is of
 */

/**
 * @typedef {object} Actions
 * @property {(id: string) => void} select
 * @property {(id: string) => void} unfold
 * @property {(id: string) => void} open
 */

/**
 * An element of SVG.
 * @param {string} tag
 * @param {Record<string, string | number | undefined | null | false>} [attributes]
 * @param {...(Node | string)} children
 */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * @param {string} text
 * @param {number} longest
 */
export const cut = (text, longest) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

/**
 * 6.3 Mpx, 262 kpx
 * @param {number} pixels
 */
export function formatPixels(pixels) {
  if (pixels >= 1e9) return `${(pixels / 1e9).toFixed(1)} Gpx`;
  return pixels >= 1e6 ? `${(pixels / 1e6).toFixed(1)} Mpx` : `${Math.round(pixels / 1e3)} kpx`;
}

/**
 * What a node takes, in a few words; empty where nothing is known of it.
 * @param {NodeCost | undefined} cost
 */
export function costWords(cost) {
  if (!cost) return "";
  if (!cost.pieces && !cost.reads) return "nothing to do here";
  const read = cost.reads ? `${cost.reads} reads, ${formatBytes(cost.bytes)}` : formatPixels(cost.evaluated);
  return `${read}, ${formatSeconds(cost.seconds)}`;
}

/**
 * Whether a node's blocks are there already; empty where none of it are kept.
 * @param {NodeCost | undefined} cost
 */
export function keptWords(cost) {
  if (!cost?.of) return "";
  if (!cost.kept) return "not cached";
  return cost.kept === cost.of ? "cached" : `${cost.kept} of ${cost.of} cached`;
}

/**
 * The arguments of a node in a line.
 * @param {ChainNode} node
 */
export function argumentWords(node) {
  return node.arguments
    .filter((one) => !one.told || one.control)
    .map((one) => (one.told ? `◆ ${one.control}` : `${one.control ? "◆ " : ""}${one.name}: ${plainText(one.value)}`))
    .join(", ");
}

/**
 * A text without the quotes that JSON has around it.
 * @param {string} value
 */
export const plainText = (value) => value.replace(/^"([^"\\]*)"$/, "$1");

/**
 * Cuts what is too long for its place; nothing where the picture is not seen and has no measure.
 * @param {SVGElement} text
 * @param {number} width
 */
function fitText(text, width) {
  const measured = /** @type {SVGTextElement} */ (text);
  for (let tries = 0; tries < 4; tries += 1) {
    const length = measured.getComputedTextLength?.() ?? 0;
    const told = text.textContent ?? "";
    if (!(length > width) || told.length < 4) return;
    text.textContent = cut(told, Math.max(3, Math.floor((told.length * width) / length) - (tries ? 1 : 0)));
  }
}

/**
 * Lines of the callbacks of a node, when it is unfolded.
 * @param {ChainNode} node
 */
const inside = (node) => node.callbacks.flatMap((one) => [`${one.argument}:`, ...one.steps.map((step, n) => `#${n + 1} ${step}`)]);

export class ChainGraph {
  /** @type {ChainPicture} */
  picture = { nodes: [], edges: [] };
  /** @type {Shown} */
  shown = { selected: "", unfolded: [], opens: false, label: "" };
  /** @type {Map<string, SVGElement>} by the node's id: what has the focus */
  bodies = new Map();
  size = { width: 0, height: 0 };
  zoom = 1;

  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.svg = /** @type {SVGSVGElement} */ (s("svg", { class: "muses-graph-picture", role: "group" }));
    this.svg.addEventListener("keydown", (event) => this.key(/** @type {KeyboardEvent} */ (event)));
  }

  /**
   * @param {ChainPicture} picture
   * @param {Shown} shown
   */
  draw(picture, shown) {
    const focused = [...this.bodies].find(([, body]) => body === document.activeElement)?.[0];
    this.picture = picture;
    this.shown = shown;
    const tops = this.tops();
    this.bodies = new Map();
    const edges = picture.edges.map((edge) => this.edge(edge, tops));
    const nodes = picture.nodes.map((node) => this.node(node, tops.get(node.row) ?? 0));
    this.svg.replaceChildren(s("g", { class: "muses-graph-edges", "aria-hidden": "true" }, ...edges), ...nodes);
    this.svg.setAttribute("aria-label", `${shown.label}: ${picture.nodes.length} steps. Arrow keys walk through them.`);
    const right = Math.max(1, ...picture.nodes.map((node) => node.x + 0.5));
    const bottom = Math.max(0, ...picture.nodes.map((node) => (tops.get(node.row) ?? 0) + this.height(node)));
    this.size = { width: right * WIDTH + 2 * MARGIN, height: bottom + MARGIN };
    this.svg.setAttribute("viewBox", `0 0 ${this.size.width} ${this.size.height}`);
    this.setZoom(this.zoom);
    for (const text of this.svg.querySelectorAll("text")) fitText(/** @type {SVGElement} */ (text), Number(text.getAttribute("data-room")));
    if (focused) this.bodies.get(focused)?.focus({ preventScroll: true });
  }

  /** @param {number} zoom */
  setZoom(zoom) {
    this.zoom = zoom;
    this.svg.setAttribute("width", String(Math.round(this.size.width * zoom)));
    this.svg.setAttribute("height", String(Math.round(this.size.height * zoom)));
  }

  /** Where each row begins: rows are as high as the highest node in them. */
  tops() {
    /** @type {Map<number, number>} */
    const heights = new Map();
    for (const node of this.picture.nodes) heights.set(node.row, Math.max(heights.get(node.row) ?? 0, this.height(node)));
    const tops = new Map();
    let top = MARGIN;
    for (const row of [...heights.keys()].sort((a, b) => a - b)) {
      tops.set(row, top);
      top += (heights.get(row) ?? 0) + GAP;
    }
    return tops;
  }

  /** @param {ChainNode} node */
  lines(node) {
    const cost = this.shown.costs?.nodes?.[node.id];
    const faults = this.shown.faults?.filter((one) => one.node === node.id).length ?? 0;
    return [
      { kind: "text", text: argumentWords(node) },
      { kind: "fault", text: faults ? (faults === 1 ? "1 fault" : `${faults} faults`) : "" },
      ...(node.changes ?? []).map((one) => ({ kind: "change", text: `${one.argument}: ${one.before ?? "default"} → ${one.after ?? "default"}` })),
      { kind: "cost", text: [costWords(cost), keptWords(cost)].filter(Boolean).join(" · ") },
      ...(this.shown.unfolded.includes(node.id) ? inside(node).map((text) => ({ kind: "code", text })) : []),
    ].filter((line) => line.text);
  }

  /** @param {ChainNode} node */
  height(node) {
    return HEAD - 16 + LINE * this.lines(node).length;
  }

  /**
   * @param {ChainNode} node
   * @param {number} y
   */
  node(node, y) {
    const { selected, unfolded, opens } = this.shown;
    const kind = node.kind ?? "same";
    const lines = this.lines(node);
    const faulty = this.shown.faults?.some((one) => one.node === node.id);
    const chosen = selected === node.id;
    const first = this.picture.nodes.at(-1)?.id === node.id;
    const tab = chosen || (first && !this.picture.nodes.some((one) => one.id === selected));
    const mark = node.kind ? MARKS[kind] : "";
    const opened = opens && node.is_image && kind !== "removed";
    const tools = Number(opened) + Number(node.callbacks.length > 0);
    const body = s(
      "g",
      { class: "muses-graph-body", role: "button", tabindex: tab ? 0 : -1, "aria-pressed": String(chosen), "aria-label": this.label(node), "data-node": node.id },
      s("title", {}, `${node.id}: ${node.title}`),
      s("rect", { width: WIDTH, height: this.height(node), rx: 7 }),
      s("text", { x: 10, y: 20, class: "muses-graph-title", "data-room": WIDTH - 14 - 21 * tools }, cut(`${mark ? `${mark} ` : ""}${node.title}`, LONGEST)),
      ...lines.map((line, n) =>
        s("text", { x: 10, y: 37 + n * LINE, class: `muses-graph-${line.kind}`, "data-room": WIDTH - 18 }, cut(line.text, LONGEST)),
      ),
    );
    body.addEventListener("click", () => this.actions.select(node.id));
    this.bodies.set(node.id, body);
    /** @type {Element[]} */
    const buttons = [];
    let x = WIDTH - 24;
    /** @type {(name: string, path: string, act: () => void) => void} */
    const button = (name, path, act) => {
      // For the mouse: the keyboard has the same by keys, and by the buttons of the details.
      const made = s(
        "g",
        { class: "muses-graph-tool", transform: `translate(${x} 6)`, "aria-hidden": "true" },
        s("title", {}, name),
        s("rect", { width: 19, height: 19, rx: 4 }),
        s("path", { d: path }),
      );
      made.addEventListener("click", act);
      buttons.push(made);
      x -= 20;
    };
    if (opened) {
      button("Show it on the map", "M2.5 9.5q7-8 14 0q-7 8-14 0M9.5 7.2a2.3 2.3 0 1 0 .01 0", () => this.actions.open(node.id));
    }
    if (node.callbacks.length) {
      const open = unfolded.includes(node.id);
      button(open ? "Fold" : "Unfold what is done with each value", open ? "M5 12l4.5-5l4.5 5" : "M5 7l4.5 5l4.5-5", () => this.actions.unfold(node.id));
    }
    const classes = ["muses-graph-node", node.kind && `muses-graph-${kind}`, faulty && "muses-graph-faulty", chosen && "muses-graph-chosen"];
    const left = MARGIN + (node.x - 0.5) * WIDTH;
    return s("g", { class: classes.filter(Boolean).join(" "), transform: `translate(${left.toFixed(1)} ${y})` }, body, ...buttons);
  }

  /**
   * What a node is for somebody who does not see it.
   * @param {ChainNode} node
   */
  label(node) {
    const cost = this.shown.costs?.nodes?.[node.id];
    const faults = (this.shown.faults ?? []).filter((one) => one.node === node.id).map((one) => one.text);
    const changes = (node.changes ?? []).map((one) => `${one.argument}: ${one.before ?? "default"} becomes ${one.after ?? "default"}`);
    const told = [node.title, node.kind && KINDS[node.kind], argumentWords(node), ...changes, ...faults, costWords(cost), keptWords(cost)];
    return told.filter(Boolean).join("; ");
  }

  /**
   * @param {ChainPicture["edges"][number]} edge
   * @param {Map<number, number>} tops
   */
  edge(edge, tops) {
    const node = this.picture.nodes.find((one) => one.id === edge.from);
    /** @type {(x: number) => number} */
    const across = (x) => MARGIN + x * WIDTH;
    const last = edge.points.length - 1;
    const places = edge.points.map(([row, x], n) => {
      const top = tops.get(row) ?? 0;
      return { x: across(x), in: n === last ? top - 3 : top - GAP / 2 + 4, out: n === 0 && node ? top + this.height(node) : (tops.get(row + 1) ?? top) - GAP + 4 };
    });
    const start = /** @type {{ x: number, in: number, out: number }} */ (places[0]);
    let path = `M${start.x.toFixed(1)} ${start.out}`;
    let from = { x: start.x, y: start.out };
    for (const place of places.slice(1)) {
      const middle = (from.y + place.in) / 2;
      path += `C${from.x.toFixed(1)} ${middle} ${place.x.toFixed(1)} ${middle} ${place.x.toFixed(1)} ${place.in}`;
      if (place !== places[last]) path += `L${place.x.toFixed(1)} ${place.out}`;
      from = { x: place.x, y: place.out };
    }
    const end = /** @type {{ x: number, in: number }} */ (places[last]);
    const arrow = `M${end.x - 4} ${end.in - 5}L${end.x} ${end.in + 2}L${end.x + 4} ${end.in - 5}Z`;
    const lit = [edge.from, edge.to].includes(this.shown.selected);
    return s("g", { class: lit ? "muses-graph-edge muses-graph-lit" : "muses-graph-edge" }, s("path", { d: path }), s("path", { d: arrow, class: "muses-graph-arrow" }));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const id = /** @type {Element} */ (event.target).getAttribute("data-node");
    const node = this.picture.nodes.find((one) => one.id === id);
    if (!node) return;
    const to = this.neighbour(node, event.key);
    if (to) this.walk(to);
    else if (event.key === "Enter") this.actions.select(node.id);
    else if (event.key === " " && node.callbacks.length) this.actions.unfold(node.id);
    else if (event.key.toLowerCase() === "o" && this.shown.opens && node.is_image) this.actions.open(node.id);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Where a key leads from a node: up to what it takes, down to what uses it, to the sides in its row, to both ends.
   * @param {ChainNode} node
   * @param {string} key
   */
  neighbour(node, key) {
    const { nodes, edges } = this.picture;
    /** @type {(ids: string[]) => ChainNode | undefined} */
    const nearest = (ids) =>
      nodes.filter((one) => ids.includes(one.id)).sort((a, b) => Math.abs(a.row - node.row) - Math.abs(b.row - node.row) || Math.abs(a.x - node.x) - Math.abs(b.x - node.x))[0];
    const row = nodes.filter((one) => one.row === node.row).sort((a, b) => a.x - b.x);
    switch (key) {
      case "ArrowUp":
        return nearest(edges.filter((edge) => edge.to === node.id).map((edge) => edge.from));
      case "ArrowDown":
        return nearest(edges.filter((edge) => edge.from === node.id).map((edge) => edge.to));
      case "ArrowLeft":
        return row[row.indexOf(node) - 1];
      case "ArrowRight":
        return row[row.indexOf(node) + 1];
      case "Home":
        return nodes[0];
      case "End":
        return nodes.at(-1);
      default:
        return undefined;
    }
  }

  /** @param {ChainNode} node */
  walk(node) {
    for (const body of this.bodies.values()) body.setAttribute("tabindex", "-1");
    const body = this.bodies.get(node.id);
    body?.setAttribute("tabindex", "0");
    body?.focus();
    body?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }
}
