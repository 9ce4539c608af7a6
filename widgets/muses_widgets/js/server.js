// @ts-check
// The Jupyter server that serves this page: where it is, how to ask it, what its failures mean.

/** Base URL of the Jupyter server that serves this page (JupyterLab, Notebook 7, Voilà), ending in a slash. */
export function baseUrl() {
  const config = document.getElementById("jupyter-config-data")?.textContent;
  /** @type {string | undefined} */
  let base = config ? JSON.parse(config).baseUrl : undefined;
  if (base === undefined) base = document.body.dataset.baseUrl?.replace(/voila\/$/, "");
  if (base === undefined) {
    throw new ServiceError(
      "no-server",
      "This page is not shown by a Jupyter server, so the map has nowhere to ask for its tiles. Open the notebook in " +
        "JupyterLab, Notebook 7 or Voilà; m.save(“map.html”) in the notebook makes a page that needs no server.",
    );
  }
  return base.endsWith("/") ? base : base + "/";
}

/**
 * `muses:tiles/…` → the address on this page's server; anything else unchanged.
 * @param {string} url
 */
export function completeUrl(url) {
  return url.startsWith("muses:") ? baseUrl() + "muses/" + url.slice("muses:".length) : url;
}

/** A failure with the service's stable code and its reason in words. */
export class ServiceError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, retryAfter?: number | null }} [how] `status` is 0 where nobody answered; `retryAfter` in seconds
   */
  constructor(code, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Seconds that an answer may take, unless the asker says otherwise. */
const PATIENCE = 60;

/**
 * Runs `work(signal)` for at most `seconds`; given up early when `signal` is aborted.
 * @template T
 * @param {number} seconds
 * @param {AbortSignal | null | undefined} signal
 * @param {(limit: AbortSignal) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function within(seconds, signal, work) {
  const limit = new AbortController();
  const stop = () => limit.abort();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    stop();
  }, seconds * 1000);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    return await work(limit.signal);
  } catch (error) {
    if (!late || signal?.aborted) throw error;
    throw new ServiceError("no-answer", `The Jupyter server has not answered for ${Math.round(seconds)} s.`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** What the cookie says that a page of this server has to send along; Voilà's pages come without it. */
const xsrfToken = () => document.cookie.match(/(?:^|;\s*)_xsrf=([^;]*)/)?.[1];

/**
 * fetch() of a `muses:` URL. JupyterHub treats a fetch without the XSRF header as anonymous.
 * @param {string} url
 * @param {RequestInit & { headers?: Record<string, string> }} [options]
 */
export async function ask(url, options = {}) {
  const address = completeUrl(url); // outside of what means that nobody answers
  try {
    if (["POST", "DELETE"].includes(options.method ?? "GET") && !xsrfToken()) {
      await fetch(completeUrl("muses:health"), { credentials: "same-origin", signal: options.signal }); // sets the cookie
    }
    const xsrf = xsrfToken();
    const headers = { ...options.headers, ...(xsrf ? { "X-XSRFToken": decodeURIComponent(xsrf) } : {}) };
    return await fetch(address, { credentials: "same-origin", ...options, headers });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ServiceError("unreachable", "The Jupyter server does not answer. Is it still running?");
  }
}

/**
 * The JSON that answers a `muses:` URL.
 * @param {string} url
 * @param {RequestInit & { headers?: Record<string, string>, seconds?: number }} [options]
 * @returns {Promise<any>}
 */
export function askJson(url, { signal, seconds = PATIENCE, ...options } = {}) {
  return within(seconds, signal, async (limit) => {
    const response = await ask(url, { ...options, signal: limit });
    if (!response.ok) throw await serviceError(response);
    return response.json();
  });
}

/**
 * Sends JSON to a `muses:` URL and gives the JSON that answers.
 * @param {string} url
 * @param {string} body
 * @param {{ signal?: AbortSignal, seconds?: number }} [options]
 */
export function postJson(url, body, options = {}) {
  return askJson(url, { ...options, method: "POST", headers: { "Content-Type": "application/json" }, body });
}

/**
 * Whether something was given up rather than failed.
 * @param {unknown} error
 */
export const isAbort = (error) => error instanceof Error && error.name === "AbortError";

/**
 * What went wrong, in words.
 * @param {unknown} error
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * What an error answer says; the words are ours where the answer is not the service's own.
 * @param {Response} response
 */
export async function serviceError(response) {
  const { status } = response;
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const how = { status, retryAfter: Number.isFinite(seconds) ? seconds : null };
  /** @type {{ code?: string, message?: string }} */
  let body = {};
  if (response.headers.get("Content-Type")?.includes("json")) body = (await response.json().catch(() => null)) ?? {};
  const code = body.code ?? response.headers.get("X-Muses-Error");
  // The service refuses a document's place with 403 too, and says so; a log-in page says nothing.
  if (status === 401 || (status === 403 && (!code || code === "forbidden"))) {
    return new ServiceError("forbidden", "The Jupyter server asks for a log-in. Reload the page.", how);
  }
  if (code) {
    const header = response.headers.get("X-Muses-Message");
    return new ServiceError(code, body.message ?? (header ? decodeURIComponent(header) : code), how);
  }
  if (status === 404) {
    return new ServiceError(
      "no-service",
      "This Jupyter server does not run the MUSES Lab service. Run “muses-lab doctor” in a terminal to see how to get it.",
      how,
    );
  }
  return new ServiceError("http-" + status, `The server answered ${status} ${response.statusText}`, how);
}
