"""Second half of the calibration: how scan, detector and focus lie to each other, from what has arrived.

The centre of mass gives rotation and handedness near focus; the bright field itself gives defocus, astigmatism and,
where the centre of mass is blind, the rest. What was given is never touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.engine.calibrate.aberrations import (
    AberrationFit,
    Grid,
    Search,
    fit_aberrations,
)
from ptylive.engine.calibrate.criteria import Criteria
from ptylive.engine.calibrate.modulation import Modulation, is_sparse
from ptylive.engine.calibrate.rotation import RotationFit, fit_rotation
from ptylive.engine.calibrate.sign import phase_correlation, settles
from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.live.maps.com import center_of_mass
from ptylive.engine.live.reduction import REGIONS
from ptylive.engine.live.setting import Setting
from ptylive.engine.live.store import Store
from ptylive.schema import Calibration, MetadataError, Origin, Quantity
from ptylive.schema.model import BoolArray, DoubleArray

LEAST_POINTS = 64
"""Fewer visited points say nothing about the rotation."""
SAME_ANGLE_DEG = 15.0
"""A transposition is believed beside a given rotation only if its own angle agrees this well."""
HANDEDNESS_RATIO = 1.5
"""How much better one handedness must align the bright field to be believed."""
LEAST_EXPLAINED = 3.0
"""Explained energy, in what noise alone would explain (one part in the number of coefficients)."""


def calibrate_scan(calibration: Calibration, store: Store) -> Calibration:
    """Rotation, transposition, defocus and astigmatism where they were not given, with origin and uncertainty."""
    work = _Work(dict(calibration.entries), store)
    visited = store.visited
    if visited.sum() >= LEAST_POINTS and min(visited.shape) > 2 and store.arm.scan.step_A is not None:
        curl = work.from_centre_of_mass()
        work.from_bright_field(curl)
    work.entries.setdefault("rotation_deg", Quantity(0.0, Origin.DEFAULT))
    work.entries.setdefault("detector_transform", Quantity("none", Origin.DEFAULT))
    return Calibration(work.entries)


@dataclass
class _Work:
    """Calibration entries while they are being found."""

    entries: dict[str, Quantity]
    store: Store

    def given(self, name: str) -> bool:
        """Whether a value was stated by somebody."""
        return name in self.entries and self.entries[name].origin is Origin.GIVEN

    def value(self, name: str, default: object) -> object:
        """The value so far."""
        return self.entries[name].value if name in self.entries else default

    # -- centre of mass ---------------------------------------------------------------------------------------------

    def from_centre_of_mass(self) -> RotationFit | None:
        """Rotation and handedness from the curl; None when both are given."""
        if self.given("rotation_deg") and self.given("detector_transform"):
            return None
        words = str(self.value("detector_transform", "none"))
        visited = self.store.visited
        com = turned_to_detector_axes(center_of_mass(self.store.per_frame(self.store.moments), visited), words)
        handed = None if not self.given("detector_transform") else False
        whole = self._curl(com, visited, handed)
        if self.given("rotation_deg"):
            known = float(self.entries["rotation_deg"].value)
            if whole.angle_trusted and whole.transposed and _apart(whole.rotation_deg, known) < SAME_ANGLE_DEG:
                self.entries["detector_transform"] = Quantity("transpose", Origin.ESTIMATED)
            return whole
        if whole.angle_trusted:
            origin = Origin.ESTIMATED if whole.sign_trusted else Origin.UNDECIDED
            self.entries["rotation_deg"] = Quantity(whole.rotation_deg, origin, self._spread(com, whole))
            if handed is None:
                self.entries["detector_transform"] = Quantity(_word(whole.transposed), Origin.ESTIMATED)
        else:
            self.entries["rotation_deg"] = Quantity(0.0, Origin.UNDECIDED)
        return whole

    def _curl(self, com: DoubleArray, visited: BoolArray, transposed: bool | None) -> RotationFit:
        step = self.store.arm.scan.step_A or (1.0, 1.0)
        field = np.where(visited, com, 0.0)
        highest = _highest_frequency(Calibration(self.entries))
        return fit_rotation(field, self._dark_field, visited, step, highest, transposed=transposed)

    def _spread(self, com: DoubleArray, whole: RotationFit) -> float | None:
        """Half the difference between the angles of the upper and the lower half of the visited rows."""
        visited = self.store.visited
        rows = np.flatnonzero(visited.any(axis=1))
        if len(rows) < 8:
            return None
        upper = np.arange(visited.shape[0])[:, None] < rows[len(rows) // 2]
        halves = (visited & upper, visited & ~upper)
        angles = [self._curl(com, half, whole.transposed).rotation_deg for half in halves]
        return 0.5 * abs((angles[0] - angles[1] + 90) % 180 - 90)

    @property
    def _dark_field(self) -> DoubleArray:
        dark = self.store.per_frame(self.store.regions)[:, REGIONS.index("dark")]
        return np.asarray(dark.reshape(self.store.shape))

    # -- bright field -----------------------------------------------------------------------------------------------

    def from_bright_field(self, curl: RotationFit | None) -> None:
        """Defocus and astigmatism, and the rotation and handedness that the centre of mass left open."""
        rotation_open = not self.given("rotation_deg") and not (curl is not None and curl.angle_trusted)
        if self.given("C10") and not rotation_open:
            return
        try:
            setting = self.setting()
        except MetadataError:
            return
        step = setting.step_A
        modulation = Modulation.of(self.store, step, setting.probe.semiangle_invA)
        if modulation is None:
            return
        criteria = Criteria(modulation, setting, self._higher())
        known = float(self.entries["rotation_deg"].value) if self.given("rotation_deg") else None
        search = Search.of(criteria, known)
        if self.given("C10"):
            search = search.at_defocus(float(self.entries["C10"].value))
        grid = Grid.of(criteria, search)
        if not self.given("detector_transform") and not (curl is not None and curl.angle_trusted):
            criteria, grid = self._handed(criteria, grid, search)
        fit = fit_aberrations(criteria, search, grid, sparse=is_sparse(step, setting.probe.semiangle_invA))
        if fit.explained * setting.basis.count < LEAST_EXPLAINED:
            return
        self._adopt(fit, curl)

    def _higher(self) -> dict[str, float]:
        """Aberrations beyond defocus and astigmatism that are known."""
        low = ("C10", "C12a", "C12b")
        return {name: v for name, v in Calibration(self.entries).aberrations.items() if name not in low}

    def setting(self) -> Setting:
        """The scan as the filters see it with the entries so far. Raises MetadataError naming what is missing."""
        calibration = Calibration(self.entries)
        step = calibration.require("scan_step_A", "phase imaging")
        arm = self.store.arm
        shapes = (arm.detector_shape, arm.scan.require_shape())
        return Setting.of(calibration, self.store.reduction.basis, *shapes, (float(step[0]), float(step[1])))

    def _handed(self, criteria: Criteria, grid: Grid, search: Search) -> tuple[Criteria, Grid]:
        """The handedness that aligns the bright field clearly better, and its entry."""
        other = criteria.transposed()
        mirrored = Grid.of(other, search)
        ratio = max(grid.best, mirrored.best) / max(min(grid.best, mirrored.best), 1e-30)
        transposed = mirrored.best > grid.best and ratio >= HANDEDNESS_RATIO
        origin = Origin.ESTIMATED if ratio >= HANDEDNESS_RATIO else Origin.UNDECIDED
        self.entries["detector_transform"] = Quantity(_word(transposed), origin)
        return (other, mirrored) if transposed else (criteria, grid)

    def _adopt(self, fit: AberrationFit, curl: RotationFit | None) -> None:
        """Settle the half turn and enter what was found; the bright field's angle is the better one of the two."""
        origin = Origin.ESTIMATED
        if not self.given("rotation_deg") and not self.given("C10"):
            fit, origin = self._upright(fit, curl)
        if not self.given("rotation_deg"):
            angle = 180.0 - (180.0 - fit.rotation_deg) % 360.0
            self.entries["rotation_deg"] = Quantity(angle, origin, fit.rotation_uncertainty_deg)
        if not self.given("C10"):
            for name, value in fit.aberrations.items():
                if not self.given(name):
                    self.entries[name] = Quantity(value, origin, fit.uncertainty_A)

    def _upright(self, fit: AberrationFit, curl: RotationFit | None) -> tuple[AberrationFit, Origin]:
        """Of the pair that a weak phase object cannot tell apart, the one with denser matter positive."""
        found = {name: Quantity(value, Origin.ESTIMATED) for name, value in fit.aberrations.items()}
        rotation = Quantity(fit.rotation_deg, Origin.ESTIMATED)
        setting = _Work({**self.entries, **found, "rotation_deg": rotation}, self.store).setting()
        correlation = phase_correlation(self.store, setting, self._dark_field)
        if settles(correlation, int(self.store.visited.sum())):
            return (fit if correlation > 0 else fit.turned()), Origin.ESTIMATED
        if curl is not None and curl.angle_trusted and curl.sign_trusted:
            near = _apart(fit.rotation_deg, curl.rotation_deg) < 90.0
            return (fit if near else fit.turned()), Origin.ESTIMATED
        # nothing decides: underfocus is what most people work at
        return (fit if fit.aberrations["C10"] <= 0 else fit.turned()), Origin.UNDECIDED


def _word(transposed: bool) -> str:
    return "transpose" if transposed else "none"


def _apart(one_deg: float, other_deg: float) -> float:
    """Angle between two directions, degrees."""
    return abs((one_deg - other_deg + 180.0) % 360.0 - 180.0)


def _highest_frequency(calibration: Calibration) -> float:
    """1.2 times the aperture radius in 1/Å where it is known: no phase contrast lies beyond."""
    wavelength, semiangle = calibration.wavelength_A, calibration.get("convergence_semiangle_mrad")
    if wavelength is None or semiangle is None:
        return math.inf
    return 1.2 * float(semiangle) * 1e-3 / wavelength
