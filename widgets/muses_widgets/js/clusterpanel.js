// @ts-check
// The cluster panel as a widget of its own.

import { h } from "./dom.js";
import { clusterBox } from "./sections/cluster.js";

export default {
  /** @param {{ el: HTMLElement, signal: AbortSignal }} widget */
  render({ el, signal }) {
    el.classList.add("muses-panel-host");
    el.append(h("section", { class: "muses-panel muses-cluster-panel", "aria-label": "Cluster" }, clusterBox(signal)));
  },
};
