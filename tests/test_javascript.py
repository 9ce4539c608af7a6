"""The widgets' JavaScript: what its checkers say, its own tests, and how Python joins its modules.

`make test` and `make lint` install the npm packages that `package-lock.json` names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import anywidget
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.service.reports import SceneNumbers
from muses_widgets import Map, Panel
from muses_widgets.modules import JS, joined
from tests.helpers import REPOSITORY

BIN = REPOSITORY / "node_modules" / ".bin"
TESTS = sorted((REPOSITORY / "tests" / "js").glob("*.test.js"))


def run(*command: str | Path, **options) -> str:
    """What a command prints; where it fails, that is the test's message."""
    if not BIN.joinpath("eslint").exists():
        pytest.fail("the npm packages are not installed: make node_modules/.bin/eslint")
    # Colours and the reporter for humans are for terminals.
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0", **options.pop("env", {})}
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240,
        check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_eslint_has_nothing_to_say():
    run(BIN / "eslint", ".")


def test_types_are_right():
    run(BIN / "tsc", "--project", ".")


def test_every_module_is_checked():
    assert not [path.name for path in JS.rglob("*.js") if not path.read_text("utf-8").startswith("// @ts-check\n")]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_its_own_tests_pass(path: Path):
    out = run("node", "--test", "--test-reporter=tap", path)
    assert "# fail 0" in out and "# tests 0" not in out


def test_what_a_page_loads_is_one_module(tmp_path):
    for entry, also in (("panel.js", sorted(JS.glob("sections/*.js"))), ("clusterpanel.js", ())):
        file = tmp_path / f"{entry}.mjs"
        file.write_text(joined(JS / entry, also), "utf-8")
        run("node", "--input-type=module", "--eval",
            f"const module = await import({json.dumps(file.as_uri())});"
            "if (typeof module.default.render !== 'function') throw new Error('There is no render()');")  # fmt: skip


class TestJoined:
    def write(self, folder: Path, **modules: str) -> Path:
        for name, text in modules.items():
            (folder / f"{name}.js").write_text(text, "utf-8")
        return folder / "entry.js"

    def value(self, text: str) -> object:
        out = run("node", "--input-type=module", "--eval", text.replace("export default", "const value =") +
                  "\nconsole.log(JSON.stringify(value));")  # fmt: skip
        return json.loads(out)

    def test_modules_have_scopes_of_their_own(self, tmp_path):
        entry = self.write(
            tmp_path,
            a="const size = 1;\nexport const a = () => size;\n",
            b='import { a } from "./a.js";\nconst size = 10;\nexport function b() {\n  return a() + size;\n}\n',
            entry='import { a } from "./a.js";\nimport {\n  b,\n} from "./b.js";\nexport default { a: a(), b: b() };\n',
        )
        assert self.value(joined(entry)) == {"a": 1, "b": 11}

    def test_a_module_is_run_once_before_those_that_import_it(self, tmp_path):
        entry = self.write(
            tmp_path,
            list="export const names = [];\n",
            one='import { names } from "./list.js";\nnames.push("one");\n',
            entry='import { names } from "./list.js";\nexport default names;\n',
        )
        assert self.value(joined(entry, also=[tmp_path / "one.js", tmp_path / "one.js"])) == ["one"]

    def test_modules_of_other_packages_import_ours(self, tmp_path):
        entry = self.write(
            tmp_path, entry='import { plural } from "muses_widgets/format.js";\nexport default plural(2, "panel");\n'
        )
        assert self.value(joined(entry)) == "2 panels"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('import { a as b } from "./a.js";\nexport default b;\n', "renames"),
            ('import * as a from "./a.js";\nexport default a;\n', "form that is not understood"),
            ('export * from "./a.js";\n', "form that is not understood"),
            ("export let a = 1;\n", "form that is not understood"),
            ('import { plural } from "lodash";\nexport default plural;\n', 'a module begins with "./"'),
            ('import "./entry.js";\nexport default 1;\n', "in a circle: entry.js → entry.js"),
        ],
    )
    def test_what_it_does_not_understand_it_refuses(self, tmp_path, text, message):
        with pytest.raises(ValueError, match=message.replace(".", r"\.")):
            joined(self.write(tmp_path, a="export const a = 1;\n", entry=text))


SECTION = """
from pathlib import Path

from muses_widgets.sections import Section


class Clicks(Section):
    name = "clicks"
    script = Path(__file__).with_name("clicks.js")
    style = Path(__file__).with_name("clicks.css")

    def receive(self, message):
        if message["count"] < 0:
            raise ValueError("There are no negative clicks")
        self.tell({"count": message["count"] + 1})


SECTION = Clicks
"""
CLICKS = """
import { h } from "muses_widgets/dom.js";
import { addSection } from "muses_widgets/sections.js";

const press = (panel) => () => panel.model.send({ section: "clicks", count: 1 });
addSection("clicks", (panel) => ({ body: [h("button", { onclick: press(panel) }, "Count")] }));
"""
SCRIPT = """
import json, sys, warnings

warnings.simplefilter("always")
from muses_widgets import Map

m, sent = Map(), []
m.panel.send = lambda message, buffers=None: sent.append(message)
m.panel._handle_custom_msg({"section": "clicks", "count": 1}, [])
m.panel._handle_custom_msg({"section": "clicks", "count": -1}, [])
m.panel._handle_custom_msg({"section": "nobody"}, [])
json.dump({
    "told": m.panel.sections["clicks"], "sent": sent, "script": 'addSection("clicks"' in m.panel._esm,
    "style": ".clicks" in m.panel._css,
}, sys.stdout)
"""


@pytest.mark.slow  # another Python imports all of it
def test_a_section_of_another_package_is_a_module_and_an_entry_point(tmp_path):
    """And one that cannot be loaded is left out with a warning."""
    (tmp_path / "clicks.py").write_text(SECTION)
    (tmp_path / "no_clicks.py").write_text("SECTION = 5")
    (tmp_path / "clicks.js").write_text(CLICKS)
    (tmp_path / "clicks.css").write_text(".clicks { color: red; }")
    about = tmp_path / "clicks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: clicks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[muses_widgets.sections]\nclicks = clicks\nbroken = no_clicks\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "'broken' of the package 'clicks'" in done.stderr and "its SECTION is 5, which is no subclass" in done.stderr
    heard = {"kind": "heard", "section": "clicks"}
    assert json.loads(done.stdout) == {
        "told": {"count": 2},
        "sent": [heard, heard, {"kind": "problem", "text": "There are no negative clicks"}],
        "script": True,
        "style": True,
    }


# What Python hands to the modules is what their types tell.

TYPES = (JS / "types.d.ts").read_text("utf-8")


def fields(interface: str) -> set[str]:
    """The names that an interface of `types.d.ts` has."""
    (body,) = re.findall(rf"^export interface {interface} \{{$(.*?)^\}}$", TYPES, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^  (\w+)\??:", body, re.MULTILINE))


def test_the_panels_traits_are_those_that_its_types_tell():
    own = set(Panel.class_trait_names(sync=True)) - set(anywidget.AnyWidget.class_trait_names(sync=True))
    assert fields("PanelTraits") == own


def test_a_layer_of_the_panel_has_what_its_type_tells(sample_catalog, monkeypatch):
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    s2 = ml.collection("sentinel-2-l2a", str(sample_catalog))
    m = Map()
    m.add(s2.bands("red").median("t"), name="red")
    m.add(s2.dates("1999-01-01", "1999-02-01").bands("red").median("t"), name="nothing")
    m.add(shapely.box(1, 43, 2, 44), name="features")
    features, nothing, full = m.panel.layers
    assert set(full) == fields("LayerEntry") - {"empty", "frames", "period", "features", "note"}
    assert set(nothing) == {"id", "name", "empty"}
    assert set(features) == {"id", "name", "features", "legend", "note", "bounds"}


@given(
    st.lists(st.tuples(st.frozensets(st.integers(0, 40)), st.frozensets(st.integers(0, 40))), min_size=1, max_size=4)
)
@settings(max_examples=5, deadline=None)
def test_the_page_counts_the_scenes_of_tiles_as_the_service_told_them(tiles):
    """Scenes by their bits, from the service's header to the panel's "12 of 30 scenes"."""
    numbers = SceneNumbers(f"scene {n}" for n in range(41))
    tiles = [(found, found & used) for found, used in tiles]
    headers = [
        {"scenes": [len(used), len(found)], "bits": numbers.bits(*({f"scene {n}" for n in s} for s in (found, used)))}
        for found, used in tiles
    ]
    out = run(
        "node", "--input-type=module", "--eval",
        f"import {{ joinReports, readReport }} from {json.dumps((JS / 'tilereport.js').as_uri())};"
        f"console.log(JSON.stringify(joinReports({json.dumps(headers)}.map(readReport))));",
    )  # fmt: skip
    report = json.loads(out)
    assert report["found"] == len(frozenset().union(*(found for found, _ in tiles)))
    assert report["used"] == len(frozenset().union(*(used for _, used in tiles)))
