// The cluster panel as a widget of its own.

export default {
  render({ el, signal }) {
    el.classList.add("muses-panel-host");
    el.append(h("section", { class: "muses-panel muses-cluster-panel", "aria-label": "Cluster" }, clusterBox(signal)));
  },
};
