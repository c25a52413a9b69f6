"""Which maps come first: where the specimen is strong, those that do not take it for weak.

What is measured is by how much bright-field pixels change over the scan. Where that is a small part of their mean the
exit wave is linear in the potential; the larger it is, the more weight the quadratic terms have. On 33 simulated scans
of crystals (SrTiO3, Si and Au, 10 to 300 Å thick, in focus and 100 Å out of it) OBF correlated with the projected
potential by 0.82 on average below the bound and 0.57 above it, iDPC by 0.32 and 0.84; above it iDPC was the better one
in 15 of 16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ptylive.dashboard.client.map_kinds import FIRST_CHOICE, LINEAR, STRONG_CHOICE
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen
from ptylive.dashboard.panels.maps import MapPanel

STRONG = 0.55
"""Modulation of the bright field from which a specimen is not weak."""
BADGE = "too thick for this map"


class FirstMaps(Quiet):
    """Orders the maps of a page on which nobody has chosen any yet; ``modulation``: of the scan that is shown."""

    def __init__(self, panels: Sequence[MapPanel], modulation: Callable[[], float | None]) -> None:
        self._panels, self._modulation = list(panels)[: len(FIRST_CHOICE)], modulation
        self._ours = FIRST_CHOICE
        self._strong = False

    def follow(self, seen: Seen) -> None:
        """Choose as soon as it is known what the specimen is; as it was while that is not known."""
        modulation = self._modulation()
        if modulation is None or seen.looking_back:
            self._strong = False
            return
        self._strong = modulation > STRONG
        wanted = STRONG_CHOICE if self._strong else FIRST_CHOICE
        if wanted != self._ours and tuple(panel.kind.name for panel in self._panels) == self._ours:
            for panel, name in zip(self._panels, wanted, strict=True):
                panel.choice.value = name
            self._ours = wanted

    def badge(self, kind: str) -> str:
        """A word on a map that takes a strong specimen for weak; empty on others."""
        return BADGE if self._strong and kind in LINEAR else ""

    def texts(self) -> Mapping[str, str]:
        """Why the maps stand as they do."""
        modulation = self._modulation()
        if not self._strong or modulation is None:
            return {"first_maps": ""}
        return {"first_maps": f"multiple scattering (bright field ± {100 * modulation:.0f} %): iDPC first, OBF last"}
