"""Commands that estimate quantities of the scan being shown from its data alone: orientation, defocus, pixel, descan.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.calibrate.descan.block_fits import LEAST_EXTENT_PX
from ptylive.engine.calibrate.descan.measurement import remaining
from ptylive.engine.calibrate.independent import Candidate, independent_defocus, orientations
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.strength.linearity import strength_of
from ptylive.pictures.colours import levels, to_indices
from ptylive.pictures.sampling import reduced
from ptylive.pictures.snapshot import png
from ptylive.schema import Calibration, CommandError, Origin
from ptylive.schema.detector import Descan
from ptylive.schema.units import depth_of_focus_A, mrad_to_invA
from ptylive.server.commands.library_commands import Stage
from ptylive.server.wire.messages import array_to_plain

THUMBNAIL = 96
"""Longest side of the picture of an orientation, in pixels."""
DEVIATIONS = 3.0
"""Number of standard deviations within which a value and its estimate agree."""
SHARE_OF_DEPTH = 0.5
"""Fraction of the depth of focus within which two defoci look the same."""
SHARE_OF_PIXEL = 0.03
"""Relative difference within which detector pixels agree: the specimen's own contrast shifts the edge of the disc."""


class IndependentCommands:
    """The commands of :mod:`ptylive.server.commands.independent_commands`, on the scan that ``stage`` shows."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def _inputs(self) -> tuple[Calibration, Store]:
        scan = self._stage.shown
        if scan is None:
            raise CommandError("there is no scan yet")
        with scan.lock:
            store = None if scan.engine is None else scan.engine.store
            if store is None:
                hint = (
                    "wait for frames; for a scan from the library, change or estimate a value to have its frames read"
                )
                raise CommandError("no frames of this scan are in memory", hint)
            return scan.calibration, store.snapshot()

    def command_orientations(self) -> dict[str, Any]:
        """Return the eight possible relative orientations of scan and detector, likeliest first, each with its iDPC."""
        return {"orientations": [_plain(candidate) for candidate in orientations(*self._inputs())]}

    def command_align(
        self, bin_px: float | None = None, order: int = 1, reference: str = "mean", rounds: int = 3, free: bool = False
    ) -> dict[str, Any]:
        """Return shifts of the images seen by bins of the bright field, and the aberrations that explain them.

        Same as reported by ``ptylive align``; ``values`` are for `configure`, ``png`` is the picture.
        """
        from ptylive.application.analysis.image_shifts import align_store
        from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions, reference_of

        wanted = AlignmentOptions(bin_px, order, reference_of(reference), rounds, near=not free)
        calibration, store = self._inputs()
        found = align_store(store, calibration, wanted)
        picture = np.frombuffer(png(found.picture()), dtype=np.uint8)
        return {**found.to_plain(), "values": found.values, "png": array_to_plain(picture)}

    def command_estimates(self) -> dict[str, Any]:
        """Estimate given values from the data: {name: {value, uncertainty, agrees}}; C10 is that of the plane seen.

        For descan_px also ``apart_px``: the largest distance over the field between patterns and their given positions.
        ``modulation``: variation of the bright field over the scan; ``explained``: the fraction of it that a phase
        explains, where that matters; null if they cannot be determined.
        """
        calibration, store = self._inputs()
        found = {"C10": defocus_beside(calibration, store), "detector_pixel_invA": pixel_beside(calibration)}
        found["descan_px"] = descan_beside(calibration, store)
        estimates = {name: estimate for name, estimate in found.items() if estimate is not None}
        strength = strength_of(store, calibration)
        return {"estimates": estimates, "modulation": strength.modulation, "explained": strength.explained}


def defocus_beside(calibration: Calibration, store: Store) -> dict[str, Any] | None:
    """Compare a given defocus with the one the bright field shows; None if none was given or nothing is seen."""
    if calibration.origin("C10") is not Origin.GIVEN:
        return None
    found = independent_defocus(calibration, store)
    if found is None:
        return None
    used = float(calibration.get("C10") or 0.0) + float(calibration.get("depth_A") or 0.0)
    angle, wavelength = calibration.get("convergence_semiangle_mrad"), calibration.wavelength_A
    depth_A = 0.0 if angle is None or wavelength is None else depth_of_focus_A(wavelength, float(angle))
    within = max(DEVIATIONS * (found.uncertainty or 0.0), SHARE_OF_DEPTH * depth_A)
    return estimate_to_plain(float(found.value), found.uncertainty, agrees=abs(float(found.value) - used) <= within)


def pixel_beside(calibration: Calibration) -> dict[str, Any] | None:
    """Compare a given detector pixel with the one from disc and semi-angle; None if any of them is missing."""
    angle, wavelength = calibration.get("convergence_semiangle_mrad"), calibration.wavelength_A
    disc, given = calibration.entries.get("disc_radius_px"), calibration.entries.get("detector_pixel_invA")
    if given is None or given.origin is not Origin.GIVEN or angle is None or wavelength is None:
        return None
    if disc is None or disc.origin is not Origin.ESTIMATED:
        return None
    value = mrad_to_invA(float(angle), wavelength) / float(disc.value)
    doubt = value * (disc.uncertainty or 0.0) / float(disc.value)
    within = max(DEVIATIONS * doubt, SHARE_OF_PIXEL * value)
    return estimate_to_plain(value, doubt, agrees=abs(value - float(given.value)) <= within)


def descan_beside(calibration: Calibration, store: Store) -> dict[str, Any] | None:
    """Compare a given descan with the one the centre of mass shows; None if none was given or nothing is seen.

    They agree if the remaining descan disturbs no map.
    """
    given, radius_px = calibration.entries.get("descan_px"), calibration.get("disc_radius_px")
    if given is None or given.origin is not Origin.GIVEN or radius_px is None:
        return None
    remainder = remaining(store, float(radius_px))
    if remainder is None:
        return None
    found, doubt = remainder.plus(store.descan), remainder.uncertainty_px
    apart_px = found.minus(Descan.of(tuple(given.value))).smooth.extent_px
    within = max(LEAST_EXTENT_PX, DEVIATIONS * (doubt or 0.0))
    return {**estimate_to_plain(list(found.numbers), doubt, agrees=apart_px <= within), "apart_px": apart_px}


def estimate_to_plain(value: float | list[float], uncertainty: float | None, *, agrees: bool) -> dict[str, Any]:
    """Return one estimate in the form of the reply."""
    return {"value": value, "uncertainty": uncertainty, "agrees": agrees}


def _plain(candidate: Candidate) -> dict[str, Any]:
    small, _ = reduced(candidate.phase, None, THUMBNAIL)
    shades = np.asarray(to_indices(small, levels(small, None)), dtype=np.uint8)
    return {
        "rotation_deg": candidate.rotation_deg,
        "detector_transform": candidate.transform,
        "curl": candidate.curl,
        "correlation": candidate.correlation,
        "in_use": candidate.in_use,
        "picture": array_to_plain(shades),
    }
