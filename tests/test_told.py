"""What threads tell a page while the page itself sends something."""

from __future__ import annotations

import threading
import time

import traitlets as t

from muses_widgets.threads import Told


class Widget(Told):
    _esm = "export default {}"
    asked = t.Int().tag(sync=True)
    told = t.Int().tag(sync=True)


def test_nothing_that_a_thread_tells_is_lost() -> None:
    widget = Widget()
    heard: list[int] = []
    widget.observe(lambda change: heard.append(change["new"]), "told")
    ended = threading.Event()

    def tell() -> None:
        for n in range(1, 400):
            widget.told = n
            time.sleep(0)
        ended.set()

    threading.Thread(target=tell).start()
    n = 0
    while not ended.is_set():
        n += 1
        widget.set_state({"asked": n})
    assert heard == list(range(1, 400)), "each change was told, in its order"


def test_who_sets_a_trait_waits_until_the_page_s_values_are_there() -> None:
    widget = Widget()
    order: list[str] = []
    inside, go = threading.Event(), threading.Event()

    def slow(change: object) -> None:
        inside.set()
        go.wait(5)
        order.append("asked")

    widget.observe(slow, "asked")
    widget.observe(lambda change: order.append("told"), "told")
    page = threading.Thread(target=lambda: widget.set_state({"asked": 1}))
    page.start()
    inside.wait(5)
    other = threading.Thread(target=lambda: setattr(widget, "told", 1))
    other.start()
    time.sleep(0.05)
    go.set()
    page.join(5)
    other.join(5)
    assert order == ["asked", "told"]
