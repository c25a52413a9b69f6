"""Which maps come first: where the specimen is strong, those that do not take it for weak.

What is measured is by how much bright-field pixels change over the scan; the bound is that of results and of the
command line (``STRONG_MODULATION``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ptylive.dashboard.client.map_kinds import FIRST_CHOICE, STRONG_CHOICE
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.schema.maps import STRONG_MODULATION, TOO_THICK, scattering


class FirstMaps(Quiet):
    """Orders the maps of a page on which nobody has chosen any yet; ``modulation``: of the scan that is shown."""

    def __init__(self, panels: Sequence[MapPanel], modulation: Callable[[], float | None]) -> None:
        self._all, self._modulation = list(panels), modulation
        self._panels = self._all[: len(FIRST_CHOICE)]
        self._ours = FIRST_CHOICE
        self._strong = False

    def follow(self, seen: Seen) -> None:
        """Choose as soon as it is known what the specimen is; as it was while that is not known."""
        modulation = self._modulation()
        if modulation is None or seen.looking_back:
            self._strong = False
            return
        self._strong = modulation > STRONG_MODULATION
        wanted = STRONG_CHOICE if self._strong else FIRST_CHOICE
        if wanted != self._ours and tuple(panel.kind.name for panel in self._panels) == self._ours:
            for panel, name in zip(self._panels, wanted, strict=True):
                panel.choice.value = name
            self._ours = wanted

    def badge(self, kind: str) -> str:
        """A word on a map that takes a strong specimen for weak; empty on others."""
        linear = any(panel.kind.linear for panel in self._all if panel.kind.name == kind)
        return TOO_THICK if self._strong and linear else ""

    def texts(self) -> Mapping[str, str]:
        """Why the maps stand as they do."""
        modulation = self._modulation()
        if not self._strong or modulation is None:
            return {"first_maps": ""}
        return {"first_maps": f"{scattering(modulation)}: iDPC first, OBF last"}
