"""A drift, and perhaps rotation and optics, that a search has found: what they change in a run's problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import NO_DRIFT, Problem, lay_out
from ptylive.engine.refine.run.again.continuation import RunEnvironment, is_ordinary
from ptylive.engine.refine.run.again.drift_evidence import DriftEvidence
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS
from ptylive.engine.refine.tuning.optics.freed_optics import OPTICS, with_optics_moved
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, start_turned
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

UNMEASURED = Drift((0.0, 0.0), (0.0, 0.0), math.nan, math.nan, False, NO_DRIFT)
"""Stands for the lattice's drift where there is none."""
NONE_BEYOND = ": no drift is shown beyond that"
"""What is said of a rotation that is corrected alone."""


@dataclass(frozen=True)
class UncorrectedScan:
    """The scan of a run before a drift is removed, and how a run of it begins."""

    nominal: Dataset
    strains: ScanStrains
    begin: Callable[[Problem], Problem]
    """Give a problem on other positions the start that the run had."""


@dataclass(frozen=True)
class ScanCorrection:
    """Drift to be removed from nominal positions, angle to be added to their rotation, and optics found along."""

    drift: Drift | None
    """None: none was looked for, and the rotation alone is corrected."""
    turn_deg: float = 0.0
    turn_uncertainty_deg: float = 0.0
    """Standard deviation of the angle."""
    optics_A: Mapping[str, float] = field(default_factory=dict)
    """Aberrations, instead of those that maps or trials found."""
    remark: str = ""
    """What is said before the finding on drift, if that stays as it is."""

    @classmethod
    def at(
        cls,
        point: DoubleArray,
        covariance: DoubleArray,
        strains: ScanStrains,
        earlier: Drift | None,
        found_with: str = "the refined object",
    ) -> ScanCorrection:
        """Correction at a point (n,) of a search, Å, with covariance (n, n), Å²; its drift replaces an earlier one."""
        drift_A, turn_deg = strains.drift_A(point), strains.turn_deg(point)
        turn_uncertainty_deg = strains.turn_uncertainty_deg(covariance)
        optics_A = strains.optics_at(point)
        along = [f"the rotation ({turn_deg:+.2f} ± {turn_uncertainty_deg:.2g}°)"] if strains.turns else []
        along += [_words(optics_A)] if optics_A else []
        if strains.kept_drift_A is not None:
            words = f"{' and '.join(along)} corrected, found with {found_with}{NONE_BEYOND}"
            return cls(earlier, turn_deg, turn_uncertainty_deg, optics_A, words.removeprefix("the "))
        slow_A, fast_A = (float(sd) for sd in np.sqrt(np.diag(covariance))[:2])
        how = f" along with {' and '.join(along)}" if along else ""
        numbers = f"{drift_A[0]:z.2f} ± {slow_A:.2f}, {drift_A[1]:z.2f} ± {fast_A:.2f}"
        reason = f"drift ({numbers}) Å along slow and fast axis: corrected{how}, found with {found_with}"
        drift = earlier or UNMEASURED
        drift = replace(drift, drift_A=drift_A, uncertainty_A=(slow_A, fast_A), applied=True, reason=reason)
        return cls(drift, turn_deg, turn_uncertainty_deg, optics_A)

    @classmethod
    def of_lattice(cls, drift: Drift, evidence: DriftEvidence, optics_A: Mapping[str, float]) -> ScanCorrection:
        """The drift of a lattice, which trials left alone; its reason assumes that the next object confirms it.

        ``optics_A``: aberrations that follow it.
        """
        if evidence.is_enough:
            why = f"lattice and refined object show it ({evidence})"
        else:
            why = f"the object refined without it shows it, as lattice and refined object had suggested ({evidence})"
        found = drift.reason.split(": ", 1)[0]  # without the reason why it was left alone
        how = f" along with {_words(optics_A)}" if optics_A else ""
        return cls(replace(drift, applied=True, reason=f"{found}: corrected{how}, {why}"), optics_A=optics_A)

    def problem(self, old: Problem, scan: UncorrectedScan, environment: RunEnvironment, epochs: int) -> Problem:
        """The problem of a run with this correction instead of its own, all else decided as it was, from its start.

        ``epochs``: number planned. Raises RefinementError if the start does not fit.
        """
        before, now = (NO_DRIFT if drift is None else drift.reason for drift in (old.measured.drift, self.drift))
        now = f"{self.remark}; {now}" if self.remark else now
        reason = old.strategy.reason.replace(before, now)
        strategy = replace(old.strategy, epochs=epochs, reason=reason)
        measured, start = self._measured(old.measured, scan), start_turned(environment.context.start, self.turn_deg)
        problem = scan.begin(lay_out(measured, strategy, environment.preset, start))
        forward = replace(problem.forward, tilt_found=old.forward.tilt_found)
        return replace(problem, forward=forward, curves=old.curves)

    def _measured(self, measured: Measurement, scan: UncorrectedScan) -> Measurement:
        """The measurement of a run with corrected positions, rotation and optics."""
        placed = scan.strains.placed(scan.nominal, self.drift, self.turn_deg)
        present = measured.dataset.calibration.aberrations
        moved_A = {name: value - float(present.get(name, 0.0)) for name, value in self.optics_A.items()}
        dataset = with_optics_moved(measured.dataset, moved_A)
        calibration = dataset.calibration
        if self.turn_deg:
            turned = placed.calibration.entries["rotation_deg"]
            rotation = replace(turned, origin=Origin.ESTIMATED, uncertainty=self.turn_uncertainty_deg)
            calibration = calibration.having(rotation_deg=rotation)
        dataset = replace(dataset, positions_A=placed.positions_A, reach_A=placed.reach_A, calibration=calibration)
        return replace(measured, dataset=dataset, probe=measured.probe.with_added(moved_A), drift=self.drift)


def _words(optics_A: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:z.1f}" for name, value in optics_A.items()) + " Å"


def drift_may_show(measured: Measurement, nominal: Dataset, preset: Preset) -> bool:
    """Whether objects that are refined with these settings, all decided, show a drift that was left to be found.

    Nominal positions have to form a lattice, and only object, probe and a thickness may be refined.
    """
    is_open = preset.start.refine_drift == "auto" and is_ordinary(preset) and not preset.stages
    enough = len(measured.dataset.patterns) >= LEAST_PATTERNS
    return is_open and enough and measured.plain and Lattice.of(nominal) is not None


def following(before: Tuned, turn_deg: float, measured: Measurement) -> Tuned:
    """The data set and orientation that a run began with, with rotation and optics of its correction.

    ``measured``: after the correction, with rotation and optics in its calibration; ``turn_deg``: of the rotation.
    """
    present, found = before.dataset.calibration, measured.dataset.calibration
    moved = {name: found.entries[name] for name in OPTICS if found.get(name) != present.get(name)}
    dataset, orientation = before.dataset, before.orientation
    if turn_deg:
        dataset = AS_IT_IS.turned(turn_deg).of(dataset)
        orientation = (orientation or AS_IT_IS).turned(turn_deg)
        moved["rotation_deg"] = found.entries["rotation_deg"]
    if not moved:
        return before
    undecided = [name for name in moved if present.origin(name) is Origin.UNDECIDED]  # still, by half a turn
    moved |= {name: replace(moved[name], origin=Origin.UNDECIDED) for name in undecided}
    dataset = replace(dataset, calibration=dataset.calibration.having(**moved))
    return replace(before, dataset=dataset, orientation=orientation)
