"""Values a user gives, takes back and gives again: `configure`, `calibrate` and `undo` (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ptylive.schema import Arm, CommandError, Scan
from ptylive.schema.metadata import fill_in, overlay, typed
from ptylive.server.scan_session import ScanSession

MOST_STEPS_BACK = 50
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "rotation_deg": ("rotation_deg",),
    "detector_transform": ("detector_transform",),
    "beam_center_px": ("beam_center_px",),
    "detector_pixel_invA": ("detector_pixel_invA", "detector_pixel_mrad"),
    "C10": ("defocus_A", "C10"),
    "C12": ("astigmatism_A", "astigmatism_deg", "C12a", "C12b"),
    "depth_A": ("depth_A",),
}
"""Quantities that can be estimated, and the metadata names under which they may have been given."""
ESTIMATED_TOGETHER = ("rotation_deg", "detector_transform", "beam_center_px")
"""What is estimated when nothing is named; a defocus that was given is kept until it is asked for by name."""


class CalibrationDesk:
    """The user's values over those of the stream, with the way back.

    ``current`` is the scan that is shown, ``again`` makes the results of one that has finished once more.
    """

    def __init__(
        self,
        defaults: Mapping[str, Any],
        overrides: Mapping[str, Any],
        current: Callable[[], ScanSession | None],
        again: Callable[[ScanSession], None],
    ) -> None:
        self._defaults = defaults
        self._overrides = dict(overrides)
        self._current, self._again = current, again
        self._earlier: list[dict[str, Any]] = []

    def prepare(self, arm: Arm) -> Arm:
        """Lay the configuration under and the user's values over what a sender said of its scan."""
        return overlay(fill_in(arm, self._defaults), self._overrides)

    def command_configure(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Set metadata of this and the following scans; calibration, filters and maps follow."""
        if not isinstance(values, Mapping):
            raise CommandError("values must be a map of metadata names to values")
        return self._adopt(_laid_over(self._overrides, typed(values)))

    def command_calibrate(self, names: Iterable[str] = ESTIMATED_TOGETHER) -> dict[str, Any]:
        """Estimate quantities from the data, whatever was given for them; the given values win again after `undo`."""
        names = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in names if name not in SPELLINGS]
        if unknown:
            raise CommandError(f"cannot estimate {', '.join(unknown)}", f"choose from {', '.join(SPELLINGS)}")
        taken_back = {spelling: None for name in names for spelling in SPELLINGS[name]}
        return self._adopt(_laid_over(self._overrides, taken_back))

    def command_undo(self) -> dict[str, Any]:
        """Go back to the values before the last `configure` or `calibrate`."""
        if not self._earlier:
            raise CommandError("there is nothing to undo")
        earlier = self._earlier.pop()
        self._use(earlier)
        return {"overrides": earlier}

    def _adopt(self, overrides: dict[str, Any]) -> dict[str, Any]:
        before = self._overrides
        self._use(overrides)
        self._earlier = [*self._earlier[1 - MOST_STEPS_BACK :], before]
        return {"overrides": overrides}

    def _use(self, overrides: dict[str, Any]) -> None:
        """Make the values those of this and later scans. Raises MetadataError before anything has changed."""
        overlay(Arm(uid="", series="", frames=0, scan=Scan()), overrides)
        scan = self._current()
        if scan is not None:
            arm = overlay(fill_in(scan.source, self._defaults), overrides)
            if scan.ended is not None:
                scan.remake(arm)
                self._again(scan)
            else:
                scan.configure(arm)
        self._overrides = overrides


def _laid_over(overrides: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Later values win, also over other spellings of the same quantity."""
    said_otherwise = {
        spelling for spellings in SPELLINGS.values() if set(spellings) & set(values) for spelling in spellings
    }
    return {**{name: value for name, value in overrides.items() if name not in said_otherwise}, **values}
