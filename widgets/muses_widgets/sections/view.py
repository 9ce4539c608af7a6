"""The view as a file: checked for what others will not see, then written; and one that is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muses_widgets.inputs import NotShown
from muses_widgets.sections import Section
from muses_widgets.service import served_place


class SavedView(Section):
    """Does what the box asks for: {do: "check"}, {do: "save", name} or {do: "open", name}.

    It tells {lost: [text], notes: [text]} of what others will not see, or only under a condition; once it is written
    also the file's name, bytes and its `place` in the folder that the Jupyter server shows (null: not in there). Of
    what failed it tells `text`, and of a view that was opened its name as `opened`.
    """

    name = "view"

    def receive(self, message: dict[str, Any]) -> None:
        m: Any = self.map
        try:
            if message["do"] == "check":
                self.tell(_told(m.check_view()))
                return
            name = str(message["name"]).strip()
            if message["do"] == "open":
                m.show_view(name)
                self.tell({"opened": name})
                return
            path = Path(name if name.lower().endswith(".json") else f"{name}.json")
            if not name or path.name != str(path) or name.startswith("."):
                raise NotShown(f"{name!r} is no name of a file: write view or view.json; m.save_view takes any path")
            checked = m.save_view(path)
            size = path.stat().st_size
            self.tell({**_told(checked), "name": path.name, "bytes": size, "place": served_place(path)})
        except Exception as error:
            self.tell({"text": str(error) or type(error).__name__})


def _told(checked: Any) -> dict[str, Any]:
    return {
        "lost": [str(fault) for fault in checked.faults if fault.lost],
        "notes": [str(fault) for fault in checked.faults if not fault.lost],
    }


SECTION = SavedView
