"""The few models that travel between a page and its server in addition to Bokeh's own.

Each claims to live in Bokeh's own module: for every other model Bokeh looks for JavaScript next to its top-level
package, and ours (``ptylive``) is a namespace without a file, which makes that search fail (bokeh 3.9,
embed/bundle.py).
"""

from __future__ import annotations

from datetime import datetime

from bokeh.core.properties import Float, Int, List, String
from bokeh.model import DataModel


class Shown(DataModel):
    """The browser's answer: the number of the last picture it has painted."""

    __view_module__ = "bokeh"

    number = Int(default=0)


class Extent(DataModel):
    """What a figure shows before anybody zooms: [left, top, width, height] in the picture's coordinates."""

    __view_module__ = "bokeh"

    box = List(Float, default=[0.0, 0.0, 1.0, 1.0])


class Page(DataModel):
    """Texts, marks and styles of the page as JSON {"texts", "marks", "styles"}: plain text, never HTML."""

    __view_module__ = "bokeh"

    content = String(default="{}")
    cards = String(default="{}")
    """Scans and files of the library as JSON; kept separate because they are large and seldom change."""
    beat = Int(default=0)
    """Changes every few seconds, so that the browser notices a network that fails without ending the connection."""
    clock = Int(default=0)
    """Time of day at the last beat on the server's machine, whose clock the page shows: seconds after midnight."""

    def keep_alive(self) -> None:
        """Send a beat."""
        now = datetime.now()
        self.clock = 3600 * now.hour + 60 * now.minute + now.second
        self.beat += 1


class Asked(DataModel):
    """What the viewer requested by a key or by one of the page's own buttons: JSON {"number", "what", …}.

    The number makes two equal requests differ, so that both are noticed.
    """

    __view_module__ = "bokeh"

    content = String(default="")
