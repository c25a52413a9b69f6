"""Settings of the refine form that describe one specimen: they stay with the scan for which they were typed.

A thickness that is right for one scan is a silent error for the next; epochs, modes and losses are a user's way of
working and stay for all scans.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OF_ONE_SCAN: Mapping[str, str] = {
    "num_slices": "slices",
    "total_thickness_A": "thickness",
    **{name: name for name in ("slice_distances_A", "start_depth_A", "tilts_mrad", "scan_tilts_mrad")},
    **{name: name for name in ("scan_shifts_A", "start_object", "start_probe", "start_positions")},
    **{name: name for name in ("start_beam_current", "start_background")},
    **{name: name for name in ("start_phase_image", "start_amplitude_image")},
}
"""Settings that describe a specimen, or hold what belongs to one scan, and what people call them."""
_USUAL = {"num_slices": "auto"}
"""Their values in an untouched form, where there are any."""
_MOST_SCANS = 50
_MOST_NAMED = 3


@dataclass(frozen=True)
class Taken:
    """What the form holds for the scan that is shown now, and what is said about it; empty: nothing."""

    settings: Mapping[str, Any]
    words: str = ""
    thickness: str = ""
    """The thickness that was typed for the scan before, and for which scan: shown in the empty field."""


class SpecimenSettings:
    """What was typed for each of the last scans. Not thread-safe."""

    def __init__(self) -> None:
        self._uid, self._series = "", ""
        self._typed: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def follow(self, uid: str, series: str, preset: Mapping[str, Any]) -> Taken | None:
        """Note which scan is shown; ``preset``: the settings in the form. None if they stay as they are.

        What was typed before the first scan is for that scan.
        """
        if not uid or uid == self._uid:
            return None
        before, of_series, self._uid, self._series = self._uid, self._series, uid, series
        if not before:
            return None
        own = {name: preset[name] for name in OF_ONE_SCAN if name in preset and preset[name] != _USUAL.get(name)}
        self._typed[before] = own
        self._typed.move_to_end(before)
        while len(self._typed) > _MOST_SCANS:
            self._typed.popitem(last=False)
        kept = self._typed.get(uid, {})
        if own == kept:
            return None
        settings = {**{name: value for name, value in preset.items() if name not in own}, **_USUAL, **kept}
        left = [title for name, title in OF_ONE_SCAN.items() if name in own and kept.get(name) != own[name]]
        if not left:
            return Taken(settings)
        named = ", ".join(left[:_MOST_NAMED]) + (", …" if len(left) > _MOST_NAMED else "")
        of_scan = f"the earlier {of_series}" if of_series == series else of_series
        words = f"{named}: typed for {of_scan}, not used for {series}; back when {of_scan} is shown again"
        thickness = own.get("total_thickness_A")
        return Taken(settings, words, "" if thickness is None else f"{thickness} for {of_series}")
