// @ts-check
// What becomes of the tiles and pictures of others: how many came, how many did not, and who does not answer.

import { plural } from "./format.js";

/** Milliseconds after which a server that has sent nothing is said not to answer. */
const PATIENCE_MS = 20_000;

/**
 * What is known of the tiles of a layer that the page itself asks for.
 * @typedef {{ waiting: number, came: number, failed: number, late: boolean }} WebTiles
 */

/**
 * @param {WebTiles} tiles
 * @param {string} host
 */
export function describeWebTiles({ waiting, came, failed, late }, host) {
  if (failed && !came) return `${host} does not give this map: is there an internet connection, and is the address right?`;
  if (failed) return `${plural(failed, "tile")} of ${came + failed} did not come from ${host}`;
  if (late && waiting) return `${host} has not answered for ${PATIENCE_MS / 1000} s`;
  return "";
}

/**
 * Follows a Leaflet tile layer until `signal` is aborted.
 * @param {{ on(names: string, callback: (event: any) => void): void, off(names: string, callback: (event: any) => void): void }} layer
 * @param {(tiles: WebTiles) => void} tell
 * @param {AbortSignal} signal
 */
export function watchWebTiles(layer, tell, signal) {
  /** @type {WebTiles} */
  const tiles = { waiting: 0, came: 0, failed: 0, late: false };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const wait = () => {
    clearTimeout(timer);
    tiles.late = false;
    if (!tiles.waiting) return;
    timer = setTimeout(() => {
      tiles.late = true;
      tell(tiles);
    }, PATIENCE_MS);
  };
  /** @param {{ type: string }} event */
  const heard = ({ type }) => {
    if (type === "loading") Object.assign(tiles, { waiting: 0, came: 0, failed: 0 }); // another view
    if (type === "tileloadstart") tiles.waiting += 1;
    else if (type === "tileload" || type === "tileerror") {
      tiles.waiting = Math.max(0, tiles.waiting - 1);
      if (type === "tileload") tiles.came += 1;
      else tiles.failed += 1;
    }
    wait();
    tell(tiles);
  };
  const names = "loading tileloadstart tileload tileerror";
  layer.on(names, heard);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    layer.off(names, heard);
  });
}
