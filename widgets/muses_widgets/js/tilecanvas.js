// @ts-check
// What a tile of the map is: a canvas, so that what it shows can be exchanged or coloured anew at once.

/** @import { Colours, TileValues } from "./types" */

import { coloured } from "./tilecolours.js";

const SIZE = 256;

export function tileCanvas() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  // Leaflet, which makes images, removes those at a zoom's begin that are not.
  return Object.assign(canvas, { complete: true });
}

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives the map no canvas to draw a tile on.");
  return context;
}

/**
 * Draws values in a layer's colours.
 * @param {HTMLCanvasElement} canvas
 * @param {TileValues} values
 * @param {Colours} colours
 */
export function drawValues(canvas, values, colours) {
  contextOf(canvas).putImageData(new ImageData(coloured(values, colours), values.width, values.height), 0, 0);
}

/**
 * Draws a picture that has arrived; what was there before stays until it is decoded.
 * @param {HTMLCanvasElement} canvas
 * @param {Blob} blob
 * @param {AbortSignal} signal
 */
export async function drawPicture(canvas, blob, signal) {
  const picture = await createImageBitmap(blob);
  if (!signal.aborted) {
    const context = contextOf(canvas);
    context.clearRect(0, 0, SIZE, SIZE);
    context.drawImage(picture, 0, 0);
  }
  picture.close();
}

/**
 * Draws that the tile failed, where the service did not.
 * @param {HTMLCanvasElement} canvas
 */
export function drawFailure(canvas) {
  const context = contextOf(canvas);
  context.clearRect(0, 0, SIZE, SIZE);
  context.fillStyle = "rgb(179 38 30 / 12%)";
  context.fillRect(0, 0, SIZE, SIZE);
  context.strokeStyle = "rgb(179 38 30 / 35%)";
  for (const [from, to] of /** @type {const} */ ([[0, SIZE], [SIZE, 0]])) {
    context.beginPath();
    context.moveTo(0, from);
    context.lineTo(SIZE, to);
    context.stroke();
  }
  context.fillStyle = "#8c1d18";
  context.font = "14px sans-serif";
  context.textAlign = "center";
  context.fillText("tile failed", SIZE / 2, SIZE / 2 + 6);
}
