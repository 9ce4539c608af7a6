"""Links of shares in a real Chromium: a page of another origin, on the same machine, so that cookies are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Request

from muses_lab.store import Share, new_id, open_store
from tests.helpers.jupyterlab import Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Another origin, and the folder that it serves."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_page_of_another_origin_opens_a_share_by_a_users_click_only(
    browser: Browser, lab: Lab, elsewhere: tuple[str, Path]
) -> None:
    context = browser.new_context()
    try:
        store = open_store(f"sqlite:///{lab.home / 'store.sqlite'}")
        chain = hashlib.sha256(b"{}").hexdigest()
        store.put_document(chain, "{}")
        share = store.put_share(Share(new_id(), "NDVI", {"chain": chain}, users=("bob",)))
        store.close()
        link = f"{lab.url}muses/shared/{share.id}"
        page, (site, folder) = context.new_page(), elsewhere
        page.goto(f"{lab.url}api/status?token={lab.token}")  # logged in from now on
        answers: dict[str, list[int]] = {}

        def finished(request: Request) -> None:
            response = request.response()
            if request.url == link and response is not None:
                answers.setdefault(request.resource_type, []).append(response.status)

        context.on("requestfinished", finished)
        context.on("requestfailed", lambda request: answers.setdefault(request.resource_type, []).append(0))
        (folder / "evil.html").write_text(
            f'<img src="{link}"><iframe src="{link}"></iframe><a href="{link}">look</a>'
            f'<script>fetch("{link}", {{mode: "no-cors", credentials: "include"}}).catch(() => 0)</script>'
        )
        page.goto(f"{site}evil.html")
        page.wait_for_load_state("networkidle")
        assert set(answers) >= {"image", "fetch"} and 302 not in sum(answers.values(), []), answers
        (folder / "moved.html").write_text(f'<script>location = "{link}"</script>')
        page.goto(f"{site}moved.html")
        page.wait_for_url(link)
        assert "opens for a user who follows a link" in page.inner_text("main")
        assert not (lab.root / "shared").exists(), "nothing was written"
        page.get_by_role("link", name="Open it").click()
        page.wait_for_url("**/lab/tree/shared/NDVI-*.ipynb*")
        (written,) = (lab.root / "shared").glob("*.ipynb")
        written.unlink()
        page.goto(f"{site}evil.html")
        page.get_by_role("link", name="look").click()
        page.wait_for_url("**/lab/tree/shared/NDVI-*.ipynb*")
        assert len(list((lab.root / "shared").glob("*.ipynb"))) == 1
    finally:
        context.close()
        lab.stop_kernels()
        lab.empty()
