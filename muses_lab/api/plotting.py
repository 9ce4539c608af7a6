"""Plots in notebooks: hvPlot and HoloViews, drawn without the internet."""

from __future__ import annotations

import os
from typing import Any


def plots() -> None:
    """Lets `.hvplot` of arrays, series and tables draw in this notebook, also where there is no internet.

    ```python
    ml.plots()
    s2.mask_clouds().ndvi().at(m.clicked).hvplot.scatter(x="t")
    ```

    hvPlot's own way has the browser fetch the code that draws from a server. This puts the code that is installed
    here into the notebook (3 MB), and what `hv.extension` and `pn.extension` show from then on is drawn by that, too.
    The plots have the colours of the notebook's theme, light or dark; `.opts(bgcolor="ivory")` gives one other paper.
    Call it in a cell of its own, before the first plot. It can be called again.
    """
    from holoviews.ipython import notebook_extension
    from panel.viewable import Viewable

    notebook_extension.inline = True
    os.environ["PANEL_INLINE"] = "true"
    for hook in (_with_styles_inside, _on_paper):
        if hook not in Viewable._preprocessing_hooks:
            Viewable._preprocessing_hooks.append(hook)
    import hvplot
    import hvplot.pandas
    import hvplot.xarray

    hvplot.extension("bokeh", logo=False)


def _with_styles_inside(viewable: Any, root: Any) -> None:
    """Panel's style sheets, which stay addresses of its server even where its code is in the notebook."""
    from bokeh.models.ui import UIElement
    from panel.io.notebook import patch_inline_stylesheets

    for model in root.select({"type": UIElement}):
        patch_inline_stylesheets(model)


def _on_paper(viewable: Any, root: Any) -> None:
    """Plots of hvPlot and HoloViews have the colours of the page, as those of the library have."""
    from bokeh.models import Plot

    from muses_lab.tables import drawing

    for figure in root.select({"type": Plot}):
        drawing.put_on_paper(figure)
