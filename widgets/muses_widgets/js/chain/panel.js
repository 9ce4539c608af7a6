// @ts-check
// The chain panel: the picture of a chain, the details of a step, its documents, comparing, and what is pasted.

/** @import { ChainMessage, ChainNode, ChainPanelTraits, ChainPicture, Model } from "../types" */

import { ChainGraph, costWords, formatPixels, keptWords, plainText } from "./graph.js";
import { h, keepKeys } from "../dom.js";
import { formatBytes, formatSeconds, plural } from "../format.js";
import { findModel, hasKernel } from "../mapview.js";

/** Milliseconds after which it is said that the kernel has not answered. */
const ANSWER_MS = 2500;
const ZOOMS = [0.35, 0.5, 0.65, 0.8, 1, 1.25, 1.6];
/** Characters of a file that is opened: a document with its artefacts. */
const LONGEST_FILE = 64 << 20;

export class ChainPanel {
  live = true;
  /** Whether there was a document that is not opened yet when the panel was drawn last. */
  drafted = false;
  /** Whether it is drawn soon. */
  waiting = false;
  count = 0;
  asked = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  patience;
  own = "";

  /**
   * @param {Model<ChainPanelTraits>} model
   * @param {HTMLElement} el
   * @param {AbortSignal} signal
   */
  constructor(model, el, signal) {
    this.model = model;
    this.signal = signal;
    this.graph = new ChainGraph({
      select: (id) => this.set("selected", this.model.get("selected") === id ? "" : id),
      unfold: (id) => this.unfold(id),
      open: (id) => this.ask({ do: "show", node: id }, `Opening ${id} as a layer…`),
    });
    this.chain = h("select", { class: "muses-select", "aria-label": "Chain", onchange: () => this.ask({ do: "choose", name: this.chain.value }) });
    this.other = h("select", { class: "muses-select", "aria-label": "Compare with", onchange: () => this.compare() });
    this.graph.zoom = this.model.get("zoom");
    /** @type {(text: string, name: string, act: () => void) => HTMLButtonElement} */
    const button = (text, name, act) => h("button", { type: "button", class: "muses-button", "aria-label": name, title: name, onclick: act }, text);
    this.copies = [button("Python", "Copy as Python", () => this.copy("python")), button("JSON", "Copy as JSON", () => this.copy("json"))];
    this.saves = [button(".py", "Save as a Python file", () => this.save("python", "py")), button(".json", "Save as a JSON file", () => this.save("json", "json"))];
    this.paste = h("button", { type: "button", class: "muses-button", "aria-expanded": "false", onclick: () => this.toggle() }, "Paste or open…");
    this.text = h("textarea", { class: "muses-chain-text", rows: 6, spellcheck: false, "aria-label": "Document as JSON", placeholder: '{"process_graph": {…}}' });
    this.file = h("input", { type: "file", accept: ".json,application/json", "aria-label": "Open a file", onchange: () => this.read() });
    this.checks = [
      button("Check", "Check the document", () => this.ask({ do: "check", text: this.text.value }, "Checking…")),
      button("Open", "Open the document as a chain", () => this.ask({ do: "open", text: this.text.value, name: this.own }, "Opening…")),
    ];
    this.pasted = h("div", { class: "muses-chain-pasted", hidden: true }, this.text, h("div", { class: "muses-chain-row" }, ...this.checks, this.file));
    this.head = h("div", { class: "muses-chain-heading" });
    this.note = h("div", { class: "muses-note muses-chain-note", role: "status" });
    this.close = button("Back to the chain", "Back to the chain", () => this.back());
    this.scroll = h("div", { class: "muses-graph", tabindex: -1 }, this.graph.svg);
    this.zooms = h(
      "div",
      { class: "muses-graph-zoom", role: "group", "aria-label": "Zoom" },
      button("−", "Smaller", () => this.step(-1)),
      button("+", "Larger", () => this.step(1)),
      button("Fit", "As wide as the panel", () => this.fit()),
    );
    this.details = h("div", { class: "muses-chain-details", role: "region", "aria-label": "Step" });
    this.list = h("div", { class: "muses-chain-list" });
    this.root = h(
      "section",
      { class: "muses-panel muses-chain", "aria-label": "Chain as a graph" },
      h("div", { class: "muses-chain-row" }, h("label", { class: "muses-chain-choice" }, "Chain", this.chain), h("label", { class: "muses-chain-choice" }, "Compare with", this.other)),
      h("div", { class: "muses-chain-row" }, h("span", { class: "muses-chain-group" }, "Copy as", ...this.copies), h("span", { class: "muses-chain-group" }, "Save as", ...this.saves), this.paste),
      this.pasted,
      this.note,
      h("div", { class: "muses-chain-row muses-chain-about" }, this.head, this.close),
      h("div", { class: "muses-chain-main" }, h("div", { class: "muses-graph-frame" }, this.scroll, this.zooms), h("div", { class: "muses-chain-side" }, this.list, this.details)),
    );
    this.pan();
    keepKeys(this.root, signal);
    el.classList.add("muses-panel-host");
    el.append(this.root);
    /** @type {[string, (value: any) => void][]} */
    const heard = [
      ...["choices", "chosen", "drawn", "documents", "costs", "compared", "draft", "mode", "selected", "unfolded"].map(
        (name) => /** @type {[string, () => void]} */ ([`change:${name}`, () => this.soon()]),
      ),
      ["change:zoom", () => this.graph.setZoom(model.get("zoom"))],
      ["change:told", () => this.tell()],
      ["msg:custom", (message) => this.heard(message)],
    ];
    for (const [name, callback] of heard) model.on(name, callback);
    signal.addEventListener("abort", () => {
      for (const [name, callback] of heard) model.off(name, callback);
      clearTimeout(this.patience);
    });
    this.show();
    this.tell();
    this.look();
  }

  /** Draws once for all that has changed in one message. */
  soon() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      if (!this.signal.aborted) this.show();
    });
  }

  /** Whether a kernel is there that could do anything; without one the panel shows what it was saved with. */
  async look() {
    const manager = this.model.widget_manager;
    const self = await findModel(manager, this.model.get("own_id"), this.signal).catch(() => null);
    this.live = hasKernel(manager, self);
    this.show();
    this.tell();
  }

  /**
   * @template {keyof ChainPanelTraits} Name
   * @param {Name} name
   * @param {ChainPanelTraits[Name]} value
   */
  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  /** @param {string} id */
  unfold(id) {
    const open = this.model.get("unfolded");
    this.set("unfolded", open.includes(id) ? open.filter((one) => one !== id) : [...open, id]);
  }

  // ---- what is asked of the kernel

  /**
   * @param {Omit<ChainMessage, "asked">} message
   * @param {string} [doing]
   */
  ask(message, doing = "") {
    if (!this.live) return;
    this.count += 1;
    this.asked = `${this.model.get("own_id")} ${this.count}`;
    this.model.send({ ...message, asked: this.asked });
    this.say(doing);
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.say("The kernel has not answered yet. If it is busy, this comes when it is free."), ANSWER_MS);
  }

  /** @param {{ kind?: string, asked?: string }} message */
  heard({ kind, asked }) {
    if (kind !== "done" || asked !== this.asked) return;
    clearTimeout(this.patience);
    this.tell();
  }

  compare() {
    if (this.other.value) this.ask({ do: "compare", name: this.other.value });
    else this.back();
  }

  back() {
    if (this.live && this.model.get("mode") === "draft") this.drawer(false);
    this.set("mode", "chain");
  }

  tell() {
    const { state, text } = this.model.get("told");
    if (this.live) this.say(text ?? "", state === "failed");
    else this.say("This is what was saved. Run the notebook's cells to open steps, compare and check documents.");
  }

  /**
   * @param {string} text
   * @param {boolean} [failed]
   */
  say(text, failed = false) {
    this.note.textContent = text;
    this.note.hidden = !text;
    this.note.classList.toggle("muses-error", failed);
  }

  // ---- documents

  /** @param {"python" | "json"} kind */
  async copy(kind) {
    const text = this.model.get("documents")[kind] ?? "";
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!copied) {
      const area = h("textarea", { style: "position:fixed;opacity:0" });
      area.value = text;
      this.root.append(area);
      area.select();
      document.execCommand("copy"); // pages without https have no other clipboard
      area.remove();
    }
    this.say(kind === "python" ? "Copied as Python." : "Copied as JSON.");
  }

  /**
   * @param {"python" | "json"} kind
   * @param {string} ending
   */
  save(kind, ending) {
    const name = this.model.get("chosen").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "chain";
    const address = URL.createObjectURL(new Blob([this.model.get("documents")[kind] ?? ""], { type: "text/plain" }));
    h("a", { href: address, download: `${name}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  toggle() {
    this.drawer(this.pasted.hidden === true);
    if (!this.pasted.hidden) this.text.focus();
  }

  /** @param {boolean} open */
  drawer(open) {
    this.pasted.hidden = !open;
    this.paste.setAttribute("aria-expanded", String(open));
  }

  async read() {
    const file = this.file.files?.[0];
    if (!file) return;
    if (file.size > LONGEST_FILE) {
      this.say(`${file.name} has ${formatBytes(file.size)}; no document has more than ${formatBytes(LONGEST_FILE)}.`, true);
      return;
    }
    this.text.value = await file.text();
    this.own = file.name.replace(/\.json$/, "");
    this.ask({ do: "check", text: this.text.value }, "Checking…");
  }

  // ---- what is drawn

  /** @returns {ChainPicture & { [more: string]: any }} */
  picture() {
    const mode = this.model.get("mode");
    const of = mode === "compare" ? this.model.get("compared") : mode === "draft" ? this.model.get("draft") : this.model.get("drawn");
    return { ...of, nodes: of.nodes ?? [], edges: of.edges ?? [] };
  }

  show() {
    const { model } = this;
    const mode = model.get("mode");
    const picture = this.picture();
    const chosen = model.get("chosen");
    this.options(this.chain, model.get("choices"), chosen);
    this.options(this.other, ["", ...model.get("choices").filter((name) => name !== chosen)], mode === "compare" ? (model.get("compared").other ?? "") : "");
    const draft = model.get("draft");
    if (draft.text !== undefined && mode === "draft" && this.pasted.hidden) {
      this.text.value = draft.text;
      this.drawer(true);
    }
    if (this.drafted && draft.text === undefined) this.drawer(false); // it was opened
    this.drafted = draft.text !== undefined;
    for (const element of [this.chain, this.other, this.text, this.file, ...this.checks]) element.disabled = !this.live;
    for (const element of [...this.copies, ...this.saves]) element.disabled = !model.get("documents").json;
    this.close.hidden = mode === "chain";
    this.heading(mode, picture);
    this.graph.draw(picture, {
      costs: mode === "chain" ? model.get("costs") : undefined,
      faults: mode === "draft" ? draft.faults : undefined,
      selected: model.get("selected"),
      unfolded: model.get("unfolded"),
      opens: this.live && model.get("on_map") && mode === "chain",
      label: mode === "draft" ? "The document" : mode === "compare" ? `${chosen} and ${model.get("compared").other}` : `The chain of ${chosen}`,
    });
    this.lines(mode, picture);
    this.detail(picture.nodes.find((node) => node.id === model.get("selected")));
  }

  /**
   * @param {HTMLSelectElement} select
   * @param {string[]} names
   * @param {string} value
   */
  options(select, names, value) {
    if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n") || !select.options.length) {
      select.replaceChildren(...names.map((name) => h("option", { value: name }, name || "nothing")));
    }
    select.value = value;
  }

  /**
   * @param {string} mode
   * @param {ChainPicture & { [more: string]: any }} picture
   */
  heading(mode, picture) {
    const costs = this.model.get("costs");
    const words = {
      chain: () => [
        plural(picture.nodes.length, "step"),
        costs.state === "busy" && "what they take is being estimated…",
        costs.state === "failed" && (costs.text ?? ""),
        costs.state === "done" && `in this view: ${costs.text}`,
        costs.state === "done" && (costs.measured ? "Estimated, with rates measured on this machine." : "Estimated, with usual rates: nothing was measured on this machine yet."),
        costs.state === "done" && "The plan's seconds are with all threads, those of a step with one: the steps add up to more.",
        picture.text,
      ],
      compare: () => [`${this.model.get("chosen")} → ${picture.other}`, picture.text === "the same chain" ? "They are the same chain." : plural(picture.lines.length, "difference")],
      draft: () => [picture.state === "ok" ? "The document has no fault: it can be opened." : plural(picture.faults?.length ?? 0, "fault")],
    };
    const told = words[/** @type {keyof typeof words} */ (mode)]().filter(Boolean);
    this.head.textContent = told.join(" · ");
    this.head.classList.toggle("muses-error", mode === "draft" && picture.state !== "ok");
  }

  /**
   * All differences, or all faults, as text: each leads to its node.
   * @param {string} mode
   * @param {ChainPicture & { [more: string]: any }} picture
   */
  lines(mode, picture) {
    /** @type {{ node: string, text: string, kind: string }[]} */
    let lines = [];
    if (mode === "draft") lines = (picture.faults ?? []).map((/** @type {any} */ one) => ({ ...one, kind: "faulty" }));
    if (mode === "compare") {
      const different = picture.nodes.filter((node) => node.kind !== "same" && node.kind !== "moved");
      lines = different.length
        ? different.map((node) => ({ node: node.id, text: /** @type {any} */ (node).text, kind: node.kind ?? "" }))
        : (picture.lines ?? []).map((/** @type {string} */ text) => ({ node: "", text, kind: "" }));
    }
    this.list.hidden = !lines.length;
    this.list.setAttribute("aria-label", mode === "draft" ? "Faults" : "Differences");
    this.list.setAttribute("role", "list");
    this.list.replaceChildren(
      ...lines.map(({ node, text, kind }) =>
        h(
          "div",
          { role: "listitem" },
          node
            ? h("button", { type: "button", class: `muses-chain-line muses-graph-${kind}`, onclick: () => this.lead(node) }, text)
            : h("div", { class: `muses-chain-line muses-graph-${kind}` }, text),
        ),
      ),
    );
  }

  /**
   * Chooses a node, and brings it into sight.
   * @param {string} node
   */
  lead(node) {
    this.set("selected", node);
    this.graph.bodies.get(node)?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }

  /** @param {ChainNode | undefined} node */
  detail(node) {
    if (!node) {
      const hint = "Choose a step to see what it does. Arrow keys walk, Enter chooses, Space unfolds, O opens a step as a layer.";
      this.details.replaceChildren(h("div", { class: "muses-note" }, this.picture().nodes.length ? hint : "There is no chain to show yet."));
      return;
    }
    const mode = this.model.get("mode");
    const cost = mode === "chain" ? this.model.get("costs").nodes?.[node.id] : undefined;
    const faults = mode === "draft" ? (this.model.get("draft").faults ?? []).filter((one) => one.node === node.id) : [];
    const open = this.model.get("unfolded").includes(node.id);
    const opens = this.live && this.model.get("on_map") && mode === "chain" && node.is_image;
    const hidden = new Set(node.callbacks.map((one) => one.argument));
    /** @type {(term: string, ...told: (Node | string)[]) => HTMLElement[]} */
    const row = (term, ...told) => [h("dt", {}, term), h("dd", {}, ...told)];
    /** @type {(argument: string) => Node | string} */
    const control = (argument) => {
      const name = node.arguments.find((one) => one.name === argument)?.control;
      return name ? h("span", { class: "muses-chain-control" }, `◆ parameter ${name}`) : "";
    };
    this.details.replaceChildren(
      h("div", { class: "muses-chain-step" }, node.title),
      h("div", { class: "muses-note" }, node.id, node.process.replace(/[^a-z]/g, "") === node.id.replace(/[^a-z]/g, "") ? "" : ` · ${node.process}`),
      ...faults.map((one) => h("div", { class: "muses-error", role: "alert" }, one.text)),
      node.says && h("p", {}, node.says),
      h(
        "dl",
        {},
        ...node.arguments
          .filter((one) => !hidden.has(one.name))
          .flatMap((one) => row(one.name, plainText(one.value), control(one.name))),
        ...node.callbacks.flatMap((one) => row(one.argument, h("code", {}, one.formula), control(one.argument))),
        ...(node.changes ?? []).flatMap((one) => row(`${one.argument}, changed`, `${one.before ?? "default"} → ${one.after ?? "default"}`)),
        ...(cost ? this.price(cost).flatMap(([term, told]) => row(term, told)) : []),
      ),
      h(
        "div",
        { class: "muses-chain-row" },
        opens && h("button", { type: "button", class: "muses-button", onclick: () => this.graph.actions.open(node.id) }, "Show on the map"),
        node.callbacks.length > 0 && h("button", { type: "button", class: "muses-button", "aria-expanded": String(open), onclick: () => this.unfold(node.id) }, open ? "Fold" : "Unfold"),
      ),
    );
  }

  /**
   * @param {import("../types").NodeCost} cost
   * @returns {[string, string][]}
   */
  price(cost) {
    if (!cost.pieces && !cost.reads) return [["cost here", costWords(cost)]];
    /** @type {[string, string][]} */
    const told = [["evaluated", `${formatPixels(cost.evaluated)} in ${plural(cost.pieces, "block")}`]];
    if (cost.reads) told.push(["read", `${plural(cost.reads, "block")} of files, ${formatBytes(cost.bytes)}`]);
    told.push(["takes", `about ${formatSeconds(cost.seconds)} of one thread, estimated`]);
    told.push(["cached", keptWords(cost) || "not kept as blocks: made with the step after it, or with the tiles"]);
    return told;
  }

  // ---- zoom and pan

  /** @param {number} zoom */
  zoomTo(zoom) {
    this.graph.setZoom(zoom);
    this.set("zoom", zoom);
  }

  /** @param {1 | -1} by */
  step(by) {
    const now = this.model.get("zoom");
    const next = by > 0 ? ZOOMS.find((one) => one > now + 0.01) : ZOOMS.findLast((one) => one < now - 0.01);
    if (next) this.zoomTo(next);
  }

  fit() {
    const room = this.scroll.clientWidth - 2;
    if (room > 0) this.zoomTo(Math.max(0.35, Math.min(1, room / this.graph.size.width)));
  }

  /** The picture is dragged by its ground, and Ctrl and the wheel zoom. */
  pan() {
    const { scroll, signal } = this;
    scroll.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || /** @type {Element} */ (event.target).closest(".muses-graph-node")) return;
      const from = { x: event.clientX + scroll.scrollLeft, y: event.clientY + scroll.scrollTop };
      const ends = new AbortController();
      /** @type {(moved: PointerEvent) => void} */
      const move = (moved) => scroll.scrollTo(from.x - moved.clientX, from.y - moved.clientY);
      window.addEventListener("pointermove", move, { signal: ends.signal });
      window.addEventListener("pointerup", () => ends.abort(), { signal: ends.signal });
      signal.addEventListener("abort", () => ends.abort());
    });
    scroll.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.step(event.deltaY < 0 ? 1 : -1);
      },
      { passive: false },
    );
  }
}

export default {
  /** @param {{ model: Model<ChainPanelTraits>, el: HTMLElement, signal: AbortSignal }} widget */
  render({ model, el, signal }) {
    new ChainPanel(model, el, signal);
  },
};
