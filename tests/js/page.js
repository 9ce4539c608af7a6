// A page for tests that need elements: happy-dom's, as global names.

import { Window } from "happy-dom";

/** The globals that the widgets' modules use, of a new page. */
export function openPage() {
  const page = new Window({ url: "http://127.0.0.1/lab" });
  for (const name of ["document", "HTMLElement", "Node", "Image", "MutationObserver", "DOMException"]) {
    Object.defineProperty(globalThis, name, { value: page[name], configurable: true, writable: true });
  }
  globalThis.window = page;
  page.HTMLCanvasElement.prototype.getContext = function () {
    return (this.drawing ??= new Drawing());
  };
  globalThis.ImageData = class {
    constructor(data, width, height) {
      Object.assign(this, { data, width, height });
    }
  };
  return page;
}

/** What a canvas is told to draw: its pixels, or the texts of a picture that says something. */
class Drawing {
  pixels = null;
  texts = [];

  putImageData({ data }) {
    this.pixels = data;
  }

  fillText(text) {
    this.texts.push(text);
  }

  clearRect() {
    this.pixels = null;
    this.texts = [];
  }

  fillRect() {}
  beginPath() {}
  moveTo() {}
  lineTo() {}
  stroke() {}
}

/** Tells the page, as JupyterLab does, which server it is of. */
export function setServer(baseUrl) {
  document.getElementById("jupyter-config-data")?.remove();
  if (baseUrl === null) return;
  const script = document.createElement("script");
  script.id = "jupyter-config-data";
  script.type = "application/json";
  script.textContent = JSON.stringify({ baseUrl });
  document.head.append(script);
}

/** Runs `work(url)` while `answer(request, response)` serves on loopback. */
export async function withServer(answer, work) {
  const { createServer } = await import("node:http");
  const server = createServer(answer);
  await new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  try {
    return await work(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
