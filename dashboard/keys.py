"""The keyboard: what each key does, in one table that the page's help is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ptylive.dashboard.panels.maps import MapPanel, Mosaic


@dataclass(frozen=True)
class Key:
    """A key and its meaning; those of the browser's own never reach the server."""

    name: str
    meaning: str


KEYS: tuple[Key, ...] = (
    Key("1 … 9", "map of the focused panel"),
    Key("arrows", "move the focus"),
    Key("Shift + arrows", "the focused map changes places with the next; or drag it by its upper edge"),
    Key("+  −  0", "the focused map larger, smaller; all as at first. Or drag the strips between panels"),
    Key("F", "full screen, and back"),
    Key("T", "Fourier transform"),
    Key("A", "contrast follows the data"),
    Key("L", "lock the contrast, and release it"),
    Key("C", "next colour map"),
    Key("E", "export the map: picture and floats"),
    Key("P", "line profile: two clicks on a map"),
    Key("O", "trotters: overlaps at one spatial frequency"),
    Key("R", "refine this scan"),
    Key("S", "stop the refinement"),
    Key("V", "next view"),
    Key("D", "dark, light"),
    Key("/", "note on this scan"),
    Key("W A S D", "move the chosen virtual detector (with Alt; Shift: 5 px)"),
    Key("click on a map", "the diffraction pattern of that point"),
    Key("Alt + arrows", "move the point; with Shift the mean of a rectangle"),
    Key("Shift + drag", "a rectangle of a map: its mean pattern"),
    Key("Ctrl + drag", "a length and its angle; twice: between both"),
    Key("?", "this list"),
    Key("Esc", "close, leave full screen"),
)


class MapKeys:
    """Keys that concern the focused map."""

    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self._actions: Mapping[str, Callable[[MapPanel], None]] = {
            "t": lambda panel: panel.fft.update(active=not panel.fft.active),
            "a": lambda panel: panel.lock.update(active=False),
            "l": lambda panel: panel.lock.update(active=not panel.lock.active),
            "c": MapPanel.next_colours,
        }

    def press(self, key: str, index: int) -> bool:
        """Act on the panel with the focus; False when the key means nothing here."""
        if not 0 <= index < len(self._mosaic.panels):
            return False
        panel = self._mosaic.panels[index]
        if key.isdigit():
            panel.choose(int(key))
        elif key in self._actions:
            self._actions[key](panel)
        else:
            return False
        return True
