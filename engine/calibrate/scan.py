"""Second half of the calibration: how the scan lies on the detector, from the centre of mass of what arrived."""

from __future__ import annotations

import numpy as np

from ptylive.engine.calibrate.rotation import RotationFit, fit_rotation
from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.live.maps.com import center_of_mass
from ptylive.engine.live.reduction import REGIONS
from ptylive.engine.live.store import Store
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.model import BoolArray, DoubleArray

LEAST_POINTS = 64
"""Fewer visited points say nothing about the rotation."""
SAME_ANGLE_DEG = 15.0
"""A transposition is believed beside a given rotation only if its own angle agrees this well."""


def calibrate_scan(calibration: Calibration, store: Store) -> Calibration:
    """Rotation and transposition where they were not given, with origin and uncertainty."""
    entries = dict(calibration.entries)
    missing_rotation = "rotation_deg" not in entries
    missing_transform = "detector_transform" not in entries
    entries.setdefault("rotation_deg", Quantity(0.0, Origin.DEFAULT))
    entries.setdefault("detector_transform", Quantity("none", Origin.DEFAULT))
    visited = store.visited
    enough = visited.sum() >= LEAST_POINTS and min(visited.shape) > 2 and store.arm.scan.step_A is not None
    if not (missing_rotation or missing_transform) or not enough:
        return Calibration(entries)
    words = str(entries["detector_transform"].value)
    com = turned_to_detector_axes(center_of_mass(store.per_frame(store.moments), visited), words)
    fitter = _Fitter(com, store, q_max=_highest_frequency(calibration))
    if missing_rotation:
        _estimate_rotation(entries, fitter, handed=missing_transform)
    else:
        fit = fitter.fit(visited, None)
        agrees = abs((fit.rotation_deg - calibration.rotation_deg + 180) % 360 - 180) < SAME_ANGLE_DEG
        if fit.angle_trusted and fit.transposed and agrees:
            entries["detector_transform"] = Quantity("transpose", Origin.ESTIMATED)
    return Calibration(entries)


def _estimate_rotation(entries: dict[str, Quantity], fitter: _Fitter, *, handed: bool) -> None:
    """Fill in the angle (and, if ``handed``, the transposition) when the fit stands out, else say it doesn't."""
    visited = fitter.store.visited
    fit = fitter.fit(visited, None if handed else False)
    if not fit.angle_trusted:
        entries["rotation_deg"] = Quantity(0.0, Origin.UNDECIDED)
        return
    origin = Origin.ESTIMATED if fit.sign_trusted else Origin.UNDECIDED
    entries["rotation_deg"] = Quantity(fit.rotation_deg, origin, fitter.spread_deg(fit))
    if handed:
        entries["detector_transform"] = Quantity("transpose" if fit.transposed else "none", Origin.ESTIMATED)


class _Fitter:
    """The rotation fit on parts of one scan."""

    def __init__(self, com: DoubleArray, store: Store, q_max: float) -> None:
        self.com, self.store, self.q_max = com, store, q_max
        dark = store.per_frame(store.regions)[:, REGIONS.index("dark")]
        self.dark = dark.reshape(store.shape)

    def fit(self, visited: BoolArray, transposed: bool | None) -> RotationFit:
        """Fit on the visited points."""
        step = self.store.arm.scan.step_A or (1.0, 1.0)
        field = np.where(visited, self.com, 0.0)
        return fit_rotation(field, self.dark, visited, step, self.q_max, transposed=transposed)

    def spread_deg(self, whole: RotationFit) -> float | None:
        """Half the difference between the angles of the upper and the lower half of the visited rows."""
        visited = self.store.visited
        rows = np.flatnonzero(visited.any(axis=1))
        if len(rows) < 8:
            return None
        upper = np.arange(visited.shape[0])[:, None] < rows[len(rows) // 2]
        angles = [self.fit(part, whole.transposed).rotation_deg for part in (visited & upper, visited & ~upper)]
        return 0.5 * abs((angles[0] - angles[1] + 90) % 180 - 90)


def _highest_frequency(calibration: Calibration) -> float:
    """1.2 times the aperture radius in 1/Å where it is known: no phase contrast lies beyond."""
    wavelength, semiangle = calibration.wavelength_A, calibration.get("convergence_semiangle_mrad")
    if wavelength is None or semiangle is None:
        return float("inf")
    return 1.2 * float(semiangle) * 1e-3 / wavelength
