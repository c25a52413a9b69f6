"""Which maps come first: for a strong specimen, those that do not treat it as weak.

Whether it is strong is decided as for results and the command line (:class:`ptylive.schema.maps.Strength`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ptylive.dashboard.client.map_kinds import FIRST_CHOICE, STRONG_CHOICE
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.schema.maps import TOO_THICK, Strength, scattering


class FirstMaps(Quiet):
    """Orders the maps of a page until a viewer has chosen any; ``strength``: that of the displayed specimen."""

    def __init__(self, panels: Sequence[MapPanel], strength: Callable[[], Strength]) -> None:
        self._all, self._strength = list(panels), strength
        self._panels = self._all[: len(FIRST_CHOICE)]
        self._own_choice = FIRST_CHOICE
        self._strong = False

    def follow(self, seen: Seen) -> None:
        """Choose as soon as the strength of the specimen is known; change nothing until then."""
        strength = self._strength()
        if strength.modulation is None or seen.looking_back:
            self._strong = False
            return
        self._strong = strength.is_strong
        wanted = STRONG_CHOICE if self._strong else FIRST_CHOICE
        if wanted != self._own_choice and tuple(panel.kind.name for panel in self._panels) == self._own_choice:
            for panel, name in zip(self._panels, wanted, strict=True):
                panel.choice.value = name
            self._own_choice = wanted

    def badge(self, kind: str) -> str:
        """A word on a map that treats a strong specimen as weak; empty on others."""
        linear = any(panel.kind.linear for panel in self._all if panel.kind.name == kind)
        return TOO_THICK if self._strong and linear else ""

    def texts(self) -> Mapping[str, str]:
        """Reason for the order of the maps."""
        modulation = self._strength().modulation
        if not self._strong or modulation is None:
            return {"first_maps": ""}
        return {"first_maps": f"{scattering(modulation)}: dark field first, OBF last"}
