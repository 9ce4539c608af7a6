"""Parameters as a person moves them: a slider of two layers, palettes, a histogram's limits; saved and reopened."""

from __future__ import annotations

import json

import pytest

from tests.browser.accessibility import no_serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAME = "controls.ipynb"
MAP = """
import muses_lab as ml
from muses_widgets import Map
threshold = ml.parameter("threshold", 0.4, minimum=0, maximum=1, title="Least greenness")
keep = ml.parameter("keep", [4, 5, 6], choices={4: "vegetation", 5: "bare soil", 6: "water", 7: "unclassified"})
s2 = ml.collection("sentinel-2-l2a")
ndvi = s2.mask_clouds(keep=keep).ndvi().median("t").focal_mean(2)
m = Map(center=(43.6, 1.38), zoom=13, height="560px")
m.add(ndvi.style(cmap="RdYlGn", label="NDVI"), name="NDVI")
m.add((ndvi > threshold).style(cmap="Greens", label="green"), name="Green")
m.add(ndvi.mask(ndvi < threshold).style(cmap="viridis", label="masked"), name="Masked")
m
"""
CONTROLS = """
names = ["threshold", "focal_mean", "keep", "style.cmap"]
controls = m.control_panel(*names)
controls
"""


@pytest.fixture(scope="module")
def lab(lab_in_threads):
    return lab_in_threads


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook(NAME, MAP, CONTROLS)).run_all().loaded()


@pytest.fixture
def controls(opened):
    panel = opened.page.locator(".muses-controls").first
    panel.scroll_into_view_if_needed()
    return panel


def drag(notebook, element, share: float, end: float) -> None:
    """Drags from one share of an element's width to another."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    y = box["y"] + box["height"] / 2
    notebook.page.mouse.move(box["x"] + box["width"] * share, y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(box["x"] + box["width"] * end, y, steps=12)
    notebook.page.mouse.up()


def histogram(notebook):
    element = notebook.panel.get_by_role("region", name="Histogram of the view")
    element.scroll_into_view_if_needed()
    if element.get_attribute("open") is None:
        element.locator("summary").click()
    counted(notebook, element)
    return element


def counted(notebook, element) -> None:
    note = element.locator("[role=status]")
    notebook.until(lambda: "in this view" in note.inner_text(), 120, "the view was not counted")


def test_a_slider_that_is_dragged_changes_both_layers(opened, controls, traffic):
    before = opened.chain("Green"), opened.chain("Masked"), opened.chain("NDVI")
    slider = controls.get_by_role("slider", name="Least greenness")
    opened.screenshot("controls-1")
    traffic.forget()
    drag(opened, slider, 0.4, 0.6)
    opened.until(lambda: opened.chain("Green") != before[0] and opened.chain("Masked") != before[1], 30, "no change")
    value = float(controls.get_by_role("spinbutton", name="Least greenness, as a number").input_value())
    assert 0.55 < value < 0.65
    opened.until(lambda: opened.says("controls.values['threshold']") == str(value), 10, "another value")
    assert opened.chain("Green") == opened.says(f"m.layer('Green').chain.with_parameters(threshold={value}).publish()")
    same = opened.says(f"m.layer('Masked').chain.identical(ndvi.mask(ndvi < {value}))")
    assert same == "True"
    assert opened.chain("NDVI") == before[2], "it does not depend on the threshold"
    opened.loaded()
    assert traffic.tiles(opened.chain("Green")) and traffic.tiles(opened.chain("Masked"))
    assert not traffic.tiles(before[2])
    assert traffic.left_the_machine() == [] and traffic.troubles == [] and opened.errors() == []


def test_keys_move_a_slider(opened, controls):
    slider = controls.get_by_role("slider", name="Least greenness")
    before = float(slider.input_value())
    slider.focus()
    for _ in range(3):
        opened.page.keyboard.press("ArrowLeft")
    opened.until(lambda: opened.says("controls.values['threshold']") == str(round(before - 0.03, 2)), 20, "not moved")


def test_other_kinds_of_controls_are_used(opened, controls):
    controls.get_by_role("checkbox", name="water").uncheck()
    opened.until(lambda: opened.says("controls.values['keep']") == "[4, 5]", 20, "no other classes")
    controls.get_by_role("combobox", name="focal_mean.unit").select_option("m")
    opened.until(lambda: opened.says("controls.values['focal_mean.unit']") == "m", 20, "no other unit")
    controls.locator(".muses-palettes summary").click()
    opened.screenshot("controls-2-palettes")
    no_serious_faults(opened.page, ".muses-palettes")
    controls.get_by_role("radio", name="magma").check()
    both = "m.layer('Masked').look.cmap, m.layer('NDVI').look.cmap"
    opened.until(lambda: opened.says(both) == "magma magma", 20, "no other palette")
    controls.locator(".muses-palettes summary").click()


def test_what_is_wrong_is_said_beside_it(opened, controls):
    field = controls.get_by_role("spinbutton", name="focal_mean.radius, as a number")
    before = field.input_value()
    field.fill("-3")
    field.press("Enter")
    problem = controls.locator("[data-name='focal_mean.radius'] [role=alert]")
    problem.get_by_text("greater than 0").wait_for()
    opened.screenshot("controls-3-problem")
    assert opened.says("controls.status()['state']") == "failed"
    field.fill(before)
    field.press("Enter")
    problem.wait_for(state="hidden")


def test_a_limit_of_the_histogram_is_dragged_and_becomes_part_of_the_style(opened, traffic):
    opened.loaded()
    opened.panel.get_by_role("checkbox", name="Green", exact=True).uncheck()
    opened.panel.get_by_role("checkbox", name="Masked", exact=True).uncheck()
    element = histogram(opened)
    opened.screenshot("controls-4-histogram")
    no_serious_faults(opened.page, ".muses-histogram")
    chain = opened.chain("NDVI")
    upper = element.get_by_role("slider", name="Upper limit of the colours")
    at, chart = upper.bounding_box(), element.locator(".muses-histogram-chart").bounding_box()
    opened.page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    opened.page.mouse.down()
    opened.page.mouse.move(chart["x"] + chart["width"] * 0.7, at["y"] + 5, steps=10)
    opened.page.mouse.up()
    opened.until(lambda: opened.says("m.layer('NDVI').look.vmax") != "1.0", 20, "the style is the same")
    vmax = float(opened.says("m.layer('NDVI').look.vmax"))
    assert abs(vmax - float(element.get_by_role("spinbutton", name="Upper limit, as a number").input_value())) < 1e-9
    assert opened.chain("NDVI") == chain
    opened.loaded()
    opened.screenshot("controls-5-dragged")


def test_the_view_s_stretch_is_an_action_that_is_written_into_the_style(opened):
    element = histogram(opened)
    element.get_by_role("button", name="Stretch to 2–98 % of the view").click()
    quantiles = (
        "import numpy as np; v = m.layer('NDVI').chain.compute(m.view()).values; "
        "print([round(float(q), 2) for q in np.nanquantile(v, (0.02, 0.98))])"
    )
    wanted = json.loads(opened.run(quantiles))

    def limits() -> list[float]:
        return json.loads(opened.says("[m.layer('NDVI').look.vmin, m.layer('NDVI').look.vmax]"))

    opened.until(lambda: abs(limits()[0] - wanted[0]) < 0.02, 20, "not stretched")
    found = limits()
    assert abs(found[1] - wanted[1]) < 0.02
    lower = element.get_by_role("slider", name="Lower limit of the colours")
    lower.focus()
    opened.page.keyboard.press("ArrowRight")
    opened.until(lambda: limits()[0] > found[0], 20, "a key moves no limit")
    opened.loaded()
    opened.screenshot("controls-6-stretched")


def test_the_map_tells_a_terminal_what_it_shows(opened):
    status = json.loads(opened.run("print(m.status())"))
    assert (status["kind"], status["state"]) == ("map", "ok")
    layers = {layer["name"]: layer for layer in status["layers"]}
    assert layers["NDVI"]["state"] == "ok" and layers["NDVI"]["tiles"]["failed"] == 0
    assert layers["Green"]["state"] == "hidden"


def test_it_looks_right_in_the_dark_and_when_narrow(opened, controls):
    opened.choose_theme("JupyterLab Dark")
    histogram(opened)
    opened.screenshot("controls-7-dark")
    controls.scroll_into_view_if_needed()
    opened.screenshot("controls-8-dark-controls")
    opened.page.set_viewport_size({"width": 640, "height": 1000})
    opened.page.wait_for_timeout(1500)
    controls.scroll_into_view_if_needed()
    opened.screenshot("controls-9-narrow")
    box, inside = controls.bounding_box(), controls.locator("input, select").all()
    for one in inside:
        at = one.bounding_box()
        assert at is None or at["x"] + at["width"] <= box["x"] + box["width"] + 1
    opened.page.set_viewport_size({"width": 1300, "height": 1000})
    opened.choose_theme("JupyterLab Light")


@pytest.mark.thorough
def test_saved_and_reopened_it_shows_the_same_and_works_while_its_kernel_runs(opened, lab):
    value = opened.says("controls.values['threshold']")
    opened.save()
    opened.open(NAME)
    panel = opened.bring(".muses-controls")
    field = panel.get_by_role("spinbutton", name="Least greenness, as a number")
    field.wait_for()
    assert field.input_value() == value
    opened.until(field.is_enabled, 60, "the kernel runs, and the controls do not")
    lab.stop_kernels()
    opened.page.wait_for_timeout(1000)
    opened.open(NAME)
    opened.bring(".muses-controls")
    field.wait_for()
    assert field.input_value() == value
    panel.get_by_text("values that were saved").wait_for()
    assert field.is_disabled()
    assert panel.bounding_box()["width"] > 500, "whatever style sheet comes last"
    opened.screenshot("controls-10-saved")
