"""A real JupyterLab, a notebook open in it in a real browser, and everything that the page asks for."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import nbformat
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Locator, Page, Response, ViewportSize

from tests.helpers import REPOSITORY
from tests.helpers.hubs import free_ports
from tests.helpers.kernels import printed

SCREENSHOTS = Path(os.environ.get("MUSES_TEST_SCREENSHOTS") or REPOSITORY / "screenshots")
"""Where pictures of failures are kept; with `MUSES_TEST_SCREENSHOTS` those of all steps as well."""
VIEWPORT: ViewportSize = {"width": 1300, "height": 1000}
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no page reaches another machine, nor waits for one
]  # fmt: skip

# By the connection that the page has to the kernel: what the page has sent before is done before.
ASK = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code, store_history: false });
  let printed = '';
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === 'stream' && content.name === 'stdout') printed += content.text;
  };
  const { content } = await future.done;
  if (content.status !== 'ok') throw new Error(content.traceback?.join('\\n') ?? content.status);
  return printed.trim();
}"""


SCROLL = """(outer) => {
  const end = outer.scrollTop + outer.clientHeight >= outer.scrollHeight - 1;
  outer.scrollTop = end ? 0 : outer.scrollTop + outer.clientHeight / 2;
}"""


class Lab:
    """A JupyterLab of its own: folder, port, token, and MUSES Lab home (with whatever catalogues it knows)."""

    def __init__(self, root: Path, home: Path, **environment: str) -> None:
        self.root, self.home = root, home
        root.mkdir(parents=True, exist_ok=True)
        self.token = secrets.token_hex(16)
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = root.parent / f"{root.name}.log"
        command = [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
            f"--port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}",
            "--LabApp.expose_app_in_browser=True",  # for `ASK`
        ]  # fmt: skip
        state = {f"JUPYTERLAB_{name}_DIR": str(home / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
        # The token goes by the environment: other users of this machine can read the command line.
        env = {**os.environ, **state, "MUSES_LAB_HOME": str(home), "JUPYTER_TOKEN": self.token}
        env |= environment
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=log, start_new_session=True)
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 240  # of a busy machine; an idle one needs ten
        while time.monotonic() < end:
            try:
                self.api("status")
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)
        self.close()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def api(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            urljoin(f"{self.url}api/", path), method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            body = response.read()
        return json.loads(body) if body else None

    def muses(self, path: str) -> Any:
        """What the map's service answers."""
        return self.api(f"../muses/{path}")

    def kernels(self) -> list[str]:
        return [kernel["id"] for kernel in self.api("kernels")]

    def stop_kernels(self) -> None:
        for kernel in self.kernels():
            self.api(f"kernels/{kernel}", "DELETE")

    def kernel_prints(self, code: str) -> str:
        """What the newest kernel prints, asked from outside: a page of Voilà cannot be asked."""
        files = Path(os.environ["JUPYTER_RUNTIME_DIR"]).glob("kernel-*.json")
        client = BlockingKernelClient(connection_file=str(max(files, key=lambda file: file.stat().st_mtime)))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            return printed(client, code)
        finally:
            client.stop_channels()

    def notebook(self, name: str, *cells: str) -> str:
        """Writes a notebook of code cells; returns its name."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        nbformat.write(book, self.root / name)
        return name

    def empty(self) -> None:
        """Deletes the files of users."""
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Traffic:
    """Everything that a page asked for."""

    lab: Lab
    asked: list[str] = field(default_factory=list)
    everything: list[str] = field(default_factory=list)
    """What was asked since the beginning; `forget` does not forget it."""
    answered: list[Response] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """Uncaught exceptions, and errors on the console."""

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self._ask(request.url))
        page.on("response", lambda response: self.answered.append(response))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("websocket", lambda socket: self._ask(socket.url.replace("ws:", "http:", 1)))

    def _ask(self, url: str) -> None:
        self.asked.append(url)
        self.everything.append(url)

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.troubles.append(text)

    def forget(self) -> None:
        self.asked.clear()
        self.answered.clear()
        self.troubles.clear()

    def left_the_machine(self, urls: list[str] | None = None) -> list[str]:
        """`blob:`, `data:` and `muses:` URLs are no requests to anywhere."""
        at_home = (self.lab.url, "blob:", "data:", "muses:")
        return [url for url in (self.asked if urls is None else urls) if not url.startswith(at_home)]

    def tiles(self, chain: str | None = None) -> list[Response]:
        part = f"/muses/tiles/{chain or ''}"
        return [response for response in self.answered if part in response.url]


def _is_saved(response: Any) -> bool:
    return response.request.method == "PUT" and "/api/contents/" in response.url and response.ok


class Notebook:
    """A notebook open in JupyterLab in a real browser, and its map."""

    def __init__(self, page: Page, lab: Lab, traffic: Traffic) -> None:
        self.page = page
        self.lab = lab
        self.traffic = traffic

    def open(self, name: str) -> Notebook:
        # `reset`: without it JupyterLab opens what was open last, and the first notebook of the page is a hidden one
        self.page.goto(f"{self.lab.url}lab/tree/{name}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        return self

    def bring(self, selector: str) -> Locator:
        """Scrolls through the notebook until something is there: JupyterLab draws cells as they come into view, those
        below when it has nothing else to do, which on a busy machine is never. Nor does such a machine keep the two
        seconds that anywidget gives a model: then the page is opened once more."""
        found, troubles = self.page.locator(selector).first, self.traffic.troubles

        def there() -> bool:
            if late := [told for told in troubles if "Failed to initialize model" in told]:
                troubles[:] = [told for told in troubles if told not in late]
                self.page.reload()
                self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
            if not found.count():
                self.page.locator(".jp-WindowedPanel-outer:visible").first.evaluate(SCROLL)
            return found.count() > 0

        self.until(there, 120, f"there is no {selector}")
        found.scroll_into_view_if_needed()
        return found

    def choose_kernel(self) -> None:
        """On a busy machine JupyterLab sometimes asks for the kernel although it has just started it."""
        dialog = self.page.locator(".jp-Dialog")
        if dialog.count():
            text = dialog.first.inner_text()
            assert "Select Kernel" in text, text
            dialog.locator("button.jp-mod-accept").click()
            dialog.wait_for(state="detached")

    def save(self) -> None:
        """Twice: JupyterLab collects the widgets' state while it saves, on a busy machine too late for the first."""
        for _ in range(2):
            with self.page.expect_response(_is_saved, timeout=60_000):
                self.page.get_by_role("menuitem", name="File", exact=True).click()
                self.page.get_by_text("Save Notebook", exact=True).click()
            self.until(lambda: self.page.locator(".jp-Document.jp-mod-current.jp-mod-dirty, "
                       ".lm-TabBar-tab.lm-mod-current.jp-mod-dirty").count() == 0, 30, "not saved")  # fmt: skip
        self.page.wait_for_timeout(500)

    def run_all(self, timeout: float = 180) -> Notebook:
        self._run("Run All Cells")
        self.idle(timeout)
        return self

    def run_above(self, text: str, timeout: float = 180, map: bool = True) -> Notebook:
        """Runs all cells above the one that has a text, as far as a map where there is one above."""
        below = self.page.locator(".jp-Notebook .jp-CodeCell", has_text=text).locator(".jp-InputPrompt")
        self._run("Run All Above Selected Cell", below.click)
        self.until(lambda: (self.panel.count() or not map) and self.is_idle(), timeout, "the cells above did not run")
        return self

    def _run(self, what: str, select: Callable[[], Any] = lambda: None) -> None:
        """Chooses it in the menu "Run" once the kernel is ready, and waits until a cell runs."""
        prompts = self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")

        def ready() -> bool:
            self.choose_kernel()
            return self.is_idle()

        def started() -> bool:
            return any(text.strip("[]: *") for text in prompts.all_inner_texts())

        for _ in range(3):  # a kernel that has only just connected may be connected once more, and forgets its work
            self.until(ready, 90, "the kernel is not ready")
            select()
            self.page.get_by_role("menuitem", name="Run", exact=True).click()
            self.page.get_by_text(what, exact=True).click()
            end = time.monotonic() + 30
            while not started() and time.monotonic() < end:
                self.page.wait_for_timeout(200)
            if started() or not self.is_idle():  # of a long notebook only the last cells are in the page, not yet run
                break

    def run_first(self, timeout: float = 60) -> Notebook:
        """Runs the first code cell again; its output is made anew."""
        prompt = self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").first
        before = prompt.inner_text()
        prompt.click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Shift+Enter")
        self.until(lambda: prompt.inner_text() not in (before, "[*]:"), timeout, "the first cell did not finish")
        return self

    def run(self, code: str, timeout: float = 120) -> str:
        """Runs code in a new cell at the end; returns what it printed."""
        before = self.page.locator(".jp-Notebook .jp-CodeCell").count()
        self.page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-InputPrompt").click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("b")
        cell = self.page.locator(".jp-Notebook .jp-CodeCell").nth(before)
        cell.locator(".cm-content").fill(code)
        cell.locator(".cm-content").press("Shift+Enter")
        prompt = cell.locator(".jp-InputPrompt")
        self.until(lambda: prompt.inner_text().strip()[1:-2].isdigit(), timeout, "the cell did not finish")
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def is_idle(self) -> bool:
        return "| Idle" in self.page.locator("#jp-main-statusbar").inner_text()

    def chain(self, layer: str = "NDVI") -> str:
        """The hash of the chain that a layer shows."""
        title = self.panel.locator(f"[data-name='{layer}'] .muses-name").get_attribute("title")
        assert title
        return title.split("chain ")[1].split()[0]

    def idle(self, timeout: float = 180) -> None:
        def finished() -> bool:
            prompts = self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").all_inner_texts()
            done = bool(prompts) and not any("*" in p or "[ ]" in p for p in prompts)
            return done and self.is_idle()  # of a long notebook the page has some of the cells only

        self.until(finished, timeout, "the notebook did not finish")

    def errors(self) -> list[str]:
        """Tracebacks and warnings among the outputs."""
        kinds = ("application/vnd.jupyter.stderr", "application/vnd.jupyter.error")
        outputs = ", ".join(f".jp-OutputArea-output[data-mime-type='{kind}']" for kind in kinds)
        return self.page.locator(outputs).all_inner_texts()

    def says(self, expression: str) -> str:
        """What the kernel prints of an expression; it is asked without a cell, which would cost the page a lot."""
        return self.page.evaluate(ASK, f"print({expression})")

    def value(self, expression: str) -> Any:
        """An expression's value in the kernel, as JSON knows it."""
        return json.loads(self.page.evaluate(ASK, f"import json; print(json.dumps({expression}))"))

    def choose_theme(self, name: str) -> None:
        """Chooses "JupyterLab Light" or "JupyterLab Dark" in the menu, and waits until the page has it."""
        self.page.get_by_role("menuitem", name="Settings", exact=True).click()
        self.page.get_by_text("Theme", exact=True).hover()
        self.page.get_by_text(name, exact=True).click()
        is_light = str(name == "JupyterLab Light").lower()
        self.page.wait_for_selector(f"body[data-jp-theme-light='{is_light}']", state="attached")

    def until(self, condition: Any, timeout: float, message: str) -> None:
        begin = time.monotonic()
        while not condition():
            waited = time.monotonic() - begin
            if waited > timeout:
                self._picture("timeout")
                raise AssertionError(f"{message} (a screenshot is in {SCREENSHOTS})")
            self.page.wait_for_timeout(min(100 + 50 * waited, 500))  # who asks all the time slows the page down

    # The map

    @property
    def map(self):
        return self.page.locator(".leaflet-container").first

    @property
    def panel(self):
        return self.page.locator(".muses-panel").first

    def loaded(self, failed: int = 0, timeout: float = 120, waits: bool = False) -> Notebook:
        """Waits until all tiles of the view have arrived; `failed` of them as failures, now or (`waits`) in the end."""
        self.panel.wait_for(state="attached", timeout=60_000)
        self.panel.scroll_into_view_if_needed()  # what is far off the screen JupyterLab does not draw
        self.page.wait_for_timeout(250)  # a move is noticed a frame later
        panel = self.panel

        def settled() -> bool:
            ended = panel.get_attribute("data-loading") == "0"
            return ended and (not waits or panel.get_attribute("data-failed") == str(failed))

        self.until(settled, timeout, "tiles did not arrive")
        assert panel.get_attribute("data-failed") == str(failed), panel.inner_text()
        return self

    def box(self) -> dict[str, float]:
        self.map.scroll_into_view_if_needed()
        found = self.map.bounding_box()
        assert found
        return found

    def drag(self, dx: float, dy: float) -> None:
        box = self.box()
        x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=8)
        self.page.mouse.up()

    def click(self, x: float, y: float) -> None:
        """Clicks the map at fractions of its width and height, and waits for the values."""
        box = self.box()
        self.page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        self.panel.locator(".muses-value output").first.wait_for()
        self.answered()

    def answered(self) -> None:
        """Waits until the panel has the values of what the map shows now."""
        self.page.wait_for_selector(".muses-inspector[aria-busy=false]", timeout=120_000)

    def values(self) -> dict[str, str]:
        rows = self.panel.locator(".muses-value").all()
        return {row.locator("span").inner_text(): row.locator("output").inner_text() for row in rows}

    def opaque_shares(self) -> list[float]:
        """Of every tile of the top visible layer, as it is on the screen: the share of its pixels that are drawn."""
        return self.page.evaluate(
            """() => {
              const layers = [...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer')];
              const top = layers.reduce((a, b) => (+b.style.zIndex > +a.style.zIndex ? b : a));
              const share = (tile) => {
                const canvas = Object.assign(document.createElement('canvas'), { width: 256, height: 256 });
                const context = canvas.getContext('2d');
                context.drawImage(tile, 0, 0);
                const alpha = context.getImageData(0, 0, 256, 256).data.filter((_, i) => i % 4 === 3);
                return alpha.filter((a) => a > 0).length / alpha.length;
              };
              return [...top.querySelectorAll('canvas')].map(share);
            }"""
        )

    def covered(self, tiles: int, share: float) -> None:
        """Waits until so many tiles of the top layer show more than a share: an answer is drawn a bit later."""
        self.until(lambda: sum(s > share for s in self.opaque_shares()) >= tiles, 30, "tiles came and were not drawn")

    def screenshot(self, name: str) -> None:
        """A picture to look at, where it was asked for: each costs a third of a second of processor time."""
        if os.environ.get("MUSES_TEST_SCREENSHOTS"):
            self._picture(name)

    def _picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")
