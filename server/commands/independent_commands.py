"""Commands that ask the data of the scan that is shown, whatever was given: orientation, defocus, pixel, descan.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.calibrate.block_fits import LEAST_EXTENT_PX
from ptylive.engine.calibrate.descan import remaining
from ptylive.engine.calibrate.independent import Candidate, independent_defocus, orientations
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.strength.linearity import strength_of
from ptylive.engine.refine.tuning.parameter_search import focal_depth_A
from ptylive.pictures.colours import levels, to_indices
from ptylive.pictures.sampling import reduced
from ptylive.pictures.snapshot import png
from ptylive.schema import Calibration, CommandError, Origin
from ptylive.schema.detector import Descan
from ptylive.schema.units import mrad_to_invA
from ptylive.server.commands.library_commands import Stage
from ptylive.server.wire.messages import array_to_plain

THUMBNAIL = 96
"""Longest side of the picture of an orientation, pixels."""
DEVIATIONS = 3.0
"""Standard deviations within which a value and its estimate agree."""
SHARE_OF_DEPTH = 0.5
"""Of the depth of focus: a defocus this near looks the same."""
SHARE_OF_PIXEL = 0.03
"""A detector pixel this near agrees: a specimen's own contrast moves the edge of its disc."""


class IndependentCommands:
    """The commands of :mod:`ptylive.server.commands.independent_commands`, on the scan that ``stage`` shows."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def _looked_at(self) -> tuple[Calibration, Store]:
        scan = self._stage.shown
        if scan is None:
            raise CommandError("there is no scan yet")
        with scan.lock:
            store = None if scan.engine is None else scan.engine.store
            if store is None:
                hint = "wait for frames; a scan of the library: change or estimate a value, then its frames are read"
                raise CommandError("no frames of this scan are in memory", hint)
            return scan.calibration, store.snapshot()

    def command_orientations(self) -> dict[str, Any]:
        """The eight ways in which scan and detector may lie to each other, the likeliest first, each with its iDPC."""
        return {"orientations": [_plain(one) for one in orientations(*self._looked_at())]}

    def command_align(
        self, bin_px: float | None = None, order: int = 1, reference: str = "mean", rounds: int = 3, free: bool = False
    ) -> dict[str, Any]:
        """Shifts of the images that bins of the bright field see, and the aberrations that explain them.

        As ``ptylive align`` tells them; ``values`` give them to `configure`, ``png`` is the picture.
        """
        from ptylive.application.analysis.image_shifts import align_store
        from ptylive.engine.calibrate.alignment.image_shifts import Alignment, reference_of

        wanted = Alignment(bin_px, order, reference_of(reference), rounds, near=not free)
        calibration, store = self._looked_at()
        found = align_store(store, calibration, wanted)
        picture = np.frombuffer(png(found.picture()), dtype=np.uint8)
        return {**found.told(), "values": found.values, "png": array_to_plain(picture)}

    def command_estimates(self) -> dict[str, Any]:
        """What the data say of values that were given: {name: {value, uncertainty, agrees}}; C10 of the plane seen.

        Of descan_px besides ``apart_px``: how far patterns lie from where the given one says, at most over the field.
        ``modulation``: by how much the bright field changes over the scan; ``explained``: which part of that a phase
        explains, where that matters; null where they cannot be told.
        """
        calibration, store = self._looked_at()
        found = {"C10": defocus_beside(calibration, store), "detector_pixel_invA": pixel_beside(calibration)}
        found["descan_px"] = descan_beside(calibration, store)
        estimates = {name: told for name, told in found.items() if told is not None}
        strength = strength_of(store, calibration)
        return {"estimates": estimates, "modulation": strength.modulation, "explained": strength.explained}


def defocus_beside(calibration: Calibration, store: Store) -> dict[str, Any] | None:
    """The defocus that the bright field shows beside one that was given; None where it was not, or nothing is seen."""
    if calibration.origin("C10") is not Origin.GIVEN:
        return None
    seen = independent_defocus(calibration, store)
    if seen is None:
        return None
    used = float(calibration.get("C10") or 0.0) + float(calibration.get("depth_A") or 0.0)
    angle, wavelength = calibration.get("convergence_semiangle_mrad"), calibration.wavelength_A
    depth_A = 0.0 if angle is None or wavelength is None else focal_depth_A(wavelength, float(angle))
    within = max(DEVIATIONS * (seen.uncertainty or 0.0), SHARE_OF_DEPTH * depth_A)
    return told(float(seen.value), seen.uncertainty, agrees=abs(float(seen.value) - used) <= within)


def pixel_beside(calibration: Calibration) -> dict[str, Any] | None:
    """The detector pixel that disc and semi-angle say beside one that was given; None where one of them is missing."""
    angle, wavelength = calibration.get("convergence_semiangle_mrad"), calibration.wavelength_A
    disc, given = calibration.entries.get("disc_radius_px"), calibration.entries.get("detector_pixel_invA")
    if given is None or given.origin is not Origin.GIVEN or angle is None or wavelength is None:
        return None
    if disc is None or disc.origin is not Origin.ESTIMATED:
        return None
    value = mrad_to_invA(float(angle), wavelength) / float(disc.value)
    doubt = value * (disc.uncertainty or 0.0) / float(disc.value)
    within = max(DEVIATIONS * doubt, SHARE_OF_PIXEL * value)
    return told(value, doubt, agrees=abs(value - float(given.value)) <= within)


def descan_beside(calibration: Calibration, store: Store) -> dict[str, Any] | None:
    """The descan that the centre of mass shows beside one that was given; None where it was not, or nothing is seen.

    They agree where what is left of it disturbs no map.
    """
    given, radius_px = calibration.entries.get("descan_px"), calibration.get("disc_radius_px")
    if given is None or given.origin is not Origin.GIVEN or radius_px is None:
        return None
    left = remaining(store, float(radius_px))
    if left is None:
        return None
    seen, doubt = left.plus(store.descan), left.uncertainty_px
    apart_px = seen.minus(Descan.of(tuple(given.value))).smooth.extent_px
    within = max(LEAST_EXTENT_PX, DEVIATIONS * (doubt or 0.0))
    return {**told(list(seen.numbers), doubt, agrees=apart_px <= within), "apart_px": apart_px}


def told(value: float | list[float], uncertainty: float | None, *, agrees: bool) -> dict[str, Any]:
    """One estimate as the reply has it."""
    return {"value": value, "uncertainty": uncertainty, "agrees": agrees}


def _plain(one: Candidate) -> dict[str, Any]:
    small, _ = reduced(one.phase, None, THUMBNAIL)
    shades = np.asarray(to_indices(small, levels(small, None)), dtype=np.uint8)
    return {
        "rotation_deg": one.rotation_deg,
        "detector_transform": one.transform,
        "curl": one.curl,
        "correlation": one.correlation,
        "in_use": one.in_use,
        "picture": array_to_plain(shades),
    }
