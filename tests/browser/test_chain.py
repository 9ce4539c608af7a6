"""The chain panel as a person uses it: walked, opened, copied, checked, compared; saved and reopened."""

from __future__ import annotations

import json

import pytest

from tests.browser.accessibility import keys_reach_everything, no_serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAME = "chain.ipynb"
MAP = """
import muses_lab as ml
from muses_widgets import ChainPanel, Map
threshold = ml.parameter("threshold", 0.4, minimum=0, maximum=1)
s2 = ml.collection("sentinel-2-l2a")
ndvi = s2.mask_clouds().ndvi()
image = ndvi.median("t")
green = ml.where(image.focal_mean(3) > threshold, image, s2.mask_clouds().ndwi().median("t"))
m = Map(center=(43.6, 1.38), zoom=13, height="420px")
m.add(image.focal_mean(2).style(cmap="RdYlGn"), name="NDVI")
m.add(green.style(cmap="Greens"), name="Green")
m
"""
PANEL = """
panel = ChainPanel(m)
panel
"""


@pytest.fixture(scope="module")
def lab(lab_in_threads):
    return lab_in_threads


@pytest.fixture(scope="module")
def opened(notebook, lab, page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=lab.url.rstrip("/"))
    return notebook.open(lab.notebook(NAME, MAP, PANEL)).run_all().loaded()


@pytest.fixture
def chain(opened):
    panel = opened.page.locator(".muses-chain").first
    panel.scroll_into_view_if_needed()
    return panel


def step(chain, id: str):
    return chain.locator(f"[data-node='{id}']")


def pasted(notebook) -> str:
    return notebook.page.evaluate("() => navigator.clipboard.readText()")


def test_the_chain_is_seen_with_what_its_steps_take(opened, chain, traffic):
    assert chain.get_by_role("combobox", name="Chain", exact=True).input_value() == "Green"
    titles = chain.locator(".muses-graph-title").all_text_contents()
    assert "focal mean" in titles and "median over time" in titles and "sentinel-2-l2a" in titles
    opened.until(lambda: "in this view" in chain.inner_text(), 60, "no costs")
    load = step(chain, "loadcollection1")
    opened.until(lambda: "reads" in load.get_attribute("aria-label"), 30, "no cost of a step")
    reduced = step(chain, "reducedimension2")
    opened.until(lambda: "; cached" in reduced.get_attribute("aria-label"), 60, "the server has computed it")
    opened.screenshot("chain-1")
    no_serious_faults(opened.page, ".muses-chain")
    keys_reach_everything(opened.page, ".muses-chain")
    assert traffic.troubles == [] and opened.errors() == []


def test_a_step_tells_what_it_does_and_is_opened_as_a_layer(opened, chain):
    step(chain, "focalmean1").click()
    details = chain.get_by_role("region", name="Step")
    details.get_by_text("Mean of the valid values").wait_for()
    assert "radius" in details.inner_text() and "of one thread, estimated" in details.inner_text()
    details.get_by_role("button", name="Show on the map").click()
    opened.until(lambda: "is a layer of the map now" in chain.inner_text(), 120, "no layer")
    opened.panel.get_by_role("checkbox", name="focal mean · Green").wait_for()
    chain.scroll_into_view_if_needed()
    step(chain, "apply1").click()
    assert "◆ parameter threshold" in details.inner_text()


def test_a_step_with_dates_opens_with_the_bar_of_dates(opened, chain):
    here = opened.page.locator("[data-node='ndvi1']")
    eye = chain.locator(".muses-graph-node", has=here).locator(".muses-graph-tool").first
    eye.click()
    opened.panel.get_by_role("checkbox", name="ndvi · Green").wait_for(timeout=120_000)
    opened.loaded()
    opened.page.locator(".muses-time").first.wait_for()
    opened.screenshot("chain-2-layers")


def test_the_keyboard_walks_unfolds_and_chooses(opened, chain):
    last = chain.locator(".muses-graph-body[tabindex='0']")
    last.focus()
    keys = opened.page.keyboard
    keys.press("End")
    there = []
    for _ in range(12):
        there.append(opened.page.evaluate("() => document.activeElement.getAttribute('data-node')"))
        keys.press("ArrowUp")
    assert there[0] == "mergecubes3" and there[-1].startswith("loadcollection")
    step(chain, "reducedimension2").focus()
    keys.press("Space")
    chain.locator(".muses-graph-code", has_text="#1 median(data)").wait_for()
    keys.press("Enter")
    chain.get_by_role("region", name="Step").get_by_role("button", name="Fold", exact=True).wait_for()
    opened.screenshot("chain-3-keys")


def test_documents_are_copied(opened, chain):
    chain.get_by_role("button", name="Copy as Python").click()
    chain.get_by_text("Copied as Python.").wait_for()
    code = pasted(opened)
    assert code.startswith("import muses_lab as ml") and "focal_mean" in code
    assert opened.says(f"(exec({code!r}), chain.hash == m.layer('Green').chain.hash, chain.identical(green))[1:]") == (
        "(True, True)"
    )
    chain.scroll_into_view_if_needed()
    chain.get_by_role("button", name="Copy as JSON").click()
    chain.get_by_text("Copied as JSON.").wait_for()
    assert "process_graph" in json.loads(pasted(opened))
    with opened.page.expect_download() as download:
        chain.get_by_role("button", name="Save as a JSON file").click()
    assert download.value.suggested_filename == "Green.json"


def test_a_faulty_document_tells_each_fault_at_its_node(opened, chain):
    chain.get_by_role("button", name="Copy as JSON").click()
    chain.get_by_text("Copied as JSON.").wait_for()
    document = json.loads(pasted(opened))
    good = json.dumps(document)
    document["process_graph"]["focalmean1"]["arguments"]["radius"] = "wide"
    document["process_graph"]["ndvi1"]["process_id"] = "ndvy"
    chain.get_by_role("button", name="Paste or open…").click()
    text = chain.get_by_role("textbox", name="Document as JSON")
    text.fill(json.dumps(document))
    chain.get_by_role("button", name="Open the document as a chain").click()
    chain.get_by_text("2 faults").wait_for()
    for node, told in (("focalmean1", "radius"), ("ndvi1", "there is no process 'ndvy'")):
        assert told in step(chain, node).get_attribute("aria-label")
    opened.screenshot("chain-4-faults")
    names = chain.get_by_role("combobox", name="Chain", exact=True).locator("option").all_text_contents()
    assert "Document" not in names, "nothing was made of it"
    text.fill(good)
    chain.get_by_role("button", name="Open the document as a chain").click()
    select = chain.get_by_role("combobox", name="Chain", exact=True)
    opened.until(lambda: select.input_value() == "Document", 30, "the document was not opened")


def test_two_chains_are_compared_in_one_graph(opened, chain):
    chain.get_by_role("combobox", name="Chain", exact=True).select_option("NDVI")
    opened.until(lambda: "focal mean" in chain.locator(".muses-graph-title").all_text_contents()[-1], 30, "not drawn")
    chain.get_by_role("combobox", name="Compare with").select_option("Green")
    chain.get_by_role("list", name="Differences").get_by_text("~ focalmean1 (radius: 2 → 3)").click()
    assert "radius: 2 becomes 3" in step(chain, "focalmean1").get_attribute("aria-label")
    assert "2 → 3" in chain.get_by_role("region", name="Step").inner_text()
    opened.screenshot("chain-5-compared")
    no_serious_faults(opened.page, ".muses-chain")


@pytest.mark.thorough
def test_it_is_legible_in_the_dark_and_when_narrow(opened, chain):
    opened.choose_theme("JupyterLab Dark")
    opened.screenshot("chain-5-dark")
    no_serious_faults(opened.page, ".muses-chain")
    opened.page.set_viewport_size({"width": 760, "height": 1000})
    chain.scroll_into_view_if_needed()
    opened.screenshot("chain-5-narrow")
    box = chain.bounding_box()
    for one in chain.locator("button:visible, select:visible").all():
        at = one.bounding_box()
        inside = one.evaluate("e => Boolean(e.closest('.muses-graph'))")
        assert inside or at["x"] + at["width"] <= box["x"] + box["width"] + 1, one.inner_text()
    opened.page.set_viewport_size({"width": 1300, "height": 1000})
    opened.choose_theme("JupyterLab Light")


def test_the_panel_is_as_it_was_when_the_notebook_is_opened_again(opened, chain, lab, traffic):
    chain.get_by_role("button", name="Smaller").click()
    opened.page.wait_for_timeout(500)
    opened.save()
    lab.stop_kernels()
    traffic.forget()
    opened.open(NAME)
    again = opened.bring(".muses-chain")
    assert again.get_by_role("list", name="Differences").get_by_text("radius: 2 → 3").count()
    assert "2 → 3" in again.get_by_role("region", name="Step").inner_text()
    again.get_by_role("button", name="Back to the chain").click()
    assert again.locator(".muses-graph-title").count() >= 6
    opened.screenshot("chain-6-reopened")
    assert traffic.troubles == []
