// @ts-check
// Tells the service what one map shows: it puts its work in order by that, and works ahead around it.

/** @import { Panel } from "./panel.js" */
/** @import { View } from "./types" */

import { postJson } from "./server.js";

export class ViewReport {
  id = crypto.randomUUID?.() ?? String(Math.random()); // of this map on this page
  /** @type {View | null} the newest */
  view = null;
  /** @type {string | null} */
  untold = null;
  /** @type {string | null} */
  told = null;
  telling = false;

  /** @param {Panel} panel */
  constructor(panel) {
    this.panel = panel;
  }

  /**
   * What is looked at: now, or at the end of a zoom that begins.
   * @param {import("./types").LatLng} [center]
   * @param {number} [zoom]
   */
  report(center = this.panel.map.getCenter(), zoom = this.panel.map.getZoom()) {
    const { map, visibleRows } = this.panel;
    const { min, max } = map.getPixelBounds(center, zoom);
    const { lng: west, lat: south } = map.unproject([min.x, max.y], zoom);
    const { lng: east, lat: north } = map.unproject([max.x, min.y], zoom);
    const { lng, lat } = map.wrapLatLng(center);
    this.tell({
      id: this.id,
      z: Math.round(zoom),
      center: [lng, lat],
      bounds: [west, south, east, north],
      layers: visibleRows.filter((row) => !row.empty).map(({ entry }) => `${entry.chain}/${entry.style}`),
    });
  }

  /** Nobody looks at this map any more. */
  leave() {
    if (this.view) this.tell({ ...this.view, layers: [] });
  }

  /**
   * One message at a time, so that the newest comes last; those that come in between are left out.
   * @param {View} view
   */
  async tell(view) {
    this.view = view;
    this.untold = JSON.stringify(view);
    if (this.telling) return;
    this.telling = true;
    try {
      while (this.untold !== this.told) {
        this.told = this.untold;
        await postJson("muses:view", this.told, { seconds: 10 });
      }
    } catch (error) {
      this.told = null;
      console.debug("[muses] the view was not told:", error); // tiles come all the same, in another order
    } finally {
      this.telling = false;
    }
  }
}
