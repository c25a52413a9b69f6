"""What a refinement found that the microscope could change, beside aberrations: drift and tilts, with their doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.schema import Origin

if TYPE_CHECKING:
    from ptylive.engine.refine.results.refinement_result import RefineResult

TILTS = ("tilt_before_mrad", "tilt_inside_mrad", "tilt_behind_mrad")
"""Of the beam before the specimen, of the specimen, and of the beam behind it."""


def found_values(result: RefineResult) -> dict[str, Any]:
    """{name: {value, origin, uncertainty}}, empty where neither was looked for.

    ``drift_A``: along (slow, fast) axis of the scan over the whole acquisition, Å, undecided where it is not more than
    chance shows. :data:`TILTS`: (row, column), mrad, the mean of all patterns; nobody knows their uncertainty.
    """
    found: dict[str, Any] = {}
    if (drift := result.drift) is not None:
        origin = Origin.ESTIMATED if drift.applied else Origin.UNDECIDED
        found["drift_A"] = _entry(drift.drift_A, origin, [float(one) for one in drift.uncertainty_A])
    if result.refined is not None and (tilts := result.refined.tilts_mrad) is not None:
        for name, tilt in zip(TILTS, np.mean(tilts, axis=0).reshape(3, 2), strict=True):
            if tilt.any():
                found[name] = _entry(tilt, Origin.ESTIMATED, None)
    return found


def _entry(value: Any, origin: Origin, uncertainty: list[float] | None) -> dict[str, Any]:
    return {"value": [float(one) for one in value], "origin": str(origin), "uncertainty": uncertainty}
