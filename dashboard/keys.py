"""Tables for the page's help: what each key does, what the views show, and what words mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ptylive.dashboard.panels.maps import MapPanel, Mosaic


@dataclass(frozen=True)
class Key:
    """A key and its meaning; keys that the browser handles itself never reach the server."""

    name: str
    meaning: str


KEYS: tuple[Key, ...] = (
    Key("1 … 9", "choose the map of the focused panel"),
    Key("arrows", "move the focus"),
    Key("Shift + arrows", "swap the focused map with the next; or drag it by its upper edge"),
    Key("+  −  0", "enlarge, shrink the focused map; reset all. Or drag the strips between panels"),
    Key("F", "full screen on, off"),
    Key("T", "Fourier transform"),
    Key("A", "let the contrast follow the data"),
    Key("L", "lock, unlock the contrast"),
    Key("C", "next colour map"),
    Key("M", "draw maps and objects smoothly, or pixel by pixel"),
    Key("E", "export the map: picture and floats"),
    Key("P", "line profile: two clicks on a map"),
    Key("O", "trotters: overlaps at one spatial frequency"),
    Key("R", "refine this scan"),
    Key("S", "stop the refinement"),
    Key("V", "next view"),
    Key("D", "dark or light theme"),
    Key("/", "write a note on this scan"),
    Key("W A S D", "move the chosen virtual detector (with Alt; Shift: 5 px)"),
    Key("click on a map", "show the diffraction pattern of that point"),
    Key("Alt + arrows", "move the point; with Shift, the mean of a rectangle"),
    Key("Shift + drag", "select a rectangle of a map: its mean pattern"),
    Key("Ctrl + drag", "measure a length and its angle; a second one: the angle between both"),
    Key("?", "this list"),
    Key("Esc", "close, leave full screen"),
)


SHOWN: tuple[tuple[str, str], ...] = (
    ("Session", "maps of the scan as it arrives, the diffraction pattern, what is known about the experiment"),
    ("Refine", "object and probe by multislice ptychography, its settings, and the runs of this scan"),
    ("Tune", "short trials of settings, judged by held-out patterns"),
    ("Library", "scans of the recording folder: search, open, compare, refine and download them"),
)
"""Views, and what they show."""
WORDS: tuple[tuple[str, str], ...] = (
    (
        "OBF, iDPC, tcBF",
        "phase maps of the whole bright field; point at a map chooser to read when each can be trusted",
    ),
    ("± below a map", "one standard deviation of a pixel from counting noise"),
    (
        "± in the calibration",
        "one standard deviation: two values in three lie within it, 19 in 20 within two",
    ),
    ("limit", "information limit: the finest period that rises above the noise"),
    ("sent, typed, found", "where a value comes from; configured: the server's file. ✓: the data agree with it"),
    ("assumed", "no value was given, and none was estimated from the data"),
    ("pinned", "kept for later scans, whatever is sent with them"),
    (
        "orientation",
        "how rows and columns of the detector relate to those of the scan: transposed, flipped, or as recorded",
    ),
    ("descan", "how far the pattern moves over the detector while the beam is scanned"),
    ("trotters", "overlaps of the discs at one spatial frequency; their phase is flat if the aberrations are right"),
    ("held out", "patterns kept out of a refinement to compare settings and runs by their loss; lower is better"),
    (
        "FRC",
        "Fourier ring correlation: agreement of two images by spatial frequency; they agree above the half-bit curve",
    ),
    ("epoch", "one pass over all patterns: a sweep in batches, or a step of L-BFGS"),
)
"""Words of the page, with the meaning they have there."""


class MapKeys:
    """Keys that act on the focused map."""

    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self._actions: Mapping[str, Callable[[MapPanel], None]] = {
            "t": lambda panel: panel.fft.update(active=not panel.fft.active),
            "a": lambda panel: panel.lock.update(active=False),
            "l": lambda panel: panel.lock.update(active=not panel.lock.active),
            "c": MapPanel.next_colours,
        }

    def press(self, key: str, index: int) -> bool:
        """Act on the panel with the focus; return False if the key has no meaning here."""
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
