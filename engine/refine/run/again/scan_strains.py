"""Strains of a scan by its drift, and by an error of its rotation, as parameters of a search.

A drift that is linear in time displaces the end of the slow axis: along this axis it stretches the scan, and across it
shears it. The even part of the stretch is not measured
(:mod:`~ptylive.engine.refine.run.again.strained_scan`), so that along the slow axis only its uneven part shows. A shear
is half a rotation. If nobody stated the rotation, that of the maps is wrong by about this half, and the rotation is a
parameter of its own. So are defocus and astigmatism, in which the other half hides
(:mod:`~ptylive.engine.refine.run.again.strained_scan`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import MOST_STRAIN, Drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.start_probe import c10_of_one_slice_A
from ptylive.engine.refine.run.again.strained_scan import Direction, Slopes
from ptylive.engine.refine.tuning.half_turn import has_oriented_start
from ptylive.engine.refine.tuning.optics.freed_optics import OPTICS, may_refine_optics
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.schema.calibration import FOUND, Calibration
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

UNEVEN = np.array([[0.5, 0.0], [0.0, -0.5]])
"""Stretch along the slow axis without its even part, axes (slow, fast)."""
SHEAR = np.array([[0.0, 0.0], [1.0, 0.0]])
"""Displacement along the fast axis that grows along the slow one."""
ROTATION = np.array([[0.0, -1.0], [1.0, 0.0]])
IN_FOCUS = 0.5
"""Defocus of one slice, in depths of focus (wavelength over squared semi-angle), up to which its optics stay: what a
shear of 5 % makes of it is an astigmatism of 0.04 rad at the rim of the aperture, and particles too strong for one
slice would be given an astigmatism and a drift together."""


@dataclass(frozen=True)
class ScanStrains:
    """Parameters (n,) of a search, and what they mean for a scan.

    Two or three are displacements of the slow axis' end (one, if only the rotation is open), the others changes of
    aberrations, all in Å.
    """

    lattice: Lattice
    """Nominal positions, as the run began with them."""
    turns: bool
    """Whether the rotation is a parameter, too."""
    optics_A: Mapping[str, float] = field(default_factory=dict)
    """Aberrations that are parameters, too, as the run began with them."""
    kept_drift_A: tuple[float, float] | None = None
    """Drift that stays removed, along (slow, fast) axis, where the rotation is the only strain; None: drift is one."""

    @classmethod
    def of(
        cls, nominal: Dataset, preset: Preset, *, keeps_rotation: bool = False, keeps_optics: bool = False
    ) -> ScanStrains | None:
        """Parameters for nominal positions; None if they form no lattice.

        The rotation is one if nobody stated it, nor an input that is tied to the orientation of the scan; defocus and
        astigmatism are if nobody stated them, object and probe are refined, and a strain can hide in them.
        ``keeps_rotation`` and ``keeps_optics``: whether the run starts from an object or a probe that is tied to them.
        """
        calibration, lattice = nominal.calibration, Lattice.of(nominal)
        tied = keeps_rotation or has_oriented_start(preset)
        turns = calibration.is_found("rotation_deg") and not tied
        free = may_refine_optics(preset) and not keeps_optics and _hide_strains(calibration, preset)
        names = [name for name in OPTICS if calibration.origin(name) in FOUND] if free else []
        optics_A = {name: float(calibration.aberrations.get(name, 0.0)) for name in names}
        return None if lattice is None else cls(lattice, turns, optics_A)

    def with_kept_drift(self, drift_A: tuple[float, float]) -> ScanStrains:
        """The same parameters without the drift, which stays as it is. Only if the rotation is one."""
        return replace(self, kept_drift_A=drift_A)

    def are_of_rotation(self, slopes: Slopes) -> bool:
        """Whether slopes in all these parameters show no drift beyond what rotation and optics explain."""
        return self.turns and not replace(slopes, optics=slopes.optics + 1).are_beyond_doubt  # the last strain

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What 1 Å of each parameter changes: the strains are the derivatives of the positions."""
        strains = (UNEVEN, (SHEAR + SHEAR.T) / 2, ROTATION) if self.turns else (UNEVEN, SHEAR)
        of_scan = (Direction(self._in_detector(one / self.lattice.lengths_A[0])) for one in strains[self._first :])
        return (*of_scan, *(Direction.of_optics(name) for name in self.optics_A))

    def point_of(self, drift_A: tuple[float, float]) -> DoubleArray:
        """Parameters of a drift that is removed without turning the scan."""
        return self._point(drift_A, 0.5 * drift_A[1])

    def without_turn(self, drift_A: tuple[float, float]) -> DoubleArray:
        """Parameters of a drift without the rotation in it, where that is a parameter of its own."""
        return self._point(drift_A, 0.0)

    def optics_at(self, point: DoubleArray) -> dict[str, float]:
        """Aberrations at a point, Å, of those that are parameters."""
        changes = point[len(point) - len(self.optics_A) :]
        return {
            name: value + float(change) for (name, value), change in zip(self.optics_A.items(), changes, strict=True)
        }

    def drift_A(self, point: DoubleArray) -> tuple[float, float]:
        """Drift that is removed, along the (slow, fast) axis."""
        return (float(point[0]), float(point[1])) if self.kept_drift_A is None else self.kept_drift_A

    def are_possible(self, point: DoubleArray) -> bool:
        """Whether a scan may drift as far as a point says."""
        return math.hypot(*self.drift_A(point)) < MOST_STRAIN * self.lattice.lengths_A[0]

    def turn_deg(self, point: DoubleArray) -> float:
        """Angle to be added to the rotation."""
        if not self.turns:
            return 0.0
        turn = (float(point[2 - self._first]) - 0.5 * self.drift_A(point)[1]) / self.lattice.lengths_A[0]
        return math.degrees(turn) * math.copysign(1.0, float(np.linalg.det(self.lattice.axes)))

    def turn_uncertainty_deg(self, covariance: DoubleArray) -> float:
        """Standard deviation of the angle; from the covariance of the parameters, Å²."""
        if not self.turns:
            return 0.0
        weights = np.array([0.0, -0.5, 1.0])[self._first :] / self.lattice.lengths_A[0]
        of_scan = covariance[: len(weights), : len(weights)]
        return math.degrees(math.sqrt(float(weights @ of_scan @ weights)))

    def placed(self, nominal: Dataset, drift: Drift | None, turn_deg: float) -> Dataset:
        """The data set with nominal positions turned about the origin, and without a drift that is applied."""
        turned = AS_IT_IS.turned(turn_deg).of(nominal)
        return turned if drift is None else without_drift(turned, drift)

    def _point(self, drift_A: tuple[float, float], turn_A: float) -> DoubleArray:
        """Parameters of a drift and a displacement by rotation, with the optics as they are."""
        of_scan = [*drift_A, *([turn_A] if self.turns else ())]
        return np.array([*of_scan[self._first :], *(0.0 for _ in self.optics_A)])

    @property
    def _first(self) -> int:
        """Number of components of the drift that are no parameters."""
        return 0 if self.kept_drift_A is None else 2

    def _in_detector(self, strain: DoubleArray) -> DoubleArray:
        """Convert a strain along the (slow, fast) axes to the detector's frame."""
        return np.asarray(self.lattice.axes @ strain @ np.linalg.inv(self.lattice.axes))


def _hide_strains(calibration: Calibration, preset: Preset) -> bool:
    """Whether a strain can hide in the optics: several slices are never all in focus."""
    if preset.object.slices > 1:
        return True
    depth_A = calibration.depth_of_focus_A
    return depth_A is not None and abs(c10_of_one_slice_A(calibration)) > IN_FOCUS * depth_A
