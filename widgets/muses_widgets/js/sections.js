// @ts-check
// The sections of the panel: each is a module that adds itself here; the panel knows none of them by name.

/** @import { Panel } from "./panel.js" */
/** @import { LatLng } from "./types" */

/**
 * What a section may have. All callbacks are called when the map is there, and what goes wrong in them is shown in the
 * panel.
 * @typedef {object} Section
 * @property {HTMLElement[]} [top] elements above the layers, in sight even when the panel is folded
 * @property {HTMLElement[]} [body] elements below the layers
 * @property {HTMLElement[]} [foot] elements below all that scrolls, always in sight
 * @property {() => void | Promise<void>} [connected] the map is there
 * @property {() => void | Promise<void>} [adopt] the map's layers may be others: takes hold of those of its own
 * @property {() => void | Promise<void>} [layersChanged] which layers there are, what they are of, or which are visible
 * @property {() => void} [recoloured] somebody changes colours of a layer, by hand
 * @property {() => void} [zooming] the map's picture is moved without its layers (Leaflet's `zoom` and `viewreset`)
 * @property {() => void} [zoomed] the zoom is another
 * @property {() => void} [moved] the view is another
 * @property {(place: LatLng) => void} [clicked]
 * @property {() => boolean} [takesClicks] whether clicks on the map are its own for now, and no other section's
 * @property {() => void} [cleared] there is no clicked place any more
 * @property {(state: any) => void} [told] the section's Python part tells another state
 * @property {() => void} [heard] the section's Python part has got a message
 * @property {() => void} [remove] the panel is gone
 */

/** @typedef {{ name: string, order: number, make: (panel: Panel) => Section }} SectionKind */

/** @type {Map<string, SectionKind>} */
const kinds = new Map();

/**
 * Adds a section to all panels that are made from now on.
 * @param {string} name by which its Python part, if it has one, is known
 * @param {(panel: Panel) => Section} make
 * @param {{ order?: number }} [how] lower ones come first
 */
export function addSection(name, make, { order = 100 } = {}) {
  if (kinds.has(name)) throw new Error(`There are two sections ${JSON.stringify(name)}`);
  kinds.set(name, { name, order, make });
}

/** All kinds of sections, in their order. */
export const sectionKinds = () => [...kinds.values()].sort((a, b) => a.order - b.order || (a.name < b.name ? -1 : 1));
