"""Second half of the calibration: orientation of scan and detector, and focus, from the data that have arrived.

The centre of mass gives rotation and handedness near focus. The bright field itself gives defocus, astigmatism and the
rest wherever the centre of mass is blind. Given values are never changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.backend.shares import linear_algebra_on
from ptylive.engine.calibrate.aberrations import (
    LOW,
    AberrationFit,
    Grid,
    Search,
    fit_aberrations,
    fit_by_energy,
    fit_near,
    in_focus_unless_significant,
    is_below,
)
from ptylive.engine.calibrate.aliases.all_aliases import CurrentFit, UndersampledScan, verdict_on
from ptylive.engine.calibrate.aliases.best import fit_among_aliases
from ptylive.engine.calibrate.aliases.joint import JointCriteria
from ptylive.engine.calibrate.aliases.rivals import note_rivals
from ptylive.engine.calibrate.alignment.parallax import align
from ptylive.engine.calibrate.criteria import Criteria
from ptylive.engine.calibrate.descan.measurement import find_descan
from ptylive.engine.calibrate.dose import with_dose
from ptylive.engine.calibrate.higher import fit_higher
from ptylive.engine.calibrate.modulation import Modulation, is_sparse
from ptylive.engine.calibrate.rotation import (
    SAME_ANGLE_DEG,
    RotationFit,
    apart_deg,
    confirmed_by_curl,
    fit_rotation,
    highest_frequency,
    spread_deg,
    with_denser_positive,
)
from ptylive.engine.calibrate.sign import contrast_of
from ptylive.engine.descan import descan_of
from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps.com import center_of_mass
from ptylive.schema import Calibration, MetadataError, Origin, Quantity
from ptylive.schema.model import BoolArray, DoubleArray

LEAST_POINTS = 64
"""Number of visited points below which the rotation is not determined."""
HANDEDNESS_RATIO = 1.5
"""Ratio by which one handedness must align the bright field better to be believed."""
LEAST_DEPTH_A, MOST_DEPTH_A = 10.0, 500.0
"""Range of depths below the entrance plane that a specimen may have."""
MIDDLE_DEPTH_A = 200.0
"""Depth of the middle of the thickest crystals: a greater depth means a thin specimen with the other half turn."""
HALF_TURN_RATIO = 1.1
"""Ratio by which one half turn must explain more of the scan to be believed."""
WELL_EXPLAINED = 0.4
"""Share of the energy above which a fit among aliases of finer structure waits for the end of the scan."""
LEAST_EXPLAINED = 3.0
"""Explained energy, in units of what noise alone would explain (1 over the number of coefficients)."""
MOST_OF_IT = 0.95
"""Share of a scan that must have arrived before all trial optics are compared by explained energy (takes seconds)."""


@linear_algebra_on(1)  # thousands of matrices too small for several threads
def calibrate_scan(calibration: Calibration, store: Store) -> Calibration:
    """Add rotation, transposition, defocus and astigmatism if not given, with origin and uncertainty."""
    work = _Work(dict(calibration.entries), store)
    work.from_moments()
    if store.visited.sum() >= LEAST_POINTS and min(store.visited.shape) > 2 and store.header.scan.step_A is not None:
        curl = work.from_centre_of_mass()
        work.from_bright_field(curl)
    work.entries.setdefault("rotation_deg", Quantity(0.0, Origin.DEFAULT))
    work.entries.setdefault("detector_transform", Quantity("none", Origin.DEFAULT))
    return with_dose(Calibration(work.entries), store)


@dataclass
class _Work:
    """Calibration entries while they are being determined."""

    entries: dict[str, Quantity]
    store: Store
    aligned: str = ""
    """Handedness that aligns the bright field clearly better than the other one, if any."""

    def given(self, name: str) -> bool:
        """Return whether a value was given."""
        return name in self.entries and self.entries[name].origin is Origin.GIVEN

    def value(self, name: str, default: Any) -> Any:
        """Return the value so far."""
        return self.entries[name].value if name in self.entries else default

    def from_moments(self) -> None:
        """Set the descan, if patterns wander more than the specimen can explain."""
        radius = float(self.value("disc_radius_px", 0.0))
        if not self.given("descan_px") and (found := find_descan(self.store, radius)) is not None:
            self.entries["descan_px"] = found

    # -- centre of mass ---------------------------------------------------------------------------------------------

    def from_centre_of_mass(self) -> RotationFit | None:
        """Set rotation and handedness from the curl; return None if both are given."""
        if self.given("rotation_deg") and self.given("detector_transform"):
            return None
        visited = self.store.visited
        moments = self.store.moments_without(descan_of(Calibration(self.entries)))
        com = turned_to_detector_axes(center_of_mass(moments, visited), self._hand)
        transposed = None if not self.given("detector_transform") else False
        fit = self.curl(com, visited, transposed)
        if self.given("rotation_deg"):
            known = float(self.entries["rotation_deg"].value)
            if fit.angle_trusted and fit.transposed and apart_deg(fit.rotation_deg, known) < SAME_ANGLE_DEG:
                self.entries["detector_transform"] = Quantity("transpose", Origin.ESTIMATED)
            return fit
        if fit.angle_trusted:
            origin = Origin.ESTIMATED if fit.sign_trusted else Origin.UNDECIDED
            spread = spread_deg(lambda half: self.curl(com, half, fit.transposed), visited)
            self.entries["rotation_deg"] = Quantity(fit.rotation_deg, origin, spread)
            if transposed is None:
                self.entries["detector_transform"] = Quantity(_word(fit.transposed), Origin.ESTIMATED)
        else:
            self.entries["rotation_deg"] = Quantity(0.0, Origin.UNDECIDED)
        return fit

    def curl(self, com: DoubleArray, visited: BoolArray, transposed: bool | None) -> RotationFit:
        """Return the rotation with the least curl of com (2, rows, cols); with ``transposed`` given, only the angle."""
        step = self.store.header.scan.step_A or (1.0, 1.0)
        field, highest = np.where(visited, com, 0.0), highest_frequency(Calibration(self.entries))
        return fit_rotation(field, self._dark_field, visited, step, highest, transposed=transposed)

    @property
    def _dark_field(self) -> DoubleArray:
        dark = self.store.per_frame(self.store.regions)[:, REGIONS.index("dark")]
        return np.asarray(dark.reshape(self.store.shape))

    # -- bright field -----------------------------------------------------------------------------------------------

    def from_bright_field(self, curl: RotationFit | None) -> None:
        """Set defocus and astigmatism, and the rotation and handedness that the centre of mass left open.

        If the defocus is given, the plane on which the maps are focused is determined instead: ``depth_A``.
        """
        rotation_open = not self.given("rotation_deg") and not (curl is not None and curl.angle_trusted)
        if self.given("C10") and self.given("depth_A") and not rotation_open:
            return
        try:
            conditions = self.conditions()
        except MetadataError:
            return
        sparse = is_sparse(conditions.step_A, conditions.probe.semiangle_invA)
        modulation = Modulation.of(self.store, conditions.step_A, conditions.probe.semiangle_invA)
        if modulation is None:
            return
        criteria = Criteria(modulation, conditions, self._higher())
        search = Search.of(criteria, float(self.entries["rotation_deg"].value) if self.given("rotation_deg") else None)
        if self.given("C12a") or self.given("C12b"):
            search = replace(search, c12_A=(float(self.value("C12a", 0.0)), float(self.value("C12b", 0.0))))
        if not self.given("C10"):
            self._search_defocus(criteria, search, curl, sparse=sparse)
            return
        if rotation_open:
            ordered = not sparse or modulation.peaked
            fixed = search.at_defocus(self._in_focus())
            problem = self._search_problem(criteria, fixed, curl)
            criteria, grid = self._oriented(criteria, Grid.of(criteria, fixed), fixed, curl)
            fit = fit_aberrations(criteria, fixed, grid, sparse=sparse)
            criteria, fit = self._among_aliases(criteria, fixed, fit, curl) if ordered else (criteria, fit)
            criteria, fit = self._by_all_aliases(problem, (criteria, fit))
            fit = confirmed_by_curl(criteria, fixed, fit, problem.angle_deg(self._hand))
            if self._beyond_chance(criteria, fit, compared=isinstance(criteria, JointCriteria)):
                self._adopt(fit, problem, criteria)
        elif not self.given("rotation_deg"):
            self._turn_to_defocus(criteria, search, curl)
        if not self.given("depth_A") and not sparse:
            self._find_depth(criteria, search)

    def _search_defocus(self, criteria: Criteria, search: Search, curl: RotationFit | None, *, sparse: bool) -> None:
        """Determine everything left open: grid, handedness, fit, and higher aberrations if the scan carries them."""
        ordered = not sparse or criteria.modulation.peaked
        problem = self._search_problem(criteria, search, curl)
        criteria, grid = self._oriented(criteria, Grid.of(criteria, search), search, curl)
        if sparse and search.rotation_deg is None and search.c12_A is None:
            # images of an amorphous specimen can be aligned with each other: one more start, judged by the criteria
            alignment = align(self.store, criteria.conditions)
            grid = grid if alignment is None else replace(grid, starts=[*grid.starts, alignment.start])
        fit = fit_aberrations(criteria, search, grid, sparse=sparse)
        if ordered or self._is_uninformative(criteria, fit):
            criteria, fit = self._among_aliases(criteria, search, fit, curl)
        by_energy = not criteria.has_aliases and self._is_uninformative(criteria, fit)
        if by_energy:
            criteria, fit = self._by_energy(criteria, search, fit)
        compared = by_energy or (criteria.has_aliases and not sparse)
        criteria, fit = self._by_all_aliases(problem, (criteria, fit), compared=compared)
        compared = compared or isinstance(criteria, JointCriteria)
        if curl is not None and not self.given("rotation_deg") and curl.contradicts(fit.rotation_deg):
            # for lattices, wrong optics may explain as much as the right ones
            known = replace(search, rotation_deg=curl.rotation_deg)
            criteria, compared = problem.criteria, False
            fit = fit_aberrations(criteria, known, Grid.of(criteria, known), sparse=sparse)
            fit = replace(fit, rotation_uncertainty_deg=self.entries["rotation_deg"].uncertainty or 0.0)
        fit = confirmed_by_curl(criteria, search, fit, problem.angle_deg(self._hand))
        if not self._beyond_chance(criteria, fit, compared=compared):
            return
        if not sparse:
            given = {name: q.value for name, q in self.entries.items() if q.origin is Origin.GIVEN}
            fit = fit if given.keys() & set(LOW) else in_focus_unless_significant(criteria, fit)
            fit = fit_higher(criteria, fit, given)
        self._adopt(fit, problem, criteria)

    def _beyond_chance(self, criteria: Criteria, fit: AberrationFit, *, compared: bool) -> bool:
        """Return whether a fit explains more than noise; ``compared``: chosen from a whole grid, or among aliases."""
        return criteria.over_chance(fit.explained) >= (criteria.above_chance if compared else LEAST_EXPLAINED)

    def _hand_is_open(self, curl: RotationFit | None) -> bool:
        return not self.given("detector_transform") and not (curl is not None and curl.angle_trusted)

    def _search_problem(self, criteria: Criteria, search: Search, curl: RotationFit | None) -> UndersampledScan:
        """Return the problem for the fit by all aliases, with the handednesses that are possible."""
        given_hand = {False: None if curl is None else curl.rotation_deg}
        angles = given_hand if curl is None or not self._hand_is_open(curl) else curl.angles_deg
        return UndersampledScan(criteria, search, angles, self._hand, curl)

    @property
    def _hand(self) -> str:
        return str(self.value("detector_transform", "none"))

    def _hand_is_settled(self) -> bool:
        transform = self.entries.get("detector_transform")
        return transform is None or transform.origin is not Origin.UNDECIDED

    def _by_all_aliases(
        self, problem: UndersampledScan, present: tuple[Criteria, AberrationFit], *, compared: bool = False
    ) -> tuple[Criteria, AberrationFit]:
        """Return the fit by all aliases together if it explains more than the present one; set the handedness."""
        base, curl = problem.transform, problem.curl
        mirrored = self._hand != base
        believed = self._beyond_chance(*present, compared=compared)
        aligned = self.aligned == self._hand
        fit = CurrentFit(present[1], mirrored, believed, self._hand_is_settled(), aligned)
        # two measurements that agree are believed: for strong objects, aliases explain too much
        agreed = believed and curl is not None and curl.confirms(fit.fit.rotation_deg)
        verdict = verdict_on(problem, fit) if self._has_ended and not agreed else None
        if verdict is None:
            return present
        if len(problem.angles_deg) > 1 and verdict.hand_is_sure is not None:
            hand = verdict.best.mirrored if verdict.better else mirrored
            origin = Origin.ESTIMATED if verdict.hand_is_sure else Origin.UNDECIDED
            self.entries["detector_transform"] = Quantity(_word(hand != (base == "transpose")), origin)
        return (verdict.best.criteria, verdict.best.fit) if verdict.better else present

    def _among_aliases(
        self, criteria: Criteria, search: Search, fit: AberrationFit, curl: RotationFit | None
    ) -> tuple[Criteria, AberrationFit]:
        """Return the fit that attributes the data to aliases of finer structure, if it explains significantly more."""
        running = fit.explained > WELL_EXPLAINED and not self._has_ended
        aliased = None if running else criteria.with_aliases()
        if aliased is None:
            return criteria, fit
        found = fit_among_aliases(aliased, search, fit, mirrored=self._hand_is_open(curl))
        if found is None:
            return criteria, fit
        if found.sure_of_hand is not None:
            word = _word(found.mirrored != (self._hand == "transpose"))
            origin = Origin.ESTIMATED if found.sure_of_hand else Origin.UNDECIDED
            self.entries["detector_transform"] = Quantity(word, origin)
        return found.criteria, found.fit

    def _is_uninformative(self, criteria: Criteria, fit: AberrationFit) -> bool:
        """Return whether J1 is lost in noise, for a scan that has ended."""
        undecided = not self._hand_is_settled() and fit.explained < WELL_EXPLAINED
        lost = criteria.over_chance(fit.explained) < LEAST_EXPLAINED
        return (lost or undecided) and self._has_ended

    @property
    def _has_ended(self) -> bool:
        return float(self.store.visited.mean()) >= MOST_OF_IT

    def _by_energy(self, criteria: Criteria, search: Search, fit: AberrationFit) -> tuple[Criteria, AberrationFit]:
        """Return the fit and the handedness that explain most, if they explain more than noise."""
        hand_open = not self._hand_is_settled()
        handed = [criteria, criteria.transposed()] if hand_open else [criteria]
        fits = [(fitted, candidate) for candidate in handed if (fitted := fit_by_energy(candidate, search)) is not None]
        if not fits:
            return criteria, fit
        found, chosen = max(fits, key=lambda candidate: candidate[0].explained)
        if hand_open:
            rivals = [candidate.over_chance(fitted.explained) for fitted, candidate in fits if candidate is not chosen]
            lead = criteria.over_chance(found.explained) - max(rivals, default=1.0)
            word = _word((chosen is handed[1]) != (self._hand == "transpose"))
            origin = Origin.ESTIMATED if lead > criteria.above_chance - 1 else Origin.UNDECIDED
            self.entries["detector_transform"] = Quantity(word, origin)
        return chosen, found

    def _oriented(
        self, criteria: Criteria, grid: Grid, search: Search, curl: RotationFit | None
    ) -> tuple[Criteria, Grid]:
        """Return criteria and grid, mirrored if the handedness is open and the mirror image explains more."""
        return self._handed(criteria, grid, search) if self._hand_is_open(curl) else (criteria, grid)

    def _in_focus(self) -> float:
        """Return C10 of the plane on which the maps are focused, from the entries."""
        return float(self.value("C10", 0.0)) + float(self.value("depth_A", 0.0))

    def _turn_to_defocus(self, criteria: Criteria, search: Search, curl: RotationFit | None) -> None:
        """Settle the half turn by a known defocus, unless a depth is consistent with the dark field as well."""
        rotation = self.entries["rotation_deg"]
        present = np.array([self._in_focus(), 0.0, 0.0, math.radians(float(rotation.value))])
        turned = present + np.array([0.0, 0.0, 0.0, math.pi])
        if criteria.explained_energy(turned) <= HALF_TURN_RATIO * criteria.explained_energy(present):
            return
        depth = -fit_near(criteria, search, turned).aberrations["C10"] - float(self.entries["C10"].value)
        agrees = curl is not None and curl.sign.is_beyond_chance and not self.given("depth_A")
        if agrees and LEAST_DEPTH_A < depth < MIDDLE_DEPTH_A:
            self.entries["depth_A"] = Quantity(depth, Origin.ESTIMATED)  # start of the depth search
            return
        angle = 180.0 - (180.0 - math.degrees(float(turned[3]))) % 360.0
        self.entries["rotation_deg"] = Quantity(angle, Origin.ESTIMATED, rotation.uncertainty)

    def _find_depth(self, criteria: Criteria, search: Search) -> None:
        """Find the plane in focus of a thick specimen, below the entrance plane that the given defocus refers to.

        A thin specimen, or an impossible thickness, indicates a wrong given defocus, which is left to the user.
        """
        entrance = float(self.entries["C10"].value)
        rotation = math.radians(float(self.value("rotation_deg", 0.0)))
        start = np.array([self._in_focus(), *(search.c12_A or (0.0, 0.0)), rotation])
        fit = fit_near(criteria, search, start)
        depth = fit.aberrations["C10"] - entrance
        clear = LEAST_DEPTH_A < depth < MOST_DEPTH_A and depth > fit.uncertainty_A
        is_below_surface = clear and is_below(criteria, fit.low, depth)
        depth_A, origin = (depth, Origin.ESTIMATED) if is_below_surface else (0.0, Origin.DEFAULT)
        self.entries["depth_A"] = Quantity(depth_A, origin, fit.uncertainty_A if is_below_surface else None)

    def _higher(self) -> dict[str, float]:
        """Return known aberrations beyond defocus and astigmatism."""
        return {name: v for name, v in Calibration(self.entries).aberrations.items() if name not in LOW}

    def conditions(self) -> ImagingConditions:
        """Return imaging conditions from the entries so far. Raises MetadataError naming what is missing."""
        self.store.check_counts("phase imaging")
        calibration = Calibration(self.entries)
        step = calibration.require("scan_step_A", "phase imaging")
        header = self.store.header
        shapes = (header.detector_shape, header.scan.require_shape())
        return ImagingConditions.of(calibration, self.store.reduction.basis, *shapes, (float(step[0]), float(step[1])))

    def _handed(self, criteria: Criteria, grid: Grid, search: Search) -> tuple[Criteria, Grid]:
        """Return the handedness that aligns the bright field clearly better, and set its entry."""
        mirrored_criteria = criteria.transposed()
        mirrored = Grid.of(mirrored_criteria, search)
        ratio = max(grid.best, mirrored.best) / max(min(grid.best, mirrored.best), 1e-30)
        sure = ratio >= HANDEDNESS_RATIO
        transposed = sure and mirrored.best > grid.best
        self.aligned = _word(transposed) if sure else ""
        self.entries["detector_transform"] = Quantity(_word(transposed), Origin.ESTIMATED if sure else Origin.UNDECIDED)
        return (mirrored_criteria, mirrored) if transposed else (criteria, grid)

    def _adopt(self, fit: AberrationFit, problem: UndersampledScan, criteria: Criteria) -> None:
        """Settle the half turn and enter the results; the bright field's angle is the better one of the two."""
        if self._has_ended:
            note_rivals(self.entries, problem, fit)
        origin = Origin.ESTIMATED
        if not self.given("rotation_deg") and not self.given("C10"):
            fit, origin = self._with_denser_positive(fit, problem.curl, undersampled=criteria.has_aliases)
        if not self.given("rotation_deg"):
            angle = 180.0 - (180.0 - fit.rotation_deg) % 360.0
            self.entries["rotation_deg"] = Quantity(angle, origin, fit.rotation_uncertainty_deg)
        if not self.given("C10"):
            depth = float(self.value("depth_A", 0.0))
            for name, value in fit.aberrations.items():
                if not self.given(name):
                    entrance = value - depth if name == "C10" else value
                    self.entries[name] = Quantity(entrance, origin, fit.uncertainties_A.get(name, fit.uncertainty_A))

    def _with_denser_positive(
        self, fit: AberrationFit, curl: RotationFit | None, *, undersampled: bool
    ) -> tuple[AberrationFit, Origin]:
        """Return the member of the indistinguishable pair with denser matter positive."""
        aberrations = {name: Quantity(value, Origin.ESTIMATED) for name, value in fit.aberrations.items()}
        rotation, no_depth = Quantity(fit.rotation_deg, Origin.ESTIMATED), Quantity(0.0, Origin.DEFAULT)
        entries = {**self.entries, **aberrations, "rotation_deg": rotation, "depth_A": no_depth}
        conditions = _Work(entries, self.store).conditions()
        sign = contrast_of(self.store, conditions, self._dark_field, undersampled=undersampled, ended=self._has_ended)
        return with_denser_positive(fit, sign, curl)


def _word(transposed: bool) -> str:
    return "transpose" if transposed else "none"
