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

/** Makes Leaflet load `muses:` tiles through us. Called early with the page's Leaflet, and again for every layer. */
function teachLeaflet(layer) {
  const loader = tileLoader();
  if (window.L?.TileLayer) loader.teach(window.L.TileLayer.prototype);
  if (!layer || layer._musesTaughtHere) return;
  layer._musesTaughtHere = true;
  if (!layer.createTile || "_musesTaught" in layer) return;
  // A second copy of Leaflet, or one that kept itself off the page's global names: its class is found by the layer,
  // and the tiles that it has asked for in vain are asked for again.
  let prototype = Object.getPrototypeOf(layer);
  while (!Object.hasOwn(prototype, "createTile")) prototype = Object.getPrototypeOf(prototype);
  loader.teach(prototype);
  layer.redraw();
}
