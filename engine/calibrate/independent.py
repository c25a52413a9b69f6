"""What the data say by themselves, whatever was given: orientation and defocus.

Handedness and rotation together have eight ways that differ by quarter turns and a transposition (the symmetries of a
square); a flip is a transposition and a quarter turn. Of each handedness the centre of mass gives the angle with the
least curl (docs/theory/calibration.md); a quarter turn more exchanges curl and divergence, half a turn reverses the
phase, which the dark field tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptylive.engine.calibrate.rotation import RotationFit, fit_rotation, highest_frequency, spread_deg
from ptylive.engine.calibrate.scan import LEAST_POINTS, calibrate_scan
from ptylive.engine.calibrate.sign import detail_correlation
from ptylive.engine.descan import descan_of
from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.maps.com import along_scan_axes, center_of_mass
from ptylive.engine.imaging.maps.idpc import integrated_dpc
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.detector import parse_transform
from ptylive.schema.model import BoolArray, DoubleArray, FloatArray

MOST_SPREAD_DEG = 10.0
"""Halves of a scan that agree less well about the rotation tell nothing."""
SAME_DEG = 45.0
"""Nearer than this to the rotation in use: the same of four quarter turns."""


@dataclass(frozen=True)
class Candidate:
    """One way in which scan and detector may lie to each other.

    ``curl``: share of the centre of mass's power that is no gradient; 0 for the right one. ``correlation`` of its phase
    with the dark field: positive where atoms are bright. ``phase`` (rows, cols): integrated DPC, arbitrary units.
    """

    rotation_deg: float
    transform: str
    curl: float
    correlation: float
    in_use: bool
    phase: FloatArray


@dataclass(frozen=True)
class MeasuredRotation:
    """What the centre of mass says of the rotation, with the detector transform in use taken for right.

    ``fit.transposed``: rows and columns of the patterns are exchanged besides. ``spread_deg``: half the difference
    between both halves of the scan.
    """

    fit: RotationFit
    spread_deg: float | None

    @property
    def trusted(self) -> bool:
        """Whether angle and handedness stand out, in both halves alike."""
        return self.fit.angle_trusted and (self.spread_deg is None or self.spread_deg < MOST_SPREAD_DEG)


def measured_rotation(calibration: Calibration, store: Store) -> MeasuredRotation | None:
    """The rotation as the scan shows it, whatever was given; None where the scan is too small, or has no step."""
    visited, step_A = store.visited, store.header.scan.step_A
    if visited.sum() < LEAST_POINTS or min(visited.shape) <= 2 or step_A is None:
        return None
    moments = center_of_mass(store.moments_without(descan_of(calibration)), visited)
    com, dark = turned_to_detector_axes(moments, calibration.transform), _dark_field(store)

    def fitted(part: BoolArray, transposed: bool | None) -> RotationFit:
        highest = highest_frequency(calibration)
        return fit_rotation(np.where(part, com, 0.0), dark, part, step_A, highest, transposed=transposed)

    whole = fitted(visited, None)
    return MeasuredRotation(whole, spread_deg(lambda half: fitted(half, whole.transposed), visited))


def orientations(calibration: Calibration, store: Store) -> list[Candidate]:
    """The eight, the likeliest first; none where the scan is too small, or has no step.

    The likeliest has the least curl, then the phase that is bright where the dark field is.
    """
    visited, step_A = store.visited, store.header.scan.step_A
    if visited.sum() < LEAST_POINTS or min(visited.shape) <= 2 or step_A is None:
        return []
    words = calibration.transform
    moments = center_of_mass(store.moments_without(descan_of(calibration)), visited)
    com = np.where(visited, turned_to_detector_axes(moments, words), 0.0)
    dark = _dark_field(store)
    found = []
    for transposed in (False, True):
        fit = fit_rotation(com, dark, visited, step_A, highest_frequency(calibration), transposed=transposed)
        field = com[::-1] if transposed else com
        for quarter in range(4):
            angle_deg = wrapped(fit.rotation_deg + 90.0 * quarter)
            phase = integrated_dpc(along_scan_axes(field, angle_deg), step_A, visited)
            found.append(
                Candidate(
                    angle_deg,
                    with_transposition(words) if transposed else words,
                    fit.curl if quarter % 2 == 0 else 1.0 - fit.curl,
                    detail_correlation(phase, dark, visited),
                    not transposed and abs(wrapped(angle_deg - calibration.rotation_deg)) <= SAME_DEG,
                    phase.astype(np.float32),
                )
            )
    return sorted(found, key=lambda one: (round(one.curl, 6), -one.correlation))


def independent_defocus(calibration: Calibration, store: Store) -> Quantity | None:
    """C10 in Å of the plane that scatters, as the bright field shows it under the orientation in use.

    None where it does not tell. Of a specimen that is not thin that plane lies below the entrance.
    """
    kept = {
        name: quantity
        for name, quantity in calibration.entries.items()
        if name not in ("C10", "C12a", "C12b", "depth_A")
    }
    for name, value in (("rotation_deg", calibration.rotation_deg), ("detector_transform", calibration.transform)):
        kept[name] = Quantity(value, Origin.GIVEN)
    found = calibrate_scan(Calibration(kept), store).entries.get("C10")
    return found if found is not None and found.origin is Origin.ESTIMATED else None


def _dark_field(store: Store) -> DoubleArray:
    """(rows, cols)"""
    return np.asarray(store.per_frame(store.regions)[:, REGIONS.index("dark")].reshape(store.shape))


def wrapped(angle_deg: float) -> float:
    """The same angle in (-180, 180]."""
    return 180.0 - (180.0 - angle_deg) % 360.0


def with_transposition(words: str) -> str:
    """The transform of a detector whose patterns are transposed besides, in the frame that it leads to."""
    known: Sequence[str] = parse_transform(words)
    known = known[1:] if known[:1] == ("transpose",) else ("transpose", *known)
    return "+".join(known) or "none"
