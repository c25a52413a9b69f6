"""Slopes of a refined scan's loss in a correction of its drift, with the object strained along with the positions.

A drift strains a scan, and an object refined on the nominal positions is strained too, with an almost equally good fit,
since only the probe and the detector have their own scale and angles. At the end of a refinement the loss is at its
minimum in everything refined. Its derivative with respect to the strain, with the object moved along, is then that of
the minimum itself, and the noise absorbed by the object is the same on either side: the remaining scatter is that of
the patterns. Two refinements from different starts differ by far more than a drift does.

What the model lacks (depth, source size, focus) stretches the scan evenly, often by many standard deviations. The even
part of a strain is therefore ignored, and a share of the slope in an even stretch counts as uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.prepare import Problem, lay_out
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.model import Array, DoubleArray
from ptylive.schema.preset import Preset

MOVED_PX = 0.5
"""Root mean square displacement of the positions, in object pixels: with less, interpolation scatters more; with more,
the loss is not parabolic."""
ROOM_PX = 4
"""Pixels by which the object's grid is larger on each side than the refined one: positions move by less."""
MOST_PATTERNS, GROUPS = 4096, 128
"""Maximum number of patterns compared, and groups of them between which the scatter of slopes is measured."""
UNSURE = 0.0625
"""Share of the slope in an even stretch, in standard deviations, that counts as uncertain in every other slope."""
ORDER: Final = 5
"""Order of the spline that the object is moved by."""
SHOWN = 7.5
"""Chi-squared of slopes, for each of them, beyond which the object shows a strain: 7 is exceeded by chance in one of a
thousand scans, if slopes along two axes scatter as the patterns do."""
NOISE = 3.0
"""Chi-squared for each slope below which they may be noise: by chance one in twenty exceeds it."""


@dataclass(frozen=True)
class Slopes:
    """Fall of the summed loss per unit of several strains."""

    falls: DoubleArray
    """(n,)"""
    covariance: DoubleArray
    """(n, n), of the scatter between patterns."""
    even: float = 0.0
    """Slope in an even stretch, in standard deviations; 0 if it was not measured."""

    @classmethod
    def of(cls, falls: DoubleArray) -> Slopes:
        """Slopes from the falls (n, groups) of disjoint groups of patterns."""
        return cls(falls.sum(axis=1), np.atleast_2d(np.cov(falls)) * falls.shape[1])

    @property
    def chi_squared(self) -> float:
        """Squared length of the slopes in standard deviations: about n by chance; NaN if they are not finite."""
        if not (np.isfinite(self.falls).all() and np.isfinite(self.covariance).all()):
            return math.nan
        return float(self.falls @ np.linalg.pinv(self.covariance) @ self.falls)

    @property
    def doubt(self) -> float:
        """Factor by which slopes are less certain than patterns scatter, because the model lacks something."""
        return math.hypot(1.0, UNSURE * self.even)

    @property
    def are_beyond_doubt(self) -> bool:
        """Whether the object shows a strain, whatever the model lacks."""
        return self.chi_squared > SHOWN * len(self.falls) * self.doubt**2

    @property
    def may_be_noise(self) -> bool:
        """Whether they are as small as those of an object that is not strained."""
        return self.chi_squared < NOISE * len(self.falls)

    def along(self, point: DoubleArray) -> tuple[float, float]:
        """Fall of the loss by these amounts (n,) of the strains, if it is linear, and its standard deviation."""
        return float(self.falls @ point), self.doubt * math.sqrt(float(point @ self.covariance @ point))


class StrainedScan:
    """A refined scan whose positions and object are strained together, about the middle of the positions.

    ``problem``: of the run that ended with ``vector`` (numpy); its start is not needed. Strains (2, 2) are relative
    displacements, (row, column) in the detector's frame.
    """

    def __init__(self, problem: Problem, vector: Array, preset: Preset, context: TrialContext) -> None:
        from scipy.ndimage import spline_filter

        self._problem, self._vector, self._preset, self._context = problem, vector, preset, context
        positions_A = problem.measured.dataset.positions_A
        self._centre_A = positions_A.mean(axis=0)
        self._from_centre_A = positions_A - self._centre_A
        planes = problem.layout.object_block(vector).reshape(-1, *problem.grid.shape)
        self._splines = [spline_filter(plane.astype(np.float64), order=ORDER) for plane in planes]
        # a grid that holds every strain, larger by a whole number of pixels, so both sides are interpolated alike
        room_A = ROOM_PX * problem.grid.pixel_A
        reach_A = problem.measured.dataset.reach_A
        covered_A = positions_A if reach_A is None else np.concatenate([positions_A, reach_A])
        self._reach_A = np.stack([covered_A.min(axis=0) - room_A, covered_A.max(axis=0) + room_A])
        count = len(positions_A)
        chosen = np.random.default_rng(0).permutation(count)[:MOST_PATTERNS]
        self._groups = [np.sort(group) for group in np.array_split(chosen, min(GROUPS, count))]

    def slopes(self, strains: Sequence[DoubleArray]) -> Slopes:
        """Slopes in each of these strains per unit of it."""
        return Slopes.of(np.stack([self._falls(strain) for strain in strains]))

    def with_even(self, slopes: Slopes) -> Slopes:
        """The same slopes with the one in an even stretch, which makes them less certain."""
        return replace(slopes, even=math.sqrt(self.slopes([np.eye(2)]).chi_squared))

    def curvatures(self, strains: Sequence[DoubleArray]) -> DoubleArray:
        """(n,) curvatures of the loss in each of these strains per unit squared, with the object's values held."""
        middle = self._losses(np.zeros((2, 2))).sum()
        sides = [(self._scaled(strain), self._scale(strain)) for strain in strains]
        bends = [self._losses(strain).sum() + self._losses(-strain).sum() - 2 * middle for strain, _ in sides]
        return np.array([bend / scale**2 for bend, (_, scale) in zip(bends, sides, strict=True)])

    def on(self, new: Problem, matrix: DoubleArray) -> Array:
        """Parameters for a problem whose positions are those of this one, multiplied by a matrix about their middle."""
        from scipy.ndimage import affine_transform

        old, back = self._problem, np.linalg.inv(matrix)
        first_A = self._centre_A + back @ (new.grid.origin_A - self._centre_A) - old.grid.origin_A
        vector = new.start.copy()
        new.layout.probe_block(vector)[...] = old.layout.probe_block(self._vector)
        old_blocks = old.layout.other_blocks(self._vector)
        for name, values in new.layout.other_blocks(vector).items():
            values[...] = old_blocks[name]
        planes = new.layout.object_block(vector).reshape(-1, *new.grid.shape)
        first_px = first_A / old.grid.pixel_A
        for plane, spline in zip(planes, self._splines, strict=True):
            plane[...] = affine_transform(
                spline, back, first_px, new.grid.shape, order=ORDER, mode="nearest", prefilter=False
            )
        for part, lowest in new.layout.lower_bounds():
            np.maximum(vector[part], lowest, out=vector[part])
        return vector

    def _scale(self, strain: DoubleArray) -> float:
        """Units of a strain that move the positions by ``MOVED_PX``."""
        moved_A = math.sqrt(float(((self._from_centre_A @ strain.T) ** 2).sum(axis=1).mean()))
        return MOVED_PX * self._problem.grid.pixel_A / max(moved_A, 1e-12)

    def _scaled(self, strain: DoubleArray) -> DoubleArray:
        return np.asarray(strain * self._scale(strain))

    def _falls(self, strain: DoubleArray) -> DoubleArray:
        """(groups,) fall of the loss per unit of a strain, from both sides."""
        self._context.pause()
        scaled = self._scaled(strain)
        return (self._losses(-scaled) - self._losses(scaled)) / (2 * self._scale(strain))

    def _losses(self, strain: DoubleArray) -> DoubleArray:
        matrix, measured = np.eye(2) + strain, self._problem.measured
        positions_A = self._centre_A + self._from_centre_A @ matrix.T
        dataset = replace(measured.dataset, positions_A=positions_A, reach_A=self._reach_A)
        problem = lay_out(replace(measured, dataset=dataset), self._problem.strategy, self._preset, None)
        vector = self.on(problem, matrix)
        with closing(open_backend(self._context.backend, problem.multislice, self._context.threads)) as backend:
            objective = Objective(
                backend, on_device(problem.layout, backend.xp), problem.multislice.count, move_probe=False
            )
            parameters = backend.xp.asarray(vector)
            return np.array([float(objective.evaluate(parameters, group).loss) for group in self._groups])
