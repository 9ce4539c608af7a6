// @ts-check
// Bokeh's plots in the page: muses_widgets/bokehplots.py makes them.

import { h } from "./dom.js";
import { baseUrl, ServiceError } from "./server.js";

/**
 * Draws a plot; gives its views, to be cleared when it is no longer shown.
 * @param {string} item Bokeh's, as JSON
 * @param {string} release of Bokeh
 * @param {HTMLElement} canvas
 * @returns {Promise<{ clear(): void }>}
 */
export async function drawPlot(item, release, canvas) {
  const bokeh = await loadBokeh(release);
  return bokeh.embed.embed_item(JSON.parse(item), canvas);
}

/** Fetches Bokeh, if the page has none, while something else is waited for. */
export function loadAhead() {
  const { Bokeh } = /** @type {any} */ (globalThis);
  if (!Bokeh) served().catch(() => {}); // whoever draws a plot is told
}

/**
 * The release of Bokeh that the kernel's plots are for: the page's own where a notebook has shown plots, else that of the
 * Jupyter server. Nothing is asked of another host.
 * @param {string} release
 */
async function loadBokeh(release) {
  const { Bokeh } = /** @type {any} */ (globalThis);
  const found = Bokeh?.[release] ?? (await served())?.[release];
  if (!found) throw failure(`the kernel has Bokeh ${release} and the Jupyter server another one. Use one environment for both.`);
  return found;
}

/** @type {Promise<any> | undefined} */
let loading;

/** What Panel's extension of the Jupyter server hands out; where that failed, it is asked for again. */
function served() {
  if (!loading) {
    loading = fetched();
    loading.catch(() => (loading = undefined));
  }
  return loading;
}

function fetched() {
  return new Promise((resolve, reject) => {
    const page = /** @type {any} */ (globalThis);
    const before = page.Bokeh;
    const script = h("script", { src: `${baseUrl()}panel-preview/static/js/bokeh.min.js` });
    script.addEventListener("load", () => {
      const ours = page.Bokeh;
      // Panel, which draws a notebook's own plots, takes a Bokeh in the page for its own, and then draws nothing by it.
      if (!before) delete page.Bokeh;
      resolve(ours);
    });
    script.addEventListener("error", () => {
      reject(failure("the Jupyter server does not hand out Bokeh. Its extension panel.io.jupyter_server_extension has to be enabled."));
    });
    document.head.append(script);
  });
}

/** @param {string} reason */
const failure = (reason) => new ServiceError("no-bokeh", `The series cannot be drawn: ${reason}`);
