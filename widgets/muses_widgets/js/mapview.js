// @ts-check
// Finding the Leaflet objects behind ipyleaflet's widgets. Everything that depends on ipyleaflet's inside is here.

/** @import { AttributionControl, LeafletMap, LeafletTileLayer, MapView, WidgetManager, WidgetModel, WidgetView } from "./types" */

import { tileLoader } from "./tiles.js";

/**
 * Calls `attempt` once per frame until it gives something, or throws `message` after `seconds`.
 * @template T
 * @param {() => Promise<T | null | undefined> | T | null | undefined} attempt
 * @param {number} seconds
 * @param {string} message
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
async function until(attempt, seconds, message, signal) {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const found = await attempt();
    if (found) return found;
    if (signal?.aborted) throw new DOMException("The panel was removed", "AbortError");
    if (performance.now() > end) throw new Error(message);
    await new Promise((resolve) => {
      setTimeout(resolve, 30);
    });
  }
}

/**
 * The id of a reference to a model, which may be prefixed.
 * @param {string} reference
 */
export const plainId = (reference) => reference.replace(/^IPY_MODEL_/, "");

/**
 * A widget's model by its id; while a saved notebook opens, models appear one after the other.
 * @param {WidgetManager} manager
 * @param {string} reference
 * @param {AbortSignal} signal
 */
export async function findModel(manager, reference, signal) {
  const id = plainId(reference);
  const attempt = async () => {
    try {
      return await manager.get_model(id);
    } catch {
      return null; // not registered yet: that is what until() is for
    }
  };
  return until(attempt, 20, `The widget ${id} is not in this page. Run the cell again.`, signal);
}

/**
 * Whether a kernel is behind a widget.
 * @param {WidgetManager | undefined} manager
 * @param {WidgetModel | null} model
 */
export function hasKernel(manager, model) {
  const kernel = manager?.kernel; // JupyterLab's; elsewhere only the widget itself is asked
  if (kernel && (kernel.isDisposed || ["dead", "unknown", "terminating"].includes(kernel.status))) return false;
  return Boolean(model?.comm_live) && !isCutOff(model);
}

/**
 * Whether a widget's way to its kernel has been closed: JupyterLab does so with a notebook's tab, and shows the same
 * widgets when the notebook is opened again.
 * @param {WidgetModel | null} model
 */
export const isCutOff = (model) => Boolean(model?.comm?.jsServicesComm?.isDisposed);

/** @param {{ views?: Record<string, Promise<WidgetView>> }} model */
const viewsOf = async (model) => (await Promise.allSettled(Object.values(model.views ?? {}))).flatMap((r) => (r.status === "fulfilled" ? [r.value] : []));

/**
 * The view of the map in which the element lies (a map may be shown in several cells).
 * @param {WidgetModel} mapModel
 * @param {HTMLElement} element
 * @param {AbortSignal} signal
 * @returns {Promise<MapView>}
 */
export async function findMapView(mapModel, element, signal) {
  return until(
    async () => /** @type {MapView | undefined} */ ((await viewsOf(mapModel)).find((view) => view?.obj && view.el.contains(element))),
    60,
    "The map of this panel is not shown in this page. Run the cell again.",
    signal,
  );
}

/**
 * The Leaflet layer of `layerModel` in one view of the map; null while it is being made.
 * @param {WidgetModel} layerModel
 * @param {MapView} mapView
 * @returns {Promise<LeafletTileLayer | null>}
 */
export async function findLayer(layerModel, mapView) {
  const view = (await viewsOf(layerModel)).find((v) => v?.map_view === mapView && v.obj);
  return view?.obj ?? null;
}

/**
 * The control in the map's corner that names the sources, if it has one.
 * @param {MapView} mapView
 * @returns {Promise<AttributionControl | null>}
 */
export async function findAttribution(mapView) {
  const views = await Promise.allSettled(mapView.control_views.views);
  return views.map((view) => view.status === "fulfilled" && view.value?.obj).find((control) => control?.addAttribution) ?? null;
}

/**
 * Whether a click on the map is one of its drawing tools': a corner of a polygon, not a place.
 * @param {Pick<LeafletMap, "pm">} map
 */
export const isDrawing = ({ pm }) => ["Draw", "Edit", "Drag", "Removal"].some((mode) => pm?.[`global${mode}ModeEnabled`]?.call(pm));

/** Makes the page's Leaflet load `muses:` tiles through us. */
export function teachLeaflet() {
  if (window.L?.TileLayer) tileLoader().teach(window.L.TileLayer.prototype);
}

/** Further south than any tile: as NOWHERE in muses_widgets/tiles.py. */
const NOWHERE = -89;

/**
 * Takes over a tile layer. A map is drawn while this module is still being loaded: until then its layers have bounds in
 * which no tile lies. What a layer has asked for without us (in vain: no browser knows `muses:`) is asked for again. The
 * same holds for a second copy of Leaflet, whose classes are found through the layer.
 * @param {LeafletTileLayer} layer
 */
export function takeOver(layer) {
  let owner = Object.getPrototypeOf(layer);
  while (!Object.hasOwn(owner, "createTile")) owner = Object.getPrototypeOf(owner);
  tileLoader().teach(owner);
  const north = layer.options?.bounds?.[1]?.[0] ?? 90;
  if (north < NOWHERE) {
    // ipyleaflet sets all options again whenever one changes: these bounds are not to come back.
    Object.defineProperty(layer.options, "bounds", { get: () => undefined, set: () => {} });
    layer.redraw();
  } else if (layer._url?.startsWith("muses:") && !layer._muses) layer.redraw();
}

/**
 * Whether a tile layer has a tile, asked for or shown, for every part of what its map shows at this moment.
 * @param {LeafletTileLayer} layer
 */
export function coversView(layer) {
  const map = layer._map;
  if (!map || map._animatingZoom || layer._tileZoom !== layer._clampZoom(Math.round(map.getZoom()))) return false;
  const { min, max } = layer._pxBoundsToTileRange(layer._getTiledPixelBounds(map.getCenter()));
  for (let y = min.y; y <= max.y; y += 1) {
    for (let x = min.x; x <= max.x; x += 1) {
      const coords = { x, y, z: layer._tileZoom };
      if (layer._isValidTile(coords) && !layer._tiles?.[layer._tileCoordsToKey(coords)]?.current) return false;
    }
  }
  return true;
}

export const WEB_MERCATOR_METRES = 40075016.685578488; // around the equator

/**
 * Metres on the ground per pixel of a zoom, in the middle of the map or at another latitude.
 * @param {Pick<LeafletMap, "getCenter">} map
 * @param {number} zoom
 * @param {number} [latitude]
 */
export function groundResolution(map, zoom, latitude = map.getCenter().lat) {
  return (WEB_MERCATOR_METRES * Math.cos((latitude * Math.PI) / 180)) / (256 * 2 ** zoom);
}
