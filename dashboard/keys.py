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
    Key("1 … 9", "map of the focused panel"),
    Key("arrows", "move the focus"),
    Key("Shift + arrows", "the focused map changes places with the next; or drag it by its upper edge"),
    Key("+  −  0", "the focused map larger, smaller; all as at first. Or drag the strips between panels"),
    Key("F", "full screen, and back"),
    Key("T", "Fourier transform"),
    Key("A", "contrast follows the data"),
    Key("L", "lock the contrast, and release it"),
    Key("C", "next colour map"),
    Key("M", "maps and objects drawn smoothly, or pixel by pixel"),
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


SHOWN: tuple[tuple[str, str], ...] = (
    ("Session", "maps of the scan as it arrives, the diffraction pattern, what is known of the experiment"),
    ("Refine", "object and probe by multislice ptychography, its settings, and the runs there are of this scan"),
    ("Tune", "short trials of settings, judged by patterns that were held out"),
    ("Library", "scans of the recording folder, to be found, opened, compared, refined and taken along"),
)
"""Views, and what they show."""
WORDS: tuple[tuple[str, str], ...] = (
    (
        "OBF, iDPC, tcBF",
        "phase maps of the whole bright field; the pointer over a chooser says when each is to be trusted",
    ),
    ("± below a map", "one standard deviation of a pixel by counting noise"),
    (
        "± in the calibration",
        "one standard deviation: two values in three lie within it, 19 in 20 within two",
    ),
    ("limit", "information limit: the finest period that rises above the noise"),
    ("sent, typed, found", "where a value comes from; configured: the server's file. ✓: the data agree with it"),
    ("assumed", "nobody has said otherwise, and the data have not been asked"),
    ("pinned", "kept for the scans to come, whatever is sent"),
    (
        "orientation",
        "how rows and columns of the detector lie to those of the scan: transposed, flipped, or as recorded",
    ),
    ("descan", "how far the pattern wanders over the detector while the beam is scanned"),
    ("trotters", "overlaps of the discs at one spatial frequency: flat phase where the aberrations are right"),
    ("held out", "patterns kept back from a refinement, by which settings and runs are compared; less is better"),
    ("FRC", "correlation of two pictures by spatial frequency; above the half-bit curve they agree"),
    ("epoch", "all patterns once: a sweep in batches, or a step of L-BFGS"),
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
