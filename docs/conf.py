"""How the site is made of this repository: `make docs`.

The source folder is the repository itself, so links between files mean the same on a code host and in the site.
Sphinx and MyST-NB rather than MkDocs: autodoc imports, so it sees the operators that the registry gives to `Chain`,
and MyST-NB runs the notebooks. Nothing that a page needs comes from another host.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).parent))

import site_check  # noqa: E402 (beside this file)
import site_pages  # noqa: E402

project = "MUSES Lab"
author = "the MUSES Lab developers"
copyright = f"{author}. Apache License 2.0"
release = version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["version"]
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/**",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "benchmarks/peers/README.md",
    "deploy/README.md",
]
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "node_modules",
    "screenshots",
    "tests",
    "muses_lab",
    "widgets",
    "**/.ipynb_checkpoints",
    "notebooks/courses",  # each runs in its own folder, beside its course.yml, and `course check` runs them
    "**/__pycache__",
]
suppress_warnings = ["mystnb.unknown_mime_type"]
default_role = "py:obj"  # a name in single backticks is a link where the reference knows it, else code

# Markdown and notebooks. A notebook runs in an empty folder, with the sample in a home of the build's own. Its kernel
# draws maps as `Map.save` does (`site_maps.py`), because there is no server behind a page of the site.
myst_enable_extensions = ["colon_fence", "substitution"]
myst_substitutions = {"bibtex": site_pages.bibtex(REPOSITORY / "CITATION.cff")}
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove"  # progress bars
nb_ipywidgets_js: dict[str, Any] = {}  # would come from another host
HOME = REPOSITORY / "build" / "docs-home"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
autodoc_class_signature = "separated"
python_maximum_signature_line_length = 88
napoleon_google_docstring = False
add_module_names = False
toc_object_entries_show_parents = "hide"
html_show_sourcelink = False
html_copy_source = False

html_theme = "pydata_sphinx_theme"
html_title = f"MUSES Lab {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_additional_pages = {"index": "start.html"}
templates_path = ["_templates"]
html_theme_options = {
    "logo": {"text": "MUSES Lab"},
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True


def muses_lab(*arguments: str) -> str:
    """What the command `muses-lab` prints."""
    command = Path(sys.executable).with_name("muses-lab")
    return subprocess.run([command, *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def generate(app: Sphinx) -> None:
    """Writes the page of operators, which no commit holds; pages that one holds are what their command prints now."""
    (REPOSITORY / "docs" / "operators.md").write_text(muses_lab("operators"), "utf-8")
    if (REPOSITORY / "docs" / "settings.md").read_text("utf-8") != muses_lab("settings"):
        raise ExtensionError("docs/settings.md is out of date: muses-lab settings > docs/settings.md")


def prepare(app: Sphinx) -> None:
    """The sample that the notebooks read, and their kernel's surroundings."""
    if app.config.nb_execution_mode == "off":
        return
    for name in [name for name in os.environ if name.startswith(("MUSES_", "DASK_"))]:
        del os.environ[name]
    os.environ |= {
        "MUSES_LAB_HOME": str(HOME),
        "MUSES_COMPUTE": "threads",
        "IPYTHONDIR": str(site_pages.kernel_folder(HOME / "ipython")),
    }
    muses_lab("sample", str(HOME / "sample"), "--dates", "24")


def markdown_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are Markdown with NumPy's sections: what reStructuredText writes otherwise."""
    lines[:] = site_pages.restructured(lines)


def skip_inner(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """What a class leaves out where names are completed is not for users."""
    return True if name in site_pages.inner_names() else None


def finish(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        troubles = site_check.troubles(Path(app.outdir))
        if troubles:
            raise ExtensionError("\n".join(["the site does not stand alone:", *troubles]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    app.connect("builder-inited", prepare)
    app.connect("autodoc-process-docstring", markdown_docstring, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", skip_inner)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
