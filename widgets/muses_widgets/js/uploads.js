// @ts-check
// Files on their way to the user's folder on the server: in pieces, so that any size arrives and a failure costs one.

import { ask, isAbort, serviceError } from "./server.js";

/** Bytes of a piece: small enough that progress is seen, large enough that a scene is not a thousand requests. */
const PIECE = 2 * 1024 * 1024;
/** How often a piece is sent. */
const TRIES = 4;
const WAIT_MS = 700;

/** Endings of the files of one Shapefile. */
const SHAPEFILE = ["shp", "shx", "dbf", "prj", "cpg", "qix", "sbn", "sbx"];

/** A name for an upload that nobody can guess; pages that come by http have no crypto.randomUUID. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The files of one drop, those that belong together as one.
 * @template {{ name: string }} F
 * @param {F[]} files
 * @returns {{ name: string, files: F[] }[]}
 */
export function together(files) {
  /** @type {Map<string, { name: string, files: F[] }>} */
  const groups = new Map();
  const parts = files.map((file) => ({ file, ...split(file.name) }));
  const shapes = new Set(parts.filter(({ ending }) => ending === "shp").map(({ stem }) => stem));
  for (const { file, stem, ending } of parts) {
    const isPart = SHAPEFILE.includes(ending) && shapes.has(stem);
    const key = isPart ? stem : `${file.name}/`;
    const group = groups.get(key) ?? { name: isPart ? `${stem}.shp` : file.name, files: [] };
    group.files.push(file);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** @param {string} name */
function split(name) {
  const dot = name.lastIndexOf(".");
  return dot < 1 ? { stem: name, ending: "" } : { stem: name.slice(0, dot), ending: name.slice(dot + 1).toLowerCase() };
}

/**
 * Sends a file, and tells how many of its bytes have arrived.
 * @param {string} id
 * @param {File} file
 * @param {(received: number) => void} progress
 * @param {AbortSignal} signal
 */
export async function upload(id, file, progress, signal) {
  let at = 0;
  let failures = 0;
  if (!file.size) throw new Error(`${file.name} is empty`);
  while (at < file.size) {
    try {
      at = await sendPiece(id, file, at, signal);
      failures = 0;
      progress(at);
    } catch (error) {
      const there = receivedOf(error);
      if (there === undefined) {
        if (isAbort(error) || !isPassing(error) || ++failures >= TRIES) throw error;
        await pause(WAIT_MS * failures, signal);
      } else if (++failures >= TRIES) {
        throw error;
      } else {
        at = there; // what was sent had arrived, and its answer had not
      }
    }
  }
}

/**
 * @param {string} id
 * @param {File} file
 * @param {number} at
 * @param {AbortSignal} signal
 * @returns {Promise<number>} bytes that have arrived
 */
async function sendPiece(id, file, at, signal) {
  const query = new URLSearchParams({ name: file.name, at: String(at), size: String(file.size) });
  const body = file.slice(at, at + PIECE);
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await ask(`muses:uploads/${id}?${query}`, { method: "POST", body, headers, signal });
  if (response.status === 409) {
    const { details } = await response.json();
    throw new OutOfStep(details.received);
  }
  if (!response.ok) throw await serviceError(response);
  return (await response.json()).received;
}

/** The server has more, or fewer, bytes than the page thinks. */
class OutOfStep extends Error {
  /** @param {number} received */
  constructor(received) {
    super("The file did not arrive whole: add it once more.");
    this.received = received;
  }
}

/** @param {unknown} error */
const receivedOf = (error) => (error instanceof OutOfStep ? error.received : undefined);

/**
 * Whether it may go on in a moment: nobody answered, or somebody was busy.
 * @param {any} error
 */
const isPassing = (error) => error.code === "unreachable" || [429, 502, 503, 504].includes(error.status);

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}

/** @param {string} id */
export const removeUpload = (id) => ask(`muses:uploads/${id}`, { method: "DELETE" });
