"""Orientation and defocus as the data alone show them, whatever was given.

Handedness and rotation together have eight possibilities that differ by quarter turns and a transposition (the
symmetries of a square); a flip is a transposition and a quarter turn. For each handedness the centre of mass gives the
angle with the least curl (docs/theory/calibration.md). A further quarter turn exchanges curl and divergence; half a
turn reverses the phase, which the dark field detects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ptylive.engine.calibrate.rotation import RotationFit, fit_rotation, highest_frequency, spread_deg
from ptylive.engine.calibrate.scan import LEAST_POINTS, MOST_OF_IT, calibrate_scan
from ptylive.engine.calibrate.sign import agreement, contrast_of
from ptylive.engine.descan import descan_of
from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps.com import along_scan_axes, center_of_mass
from ptylive.engine.imaging.maps.idpc import integrated_dpc
from ptylive.schema import Calibration, LiveMap, MetadataError, Origin, Quantity
from ptylive.schema.detector import parse_transform
from ptylive.schema.maps import TOO_THICK
from ptylive.schema.model import BoolArray, DoubleArray, FloatArray

MOST_SPREAD_DEG = 10.0
"""Disagreement of the halves of a scan about the rotation above which it is not trusted."""
MOST_COEFFICIENTS = 2**26
"""Number of coefficients of a scan above which their spectra, 0.5 GB, are not made to check a given value."""
SAME_DEG = 45.0
"""Largest distance from the rotation in use at which an angle is the same one of four quarter turns."""


@dataclass(frozen=True)
class Candidate:
    """One possible orientation of the scan relative to the detector.

    ``curl``: share of the centre of mass's power that is not a gradient; 0 for the right one. ``correlation`` of its
    phase with the dark field: positive if atoms are bright. ``phase`` (rows, cols): integrated DPC, arbitrary units.
    """

    rotation_deg: float
    transform: str
    curl: float
    correlation: float
    in_use: bool
    phase: FloatArray


@dataclass(frozen=True)
class MeasuredRotation:
    """Rotation measured by the centre of mass, assuming that the detector transform in use is right.

    ``fit.transposed``: rows and columns of the patterns are additionally exchanged. ``spread_deg``: half the difference
    between the two halves of the scan.
    """

    fit: RotationFit
    spread_deg: float | None

    @property
    def trusted(self) -> bool:
        """Whether angle and handedness stand out, and both halves agree."""
        return self.fit.angle_trusted and (self.spread_deg is None or self.spread_deg < MOST_SPREAD_DEG)


def measured_rotation(calibration: Calibration, store: Store) -> MeasuredRotation | None:
    """Return the rotation shown by the scan, whatever was given; None if the scan is too small, or has no step."""
    visited, step_A = store.visited, store.header.scan.step_A
    if visited.sum() < LEAST_POINTS or min(visited.shape) <= 2 or step_A is None:
        return None
    moments = center_of_mass(store.moments_without(descan_of(calibration)), visited)
    com, dark = turned_to_detector_axes(moments, calibration.transform), _dark_field(store)

    def fitted(part: BoolArray, transposed: bool | None) -> RotationFit:
        highest = highest_frequency(calibration)
        return fit_rotation(np.where(part, com, 0.0), dark, part, step_A, highest, transposed=transposed)

    fit = fitted(visited, None)
    return MeasuredRotation(fit, spread_deg(lambda half: fitted(half, fit.transposed), visited))


def half_turn_given_by(calibration: Calibration) -> tuple[str, ...]:
    """Return which of rotation and defocus were given: without either, the data determine the half turn."""
    out_of_focus = bool(calibration.get("C10"))
    given = {name for name in ("rotation_deg", "C10") if calibration.origin(name) is Origin.GIVEN}
    return tuple(sorted(given if out_of_focus else given - {"C10"}))


def half_turn_is_comparable(calibration: Calibration, store: Store, maps: Iterable[LiveMap]) -> bool:
    """Return whether the dark field can be compared with the phase, whose sign a given value determines.

    Rotation and defocus do: of the two, either determines the other, up to a half turn that changes the sign.

    False for part of a scan, a small or very large one, or one without a step; for a specimen that is too thick for one
    of its ``maps``, whose dark field may be dark at the columns; or if phase imaging lacks something.
    """
    return _compared(calibration, store, maps) is not None


def contradicts_half_turn(calibration: Calibration, store: Store, maps: Iterable[LiveMap]) -> bool:
    """Return whether :func:`half_turn_is_comparable`, and the dark field shows the opposite of the phase."""
    conditions = _compared(calibration, store, maps)
    if conditions is None:
        return False
    return contrast_of(store, conditions, _dark_field(store), undersampled=True, ended=True).is_inverted


def _compared(calibration: Calibration, store: Store, maps: Iterable[LiveMap]) -> ImagingConditions | None:
    """Return what the filters of the phase to be compared depend on; None if it is not comparable."""
    visited, step_A = store.visited, store.header.scan.step_A
    if not half_turn_given_by(calibration):
        return None
    if visited.sum() < LEAST_POINTS or visited.mean() < MOST_OF_IT or min(visited.shape) <= 2 or step_A is None:
        return None
    if store.bins.size > MOST_COEFFICIENTS:
        return None
    if any(live_map.caveat.startswith(TOO_THICK) for live_map in maps):
        return None
    try:
        shapes = (store.header.detector_shape, store.header.scan.require_shape())
        return ImagingConditions.of(calibration, store.reduction.basis, *shapes, step_A)
    except MetadataError:
        return None


def orientations(calibration: Calibration, store: Store) -> list[Candidate]:
    """Return the eight orientations, the likeliest first; none if the scan is too small, or has no step.

    They are sorted by least curl, then by correlation of the phase with the dark field.
    """
    visited, step_A = store.visited, store.header.scan.step_A
    if visited.sum() < LEAST_POINTS or min(visited.shape) <= 2 or step_A is None:
        return []
    transform = calibration.transform
    moments = center_of_mass(store.moments_without(descan_of(calibration)), visited)
    com = np.where(visited, turned_to_detector_axes(moments, transform), 0.0)
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
                    with_transposition(transform) if transposed else transform,
                    fit.curl if quarter % 2 == 0 else 1.0 - fit.curl,
                    agreement(phase, dark, visited).correlation,
                    not transposed and abs(wrapped(angle_deg - calibration.rotation_deg)) <= SAME_DEG,
                    phase.astype(np.float32),
                )
            )
    return sorted(found, key=lambda candidate: (round(candidate.curl, 6), -candidate.correlation))


def independent_defocus(calibration: Calibration, store: Store) -> Quantity | None:
    """Return C10 in Å of the scattering plane, as shown by the bright field for the orientation in use.

    None if it cannot be determined. For a specimen that is not thin, this plane lies below the entrance.
    """
    entries = {
        name: quantity
        for name, quantity in calibration.entries.items()
        if name not in ("C10", "C12a", "C12b", "depth_A")
    }
    for name, value in (("rotation_deg", calibration.rotation_deg), ("detector_transform", calibration.transform)):
        entries[name] = Quantity(value, Origin.GIVEN)
    found = calibrate_scan(Calibration(entries), store).entries.get("C10")
    return found if found is not None and found.origin is Origin.ESTIMATED else None


def _dark_field(store: Store) -> DoubleArray:
    """Return the dark field (rows, cols)."""
    return np.asarray(store.per_frame(store.regions)[:, REGIONS.index("dark")].reshape(store.shape))


def wrapped(angle_deg: float) -> float:
    """Return the equivalent angle in (-180, 180]."""
    return 180.0 - (180.0 - angle_deg) % 360.0


def with_transposition(transform: str) -> str:
    """Return the transform of a detector whose patterns are additionally transposed, in the frame it leads to."""
    operations: Sequence[str] = parse_transform(transform)
    operations = operations[1:] if operations[:1] == ("transpose",) else ("transpose", *operations)
    return "+".join(operations) or "none"
