// @ts-check
// The user's own files: dropped on the map or chosen, sent to their folder, and shown by the kernel.

/** @import { Panel } from "../panel.js" */
/** @import { FilesState, OwnFile } from "../types" */

import { h } from "../dom.js";
import { formatBytes } from "../format.js";
import { addSection } from "../sections.js";
import { isAbort, messageOf } from "../server.js";
import { newId, removeUpload, together, upload } from "../uploads.js";

const NAME = "files";

/** @typedef {{ id: string, name: string, size: number, sent: number, failed?: string, stop: AbortController }} Sending */

class FilesBox {
  /** @type {Map<string, Sending>} */
  sending = new Map();
  /** @type {number} drag events that entered and did not leave */
  over = 0;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
    this.input = h("input", { type: "file", multiple: true, class: "muses-files-input", "aria-label": "Files to add", tabindex: "-1" });
    this.input.addEventListener("change", () => {
      this.take([...(this.input.files ?? [])]);
      this.input.value = "";
    });
    this.button = h("button", { class: "muses-button", type: "button" }, "Add files…");
    this.button.addEventListener("click", () => this.input.click());
    this.list = h("ul", { class: "muses-files-list", "aria-live": "polite", "aria-label": "Own files" });
    this.element = h(
      "div",
      { class: "muses-files", role: "group", "aria-label": "Your own files" },
      h("div", { class: "muses-files-row" }, this.button, h("span", { class: "muses-note" }, "or drop them on the map"), this.input),
      this.list,
    );
    this.target = h("div", { class: "muses-drop", hidden: true }, h("span", {}, "Drop rasters, vectors, or a CSV of points"));
    this.body = [this.element];
  }

  connected() {
    const { signal } = this.panel;
    const container = this.panel.map?.getContainer();
    if (!container) return;
    container.append(this.target);
    /** @param {string} name @param {(event: DragEvent) => void} heed */
    const on = (name, heed) =>
      container.addEventListener(
        name,
        (event) => {
          const drag = /** @type {DragEvent} */ (event);
          if (!drag.dataTransfer?.types.includes("Files")) return;
          event.preventDefault(); // else the browser, or JupyterLab, would open the file
          event.stopPropagation();
          heed(drag);
        },
        { signal },
      );
    on("dragenter", () => this.hover(this.over + 1));
    on("dragover", () => undefined);
    on("dragleave", () => this.hover(this.over - 1));
    on("drop", (event) => {
      this.hover(0);
      this.take([...(event.dataTransfer?.files ?? [])]);
    });
    this.show();
  }

  /** @param {number} over */
  hover(over) {
    this.over = Math.max(0, over);
    this.target.hidden = !this.over;
  }

  told() {
    this.show();
  }

  remove() {
    for (const { stop } of this.sending.values()) stop.abort();
    this.target.remove();
  }

  /** @param {File[]} files */
  take(files) {
    for (const group of together(files)) this.panel.guard(() => this.send(group));
  }

  /** @param {{ name: string, files: File[] }} group */
  async send({ name, files }) {
    const id = newId();
    const size = files.reduce((sum, file) => sum + file.size, 0);
    /** @type {Sending} */
    const sending = { id, name, size, sent: 0, stop: new AbortController() };
    this.sending.set(id, sending);
    this.show();
    try {
      if (!this.panel.hasKernel) throw new Error("Adding files needs the notebook's kernel, and none is connected. Run the notebook's cells, then try again.");
      let before = 0;
      for (const file of files) {
        await upload(id, file, (received) => {
          sending.sent = before + received;
          this.show();
        }, sending.stop.signal);
        before += file.size;
      }
      this.panel.model.send({ section: NAME, do: "open", id, name });
      this.sending.delete(id);
    } catch (error) {
      if (isAbort(error)) this.sending.delete(id);
      else sending.failed = messageOf(error);
      await removeUpload(id).catch(() => undefined);
    }
    this.show();
  }

  /** @param {string} id */
  forget(id) {
    const sending = this.sending.get(id);
    if (sending) {
      sending.stop.abort();
      this.sending.delete(id);
      this.show();
    } else {
      this.panel.model.send({ section: NAME, do: "forget", id });
    }
  }

  show() {
    /** @type {FilesState} */
    const { files = [] } = this.panel.model.get("sections")[NAME] ?? {};
    const focused = document.activeElement instanceof HTMLElement && this.list.contains(document.activeElement);
    this.list.replaceChildren(
      ...[...this.sending.values()].map((one) => this.drawSending(one)),
      ...files.map((one) => this.drawFile(one)),
    );
    this.list.hidden = !this.list.childElementCount;
    if (focused) this.button.focus();
  }

  /** @param {Sending} sending */
  drawSending({ id, name, size, sent, failed }) {
    const share = size ? sent / size : 0;
    return h(
      "li",
      { class: failed ? "muses-files-failed" : "muses-files-sending" },
      h("span", { class: "muses-files-name", title: name }, name),
      this.closeButton(id, failed ? `Forget ${name}` : `Cancel ${name}`),
      failed
        ? h("div", { class: "muses-note muses-failed" }, failed)
        : [
            h("progress", { max: "1", value: share, "aria-label": `Sending ${name}` }),
            h("div", { class: "muses-note" }, `${formatBytes(sent)} of ${formatBytes(size)}`),
          ],
    );
  }

  /** @param {OwnFile} file */
  drawFile({ id, name, state, text, code }) {
    return h(
      "li",
      { class: `muses-files-${state}` },
      h("span", { class: "muses-files-name", title: name }, name),
      this.panel.hasKernel && state !== "checking" && this.closeButton(id, `Forget ${name}`),
      h("div", { class: `muses-note ${state === "failed" ? "muses-failed" : ""}` }, text),
      state === "view" && this.panel.hasKernel && h("button", { class: "muses-button", type: "button", "aria-label": `Show ${name} in this map`, onclick: () => this.panel.model.send({ section: NAME, do: "show", id, name }) }, "Show in this map"),
      code && h("code", { class: "muses-files-code", title: "The same in Python" }, code),
    );
  }

  /** @param {string} id @param {string} label */
  closeButton(id, label) {
    const button = h("button", { class: "muses-icon", type: "button", "aria-label": label, title: label }, "×");
    button.addEventListener("click", () => this.forget(id));
    return button;
  }
}

addSection(NAME, (panel) => new FilesBox(panel), { order: 90 });
