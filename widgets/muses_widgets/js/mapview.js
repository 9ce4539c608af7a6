// Finding the Leaflet objects behind ipyleaflet's widgets. Everything that depends on ipyleaflet's inside is here.

/** Calls `attempt` once per frame until it gives something, or throws `message` after `seconds`. */
async function until(attempt, seconds, message, signal) {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const found = await attempt();
    if (found) return found;
    if (signal?.aborted) throw new DOMException("The panel was removed", "AbortError");
    if (performance.now() > end) throw new Error(message);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** A widget's model by its id; while a saved notebook opens, models appear one after the other. */
async function findModel(manager, reference, signal) {
  const id = reference.replace(/^IPY_MODEL_/, "");
  const attempt = async () => {
    try {
      return await manager.get_model(id);
    } catch {
      return null; // not registered yet: that is what until() is for
    }
  };
  return until(attempt, 20, `The widget ${id} is not in this page. Run the cell again.`, signal);
}

const viewsOf = async (model) => (await Promise.allSettled(Object.values(model.views ?? {}))).map((r) => r.value);

/** The view of the map in which the element lies (a map may be shown in several cells). */
async function findMapView(mapModel, element, signal) {
  return until(
    async () => (await viewsOf(mapModel)).find((view) => view?.obj && view.el.contains(element)),
    60,
    "The map of this panel is not shown in this page. Run the cell again.",
    signal,
  );
}

/** The Leaflet layer of `layerModel` in one view of the map; null while it is being made. */
async function findLayer(layerModel, mapView) {
  const view = (await viewsOf(layerModel)).find((v) => v?.map_view === mapView && v.obj);
  return view?.obj ?? null;
}

/** The control in the map's corner that names the sources, if it has one. */
async function findAttribution(mapView) {
  const views = await Promise.allSettled(mapView.control_views.views);
  return views.map((view) => view.value?.obj).find((control) => control?.addAttribution) ?? null;
}

/** Makes the page's Leaflet load `muses:` tiles through us. */
function teachLeaflet() {
  if (window.L?.TileLayer) tileLoader().teach(window.L.TileLayer.prototype);
}

/**
 * Takes over a tile layer. A saved notebook draws its map while this module is still being loaded: what the layer has
 * asked for until then (in vain: no browser knows `muses:`) is asked for again. The same holds for a second copy of
 * Leaflet, whose classes are found through the layer.
 */
function takeOver(layer) {
  let owner = Object.getPrototypeOf(layer);
  while (!Object.hasOwn(owner, "createTile")) owner = Object.getPrototypeOf(owner);
  tileLoader().teach(owner);
  if (layer._url?.startsWith("muses:") && !layer._muses) layer.redraw();
}
