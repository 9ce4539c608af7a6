"""The chain panel: a chain drawn as a graph, its steps opened as layers, its document copied, checked and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import traitlets as t
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab import compute
from muses_lab.api import described, priced, reading
from muses_lab.errors import ArgumentError, DocumentError, MusesError, NotFound
from muses_lab.plain import Status, shown
from muses_lab.resources import rates
from muses_widgets import service
from muses_widgets.chain import opened
from muses_widgets.modules import JS, joined
from muses_widgets.sections.newest import Newest
from muses_widgets.threads import Told

MOST_NODES = 400
"""Of a graph that is drawn; of a larger one the text is there."""
_OWN = "This chain"
"""How a chain is called that is on no map."""


class ChainPanel(Told):
    """A chain as a graph: what each step does, with what, and what it takes in this view.

    >>> ChainPanel(m)                                       # of the layers of a map
    >>> ChainPanel(ndvi.median("t"))                        # of a chain
    >>> ChainPanel(ndvi.median("t"), window=window)         # with what it takes on a window

    A step is opened as a layer of the map by the button in it, with the dates that it has, or its colours spread over
    its values in this view. Its arguments stand beside it, those of `ml.parameter` marked. What the steps take is
    estimated from metadata, nothing is read for it; which of their blocks are there already is asked of the workers.

    The document can be copied as Python (`chain.to_python()`) or JSON, saved to a file, and compared with that of
    another layer (`ml.compare`). A document that is pasted, or opened from a file, is checked whole before anything
    is made of it: each fault stands at its node.

    Parameters
    ----------
    of
        A map, a chain or a layer.
    window
        On which a chain's steps are priced, as `ml.Window.from_bounds(…)`; of a map it is what it shows.
    """

    _esm = joined(JS / "chain/panel.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in ("panel.css", "chain/panel.css"))

    # As `ChainPanelTraits` in js/types.d.ts.
    choices: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """Names of the chains that can be shown: of layers, and of documents that were opened."""
    chosen = t.Unicode().tag(sync=True)
    on_map = t.Bool(False).tag(sync=True)
    """Whether steps can be opened as layers."""
    drawn: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{nodes, edges, text}: the chosen chain, see `muses_lab.api.described`."""
    documents: t.Dict[str, str] = t.Dict().tag(sync=True)
    """{python, json}"""
    costs: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{state: busy | done | failed, text, measured, nodes: {id: NodeCost as in js/types.d.ts}}"""
    compared: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{other, text, lines, nodes, edges}: the chosen chain beside another one; empty: none."""
    draft: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{text, state: ok | failed, faults: [{node, text}], nodes, edges}: a document that was pasted; empty: none."""
    mode = t.Enum(["chain", "compare", "draft"], "chain").tag(sync=True)
    selected = t.Unicode().tag(sync=True)
    """The node whose details are shown."""
    unfolded: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """Nodes whose callbacks are seen."""
    zoom = t.Float(1.0).tag(sync=True)
    told: t.Dict[str, Any] = t.Dict({"state": "ok", "text": ""}).tag(sync=True)
    own_id = t.Unicode().tag(sync=True)

    def __init__(self, of: Any, window: GeoBox | None = None) -> None:
        self._map = of if hasattr(of, "stack") and hasattr(of, "view") else None
        chain = None if self._map is not None else getattr(of, "chain", of)
        if self._map is None and not isinstance(chain, ml.Chain):
            raise ArgumentError(f"ChainPanel({shown(of)}) takes a map, a chain or a layer")
        self._window = window
        self._opened: dict[str, ml.Chain] = {} if chain is None else {_OWN: chain}
        self._shown: ml.Chain | None = None
        self._state: str | None = None
        """That of the layer that is shown, as the page told it last."""
        super().__init__()
        self.own_id = self.model_id or ""
        self.on_map = self._map is not None
        self._pricing = Newest("cost of the chain's steps", self._price)
        self._showing = Newest("a step of the chain as a layer", self._show)
        self.on_msg(self._receive)
        if self._map is not None:
            self._map.panel.observe(lambda change: self._follow(), "layers")
            self._map.observe(lambda change: self._ask_price(), ["bounds", "zoom"])
            self._map.panel.observe(lambda change: self._arrived(), "shown")
        self._follow()

    def __repr__(self) -> str:
        steps = len(self.drawn.get("nodes", ()))
        why = f" ({self.told['text']})" if self.told["text"] else ""
        return f"<ChainPanel of {self.chosen or 'no chain'}: {steps} steps, {self.told['state']}{why}>"

    def status(self) -> Status:
        """The chain that is shown, its steps and what they take, for a terminal or a program; `print` gives JSON."""
        costs = self.costs.get("nodes", {})
        steps = [
            {key: node[key] for key in ("id", "process", "title", "arguments")} | {"cost": costs.get(node["id"])}
            for node in self.drawn.get("nodes", ())
        ]
        return Status(
            kind="chain panel", state=self.told["state"], why=self.told["text"] or None, chain=self.chosen, steps=steps,
            difference=self.compared.get("text"), faults=self.draft.get("faults", []),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------ what is shown

    def choose(self, name: str) -> None:
        """Shows the chain of a layer, or of a document that was opened, by its name."""
        if name not in self.choices:
            raise NotFound(f"there is no chain {name!r} here; there are {', '.join(map(repr, self.choices)) or 'none'}")
        self.chosen, self.mode, self.compared = name, "chain", {}
        self._draw()

    def compare(self, name: str) -> None:
        """Shows what differs between the chain that is chosen and another one of the `choices`."""
        mine, other = self._chain(self.chosen), self._chain(name)
        difference = ml.compare(mine, other)
        lines = [str(step) for step in difference.steps if step.kind not in ("same", "moved")]
        drawing = described.picture(described.merged(mine, other, difference)) if _fits(mine, other) else {}
        self.compared = {"other": name, "text": str(difference), "lines": lines, **drawing}
        self.mode, self.selected = "compare", ""

    def check(self, document: str) -> list[dict[str, Any]]:
        """Looks through a document, and shows it with its faults: {node, text} of each. Nothing is run."""
        found = [{"node": _top(error.details.get("node")), "text": str(error)} for error in _faults(document)]
        nodes = described.nodes_of_document(document)
        drawing = described.picture(nodes) if len(nodes) <= MOST_NODES else {}
        self.draft = {"text": document, "state": "failed" if found else "ok", "faults": found, **drawing}
        self.mode = "draft"
        self.selected = next((fault["node"] for fault in found if fault["node"]), "")
        return found

    def take(self, document: str, name: str = "") -> None:
        """Shows the chain of a document that has no faults: text of JSON. `check` tells those that it has."""
        if self.check(document):
            return
        results = reading.read_graph(document)
        titles = [name or "Document", *(f"{name or 'Document'}: {one.name}" for one in results)]
        titles = titles[:1] if len(results) == 1 else titles[1:]
        layers = [one for one in self.choices if one not in self._opened]
        titles = [f"{title} (document)" if title in layers else title for title in titles]
        self._opened |= {title: one.chain for title, one in zip(titles, results, strict=True)}
        self.draft = {}
        self._follow()
        self.choose(titles[-1])

    def _chain(self, name: str) -> ml.Chain:
        if name in self._opened:
            return self._opened[name]
        return self._map.tiles(name).chain  # type: ignore[union-attr]

    def _follow(self) -> None:
        """The layers of the map, or what they are of, may be others."""
        stack = [] if self._map is None else self._map.stack()
        layers = [tiles.name for tiles in reversed(stack) if not tiles.is_empty]
        self.choices = [*layers, *self._opened]
        if self.chosen not in self.choices:
            self.chosen = self.choices[0] if self.choices else ""
        if self.compared and self.compared["other"] not in self.choices:
            self.compared, self.mode = {}, "chain"
        self._draw()

    def _draw(self) -> None:
        chain = self._chain(self.chosen) if self.chosen else None
        before = self._shown
        if chain is not None and before is not None and chain.identical(before) and _named(chain) == _named(before):
            return
        self._shown = chain
        if chain is None:
            self.drawn, self.documents, self.costs = {}, {}, {}
            return
        many = 0 if _fits(chain) else described.size(chain)
        drawing = described.picture(described.nodes(chain)) if not many else {"nodes": [], "edges": []}
        told = f"The chain has {many} steps, more than can be read as a picture: copy it as text." if many else ""
        self.documents = {"python": chain.to_python(), "json": json.dumps(chain.to_json(), indent=1)}
        self.costs = {}
        self.drawn = {**drawing, "text": told, "hash": chain.hash}
        if self.selected not in [node["id"] for node in self.drawn["nodes"]]:
            self.selected = ""
        if self.compared:
            self.compare(self.compared["other"])
        self._ask_price()

    # ------------------------------------------------------------------------------------------ costs

    def _ask_price(self) -> None:
        window = self._map.view() if self._map is not None else self._window
        if window is None or self._shown is None or not self.drawn.get("nodes"):
            return
        self._pricing.take({"chain": self._shown, "window": window})

    def _arrived(self) -> None:
        """Tiles came: blocks may be there now that were not."""
        states = self._map.panel.status()["layers"]  # type: ignore[union-attr]
        state = states.get(self.chosen, {}).get("state")
        if state != self._state and state != "loading":
            self._ask_price()
        self._state = state

    def _price(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        """In a thread: what each step takes of the plan, and which of its blocks are there."""
        chain = message["chain"]
        try:
            self.costs = {**self.costs, "state": "busy", "text": ""}
            plan, nodes = priced.prices(chain, message["window"], service.keeps if self.on_map else compute.keeps)
            told = {name: asdict(cost) for name, cost in nodes.items()}
            if not is_stale():
                self.costs = {"state": "done", "text": str(plan), "measured": rates.are_measured(), "nodes": told}
        except Exception as error:  # no cell is there in which it could appear
            self.costs = {"state": "failed", "text": str(error) or type(error).__name__, "nodes": {}}

    # ------------------------------------------------------------------------------------------ steps as layers

    def show_step(self, node: str) -> Any:
        """Opens a step as a layer of the map, by its name in the document; returns the layer as it is shown."""
        if self._map is None or self._shown is None:
            raise ArgumentError("steps are opened on a map: ChainPanel(m)")
        title, step = described.step(self._shown, node)
        return opened.open_step(self._map, step, f"{title} · {self.chosen}")

    def _show(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        self.told = {"state": "working", "text": f"Opening {message['node']} as a layer…"}
        try:
            self.show_step(message["node"])
            self.told = {"state": "ok", "text": f"{message['node']} is a layer of the map now."}
        except Exception as error:  # no cell is there in which it could appear
            self.told = {"state": "failed", "text": str(error) or type(error).__name__}

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        self.told = {"state": "ok", "text": ""}
        try:
            match message.get("do"):
                case "choose":
                    self.choose(message["name"])
                case "compare":
                    self.compare(message["name"])
                case "check":
                    self.check(message["text"])
                case "open":
                    self.take(message["text"], message.get("name", ""))
                case "show":
                    self._showing.take(message)
                case "price":
                    self._ask_price()
        except Exception as error:  # no cell is there in which it could appear
            self.told = {"state": "failed", "text": str(error) or type(error).__name__}
        self.send({"kind": "done", "asked": message.get("asked")})


def _fits(*chains: ml.Chain) -> bool:
    """Whether chains are small enough for a picture."""
    return sum(map(described.size, chains)) <= MOST_NODES


def _named(chain: ml.Chain) -> dict[str, Any]:
    """The values of `ml.parameter` in a chain."""
    parameters = chain.parameters
    return {name: parameters[name] for name in parameters.named}


def _faults(document: str) -> list[MusesError]:
    """All that is wrong with a document, code in it that nobody trusts and artefacts that are none included."""
    if not document.lstrip().startswith("{"):  # to `read_graph` that would be the name of a file
        return [DocumentError("this is no document: it is JSON, and begins with {")]
    found: list[MusesError] = list(reading.faults(document))
    if not found:
        try:
            reading.read_graph(document)
        except MusesError as error:
            found.append(error)
    return found


def _top(node: Any) -> str:
    """The node of the graph itself in which something is wrong, of one inside a callback."""
    return str(node or "").partition("/")[0]
