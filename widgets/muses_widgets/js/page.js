// The page that shows the map: where its Jupyter server is, how to ask it, and small DOM helpers.

/** Base URL of the Jupyter server that serves this page (JupyterLab, Notebook 7, Voilà), ending in a slash. */
function baseUrl() {
  const script = document.getElementById("jupyter-config-data");
  let base = script ? JSON.parse(script.textContent).baseUrl : undefined;
  if (base === undefined) base = document.body.dataset.baseUrl?.replace(/voila\/$/, "");
  if (base === undefined) {
    throw new Error("This page is not shown by a Jupyter server, so the map has nowhere to ask for its tiles.");
  }
  return base.endsWith("/") ? base : base + "/";
}

/** `muses:tiles/…` → the address on this page's server; anything else unchanged. */
function completeUrl(url) {
  return url.startsWith("muses:") ? baseUrl() + "muses/" + url.slice("muses:".length) : url;
}

/** A failure with the service's stable code and its reason in words; `status` is 0 where nobody answered. */
class ServiceError extends Error {
  constructor(code, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Seconds that an answer may take, unless the asker says otherwise. */
const PATIENCE = 60;

/** Runs `work(signal)` for at most `seconds`; given up early when `signal` is aborted. */
async function within(seconds, signal, work) {
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

/** fetch() of a `muses:` URL. JupyterHub treats a fetch without the XSRF header as anonymous. */
async function ask(url, options = {}) {
  const xsrf = document.cookie.match(/(?:^|;\s*)_xsrf=([^;]*)/)?.[1];
  const headers = { ...options.headers, ...(xsrf ? { "X-XSRFToken": decodeURIComponent(xsrf) } : {}) };
  try {
    return await fetch(completeUrl(url), { credentials: "same-origin", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("unreachable", "The Jupyter server does not answer. Is it still running?");
  }
}

function askJson(url, { signal, seconds = PATIENCE, ...options } = {}) {
  return within(seconds, signal, async (limit) => {
    const response = await ask(url, { ...options, signal: limit });
    if (!response.ok) throw await serviceError(response);
    return response.json();
  });
}

/** What an error answer says; the words are ours where the answer is not the service's own. */
async function serviceError(response) {
  const { status } = response;
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  const how = { status, retryAfter: Number.isFinite(seconds) ? seconds : null };
  let body = {};
  if (response.headers.get("Content-Type")?.includes("json")) body = await response.json().catch(() => ({}));
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

/** h("button", {class: "x", onclick: f}, "text", child): an element. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") element.style.cssText = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** Four significant digits, no trailing zeros: 0.1235, 12 300, 1.5e-7. */
function formatNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "no data";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(+value.toPrecision(size >= 1000 ? 7 : 4));
}

function formatLength(metres) {
  if (metres >= 1000) return `${+(metres / 1000).toPrecision(3)} km`;
  return `${+metres.toPrecision(metres < 10 ? 2 : 3)} m`;
}

/** 0.42 s, 3.1 s, 12 s, 2 min: as precise as one needs to know. */
function formatSeconds(seconds) {
  if (seconds < 0.995) return `${Math.max(0.01, seconds).toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  return seconds < 99.5 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
