"""Gain of a refined scan from the strain of a drift, with its object strained along with the positions.

A drift strains a scan, and an object refined on the nominal positions is strained too, with an almost equally good fit,
since only the probe and the detector have their own scale and angles. At the end of a refinement the loss is at its
minimum in everything refined. Its derivative with respect to the strain, with the object moved along, is then that of
the minimum itself, and the noise absorbed by the object is the same on either side: the remaining scatter is that of
the patterns. Two refinements from different starts differ by far more than a drift does.

What the model lacks (depth, source size, focus) stretches the scan evenly, often by many standard deviations. The even
part of a strain is therefore ignored; if an object shows one direction more than another, a share of it leaks into the
rest. The leak is subtracted where both scatter together, and part of the even gain also counts as uncertain.

A rotation that the maps found may be off by some tenths of a degree, and half of a drift across the slow axis went into
it. Unless the rotation was stated, the part of a strain that is a rotation is therefore ignored too. The defocus has to
be right: with a defocus that was 7 Å off, an object preferred a drift of 1.6 Å that was not there by 3.6 standard
deviations.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.data.lattice import Lattice
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
"""Maximum number of patterns compared, and groups of them between which the scatter of gains is measured."""
LEAKS = 3.0
"""Standard deviations beyond which a correlation with an even stretch, over the groups, is subtracted: less is chance,
from which an even stretch of a hundred standard deviations would make a drift."""
UNSURE = 0.125
"""Share of the gain by an even stretch that counts as uncertain: 128 groups give a correlation to 0.09."""
ORDER: Final = 5
"""Order of the spline that the object is moved by."""


@dataclass(frozen=True)
class StrainScore:
    """Fall of the loss due to a strain."""

    gain: float
    """Fall of the summed loss from one side to the other, without the part that an even stretch explains."""
    deviation: float
    even: float
    """Fall by an even stretch of the same size."""

    @classmethod
    def of(cls, strained: DoubleArray, even: DoubleArray) -> StrainScore:
        """Compute the score from the falls (groups,) by strain and by even stretch."""
        var, cov, even_var = np.cov(np.stack([strained, even])).ravel()[[0, 1, 3]] * len(strained)
        gain, variance = float(strained.sum()), float(var)
        if cov**2 * len(strained) > LEAKS**2 * var * even_var:
            gain -= float(cov / even_var * even.sum())
            variance -= float(cov**2 / even_var)
        return cls(gain, math.sqrt(max(variance, 0.0)), float(even.sum()))

    @property
    def unsure(self) -> float:
        """Standard deviation of the gain, including what an even stretch may have left in it."""
        return math.hypot(self.deviation, UNSURE * self.even)

    @property
    def deviations(self) -> float:
        """Gain in units of its standard deviation."""
        return self.gain / self.unsure if self.unsure > 0 else 0.0

    def __str__(self) -> str:
        """Describe the gain in words."""
        return f"{self.deviations:.1f} standard deviations"


def strain_of(drift: Drift, lattice: Lattice) -> DoubleArray:
    """(2, 2) relative displacement due to a drift, (slow, fast) axis of the scan."""
    strain = np.zeros((2, 2))
    strain[:, 0] = np.asarray(drift.drift_A) / lattice.lengths_A[0]
    return strain


def without_even(strain: DoubleArray) -> DoubleArray:
    """Return a strain without its even stretch."""
    return np.asarray(strain - 0.5 * np.trace(strain) * np.eye(2))


class StrainedScan:
    """A refined scan whose positions and object are strained together.

    ``problem``: of the run that ended with ``vector`` (numpy); its start is not needed. ``lattice``: of the nominal
    positions, since those of a bidirectional scan form no lattice once a drift has been removed.
    """

    def __init__(
        self, problem: Problem, vector: Array, preset: Preset, context: TrialContext, lattice: Lattice
    ) -> None:
        from scipy.ndimage import spline_filter

        self._problem, self._vector, self._preset, self._context = problem, vector, preset, context
        self._lattice = lattice
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

    def score(self, drift: Drift, *, turned: bool = True) -> StrainScore:
        """Fall of the loss due to the strain of a drift; if not ``turned``, due to its part without rotation."""
        strain = self._in_detector(without_even(strain_of(drift, self._lattice)))
        strain = strain if turned else (strain + strain.T) / 2
        return StrainScore.of(self.falls(strain), self.falls(np.eye(2)))

    def drifting(self, drift: Drift) -> DoubleArray:
        """(2, 2) matrix that multiplies positions about their middle when a drift is removed."""
        return np.eye(2) + self._in_detector(strain_of(drift, self._lattice))

    def _in_detector(self, strain: DoubleArray) -> DoubleArray:
        """Convert a strain along the (slow, fast) axes to the detector's frame."""
        return np.asarray(self._lattice.axes @ strain @ np.linalg.inv(self._lattice.axes))

    def falls(self, strain: DoubleArray) -> DoubleArray:
        """(groups,) fall of the loss between both sides of a strain (2, 2), given in the detector's frame."""
        moved_A = math.sqrt(float(((self._from_centre_A @ strain.T) ** 2).sum(axis=1).mean()))
        strain = strain * MOVED_PX * self._problem.grid.pixel_A / max(moved_A, 1e-12)
        self._context.pause()
        return self._losses(-strain) - self._losses(strain)

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
