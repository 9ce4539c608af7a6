"""What axe-core says of a part of a page, as it is on the screen."""

from __future__ import annotations

import json
from functools import cache

import pytest
from playwright.sync_api import Page

from tests.helpers import REPOSITORY

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")

OURS = (
    ".muses-panel", ".muses-time", ".muses-swipe-line", ".muses-controls", ".muses-cluster-panel",
    ".leaflet-control-zoom", ".leaflet-control-attribution", ".leaflet-pm-toolbar",
)  # fmt: skip
"""What the widgets put into a page."""


def no_serious_faults(page: Page, selector: str = ", ".join(OURS)) -> None:
    """Fails where axe finds a serious or critical fault in any element of `selector`, and says which.

    The map's tiles are out of sight meanwhile: axe cannot measure the contrast of a text above a picture, and would
    pass over what lies half transparent above the map.
    """
    page.evaluate(_axe())
    faults = page.evaluate(_SCAN, selector)
    assert faults is not None, f"nothing in the page is {selector!r}"
    serious = [fault for fault in faults if fault["impact"] in SERIOUS]
    assert not serious, json.dumps(serious, indent=1, ensure_ascii=False)


def keys_reach_everything(page: Page, selector: str) -> None:
    """Fails where Tab passes over a control that can be clicked, and says which.

    Within a group that the arrow keys walk (a graph, a toolbar) it is enough that Tab reaches one of its members.
    """
    missed = page.evaluate(_MISSED, selector)
    assert missed is not None, f"nothing in the page is {selector!r}"
    assert not missed, "\n".join(missed)


_MISSED = """(selector) => {
  const parts = [...document.querySelectorAll(selector)].filter((part) => part.checkVisibility());
  if (!parts.length) return null;
  const controls = 'button, input, select, textarea, a[href], [role=button], [role=slider], [role=checkbox]';
  const all = parts.flatMap((part) => [...part.querySelectorAll(controls)]);
  return all
    .filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex < 0 && !one.closest('.muses-graph, svg'))
    .map((one) => one.outerHTML.slice(0, 200));
}"""


def tab_reaches_everything(page: Page, selector: str = ", ".join(OURS)) -> None:
    """Fails where Tab, from the first control of a part on, passes over one that can be clicked, and says which.

    Within a group that the arrow keys walk (a graph, a toolbar, radio buttons) it is enough that one is reached.
    """
    parts = page.evaluate(_CONTROLS, selector)
    assert parts, f"nothing in the page is {selector!r}"
    for part, controls in enumerate(parts):
        page.evaluate("part => document.querySelector(`[data-tab^='${part}-']`)?.focus()", part)
        for _ in range(2 * controls):  # what scrolls takes the focus, too
            if not page.evaluate(_REACHED, part):
                break
            page.keyboard.press("Tab")
    missed = page.evaluate(_PASSED_OVER)
    assert not missed, "\n".join(missed)


_CONTROLS = """(selector) => {
  const parts = [...document.querySelectorAll(selector)].filter((part) => part.checkVisibility());
  const controls = 'button, input, select, textarea, summary, a[href], [role=button], [role=slider], [role=checkbox]';
  return parts.map((part, number) => {
    const all = [part, ...part.querySelectorAll('*')].filter((one) => one.matches(controls) && one.checkVisibility());
    const own = all.filter((one) => !one.disabled && !one.dataset.tab && !one.closest('.muses-graph, svg'));
    own.forEach((one, place) => (one.dataset.tab = `${number}-${place}`));
    part.dataset.tabPart = number;
    return own.length;
  });
}"""
"""Marks the controls of each part; how many each has."""
_REACHED = """(part) => {
  const at = document.activeElement;
  if (at.dataset.tab) at.dataset.tabReached = 'yes';
  return Boolean(at.closest(`[data-tab-part='${part}']`));
}"""
_PASSED_OVER = """() => {
  const all = [...document.querySelectorAll('[data-tab]')];
  const radios = all.filter((one) => one.type === 'radio' && one.dataset.tabReached).map((one) => one.name);
  const missed = all.filter((one) => !one.dataset.tabReached && !radios.includes(one.name || null));
  const told = missed.filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 200));
  for (const one of all) ['tab', 'tabReached'].forEach((name) => delete one.dataset[name]);
  for (const part of document.querySelectorAll('[data-tab-part]')) delete part.dataset.tabPart;
  return told;
}"""


@cache
def _axe() -> str:
    if not AXE.exists():
        pytest.fail("the npm packages are not installed: make node_modules/.bin/eslint")
    return AXE.read_text("utf-8")


_SCAN = """async (selector) => {
  const parts = [...document.querySelectorAll(selector)].filter((part) => part.checkVisibility());
  if (!parts.length) return null;
  const panes = [...document.querySelectorAll('.leaflet-tile-pane')];
  for (const pane of panes) pane.style.visibility = 'hidden';
  try {
    const { violations } = await axe.run({ include: parts }, { resultTypes: ['violations'] });
    return violations.map(({ id, impact, help, nodes }) => ({
      id, impact, help, nodes: nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} — ${failureSummary}`),
    }));
  } finally {
    for (const pane of panes) pane.style.visibility = '';
  }
}"""
