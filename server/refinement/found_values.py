"""Refined values, besides aberrations, that could be changed at the microscope: drift and tilts with uncertainties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.schema import Origin

if TYPE_CHECKING:
    from ptylive.engine.refine.results.refinement_result import RefineResult

TILTS = ("tilt_before_mrad", "tilt_inside_mrad", "tilt_behind_mrad")
"""Tilts of the beam before the specimen, of the specimen, and of the beam behind it."""


def found_values(result: RefineResult) -> dict[str, Any]:
    """Return {name: {value, origin, uncertainty}}, empty if neither was refined.

    ``drift_A``: along the (slow, fast) scan axes over the whole acquisition, in Å, undecided if not larger than by
    chance. :data:`TILTS`: (row, column) in mrad, the mean over all patterns; their uncertainty is unknown.
    """
    found: dict[str, Any] = {}
    if (drift := result.drift) is not None:
        origin = Origin.ESTIMATED if drift.applied else Origin.UNDECIDED
        found["drift_A"] = _entry(drift.drift_A, origin, [float(number) for number in drift.uncertainty_A])
    if result.refined is not None and (tilts := result.refined.tilts_mrad) is not None:
        for name, tilt in zip(TILTS, np.mean(tilts, axis=0).reshape(3, 2), strict=True):
            if tilt.any():
                found[name] = _entry(tilt, Origin.ESTIMATED, None)
    return found


def _entry(value: Any, origin: Origin, uncertainty: list[float] | None) -> dict[str, Any]:
    return {"value": [float(number) for number in value], "origin": str(origin), "uncertainty": uncertainty}
