"""Whether a built site stands alone: every link within it leads somewhere, and no page loads a thing from elsewhere."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("link", "href")}
NOT_LOADED = {"canonical", "next", "prev", "index", "search", "author", "copyright", "license"}
URL_IN_CSS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])([^"')\s]+)""")


class Page(HTMLParser):
    """Links, things that are loaded, and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        for name, value in given.items():
            if (tag, name) in LOADS and given.get("rel") not in NOT_LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def troubles(site: Path) -> list[str]:
    """A sentence for every link that leads nowhere and everything that comes from another host."""
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]  # the theme's own templates
    pages = {path: Page(path.read_text("utf-8")) for path in paths}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [
            f"{name} loads {url}"
            for url in page.loaded
            if urlsplit(url).scheme in ("http", "https") or url.startswith("//")
        ]
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{name} links to {url}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                found.append(f"{name} links to {url}, which has no such place")
    for path in sorted(site.rglob("*.css")):
        urls = URL_IN_CSS.findall(path.read_text("utf-8"))
        found += [f"{path.relative_to(site)} loads {url}" for url in urls if url.startswith(("http:", "https:", "//"))]
    return found


if __name__ == "__main__":
    sys.exit("\n".join(troubles(Path(sys.argv[1]))) or 0)
