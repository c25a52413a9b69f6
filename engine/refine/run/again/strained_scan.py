"""Slopes of a refined scan's loss in a correction of its drift, with the object strained along with the positions.

A drift strains a scan, and an object refined on the nominal positions is strained too, with an almost equally good fit,
since only the probe and the detector have their own scale and angles. At the end of a refinement the loss is at its
minimum in everything refined. Its derivative with respect to the strain, with the object moved along, is then that of
the minimum itself, and the noise absorbed by the object is the same on either side: the remaining scatter is that of
the patterns. Two refinements from different starts differ by far more than a drift does.

The image that a detector pixel sees is shifted in proportion to defocus and astigmatism, and where nobody stated these,
maps and trials found them from such shifts, in the coordinates of the nominal positions: the shear of a scan that
drifts hides in its astigmatism. The slopes in both are measured together, and a strain counts by what it gains beyond
what the optics alone would.

What the model lacks (depth, source size, focus) stretches the scan evenly, often by many standard deviations. The even
part of a strain is therefore ignored, and a share of the slope in an even stretch counts as uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.probe import Probe, chi_polynomial
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.parameters.planes import turned
from ptylive.engine.refine.problem.prepare import Problem, lay_out
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.model import Array, DoubleArray
from ptylive.schema.preset import Preset

MOVED_PX = 0.5
"""Root mean square displacement of the positions, in object pixels: with less, interpolation scatters more; with more,
the loss is not parabolic."""
MOVED_RAD = 0.5
"""Change of an aberration's phase at the rim of the aperture, for the same reason."""
ROOM_PX = 4
"""Pixels by which the object's grid is larger on each side than the refined one: positions move by less."""
MOST_PATTERNS, GROUPS, FEW_GROUPS = 4096, 1024, 128
"""Maximum number of patterns compared, and groups of them between which the scatter of slopes is measured: few where
each group needs a gradient of its own."""
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
class Direction:
    """A change of a refined scan: of its positions, along with the object, or of its optics."""

    strain: DoubleArray
    """(2, 2) relative displacement, (row, column) in the detector's frame."""
    aberrations_A: Mapping[str, float] = field(default_factory=dict)
    """Added to those of the probe, by name."""

    @classmethod
    def of_optics(cls, name: str) -> Direction:
        """1 Å of an aberration."""
        return cls(np.zeros((2, 2)), {name: 1.0})

    @property
    def is_optics(self) -> bool:
        """Whether the positions stay."""
        return not self.strain.any()

    def times(self, factor: float) -> Direction:
        """Return a multiple of it."""
        return Direction(factor * self.strain, {name: factor * value for name, value in self.aberrations_A.items()})


EVEN = Direction(np.eye(2))


@dataclass(frozen=True)
class Slopes:
    """Fall of the summed loss per unit of several strains, and of aberrations."""

    falls: DoubleArray
    """(n,) the strains first."""
    covariance: DoubleArray
    """(n, n), of the scatter between patterns."""
    even: float = 0.0
    """Slope in an even stretch, in standard deviations; 0 if it was not measured."""
    optics: int = 0
    """Number of aberrations."""
    groups: float = math.inf
    """Number of groups of patterns from whose scatter the covariance was estimated; infinite: it is exact."""

    @classmethod
    def of(cls, falls: DoubleArray, optics: int = 0) -> Slopes:
        """Slopes from the falls (n, groups) of disjoint groups of patterns; the last ``optics`` are of aberrations."""
        groups = falls.shape[1]
        return cls(falls.sum(axis=1), np.atleast_2d(np.cov(falls)) * groups, optics=optics, groups=groups)

    @property
    def strains(self) -> int:
        """Number of strains."""
        return len(self.falls) - self.optics

    @property
    def beyond_optics(self) -> Slopes:
        """Slopes in the strains alone, if the aberrations follow each of them.

        The scatter of slopes is proportional to the curvature of the loss (both are the Fisher information of the
        patterns), so this is its Schur complement. It is estimated from groups of patterns: what is left is the
        intercept of a regression on the slopes of the optics, and less certain the larger these are (N. R. Draper and
        H. Smith, Applied Regression Analysis, 3rd ed., 1998, section 3.1).
        """
        if not self.optics or not self._are_finite:
            return replace(self, falls=self.falls[: self.strains], covariance=self._of_strains, optics=0)
        count = self.strains
        inverse, of_optics = np.linalg.pinv(self.covariance[count:, count:]), self.falls[count:]
        share = self.covariance[:count, count:] @ inverse
        left = self._of_strains - share @ self.covariance[count:, :count]
        leverage = max(0.0, float(of_optics @ inverse @ of_optics)) / (self.groups - 1)
        return Slopes(self.falls[:count] - share @ of_optics, (1 + leverage) * left, self.even)

    @property
    def chi_squared(self) -> float:
        """Squared length of the strains' slopes in standard deviations, beyond what aberrations explain.

        About the number of strains by chance; NaN if they are not finite.
        """
        if not self._are_finite:
            return math.nan
        alone = self.beyond_optics
        return max(0.0, float(alone.falls @ np.linalg.pinv(alone.covariance) @ alone.falls))

    @property
    def doubt(self) -> float:
        """Factor by which slopes are less certain than patterns scatter, because the model lacks something."""
        return math.hypot(1.0, UNSURE * self.even)

    @property
    def are_beyond_doubt(self) -> bool:
        """Whether the object shows a strain, whatever the model lacks."""
        return self.chi_squared > SHOWN * self.strains * self.doubt**2

    @property
    def may_be_noise(self) -> bool:
        """Whether they are as small as those of an object that is not strained."""
        return self.chi_squared < NOISE * self.strains

    def along(self, point: DoubleArray) -> tuple[float, float]:
        """Fall of the loss by these amounts (n,) of the strains, if it is linear, and its standard deviation.

        Aberrations follow; those of the point do not count.
        """
        alone, by = self.beyond_optics, point[: self.strains]
        variance = max(0.0, float(by @ alone.covariance @ by))  # by rounding below 0, if optics explain everything
        return float(alone.falls @ by), self.doubt * math.sqrt(variance)

    @property
    def _are_finite(self) -> bool:
        return bool(np.isfinite(self.falls).all() and np.isfinite(self.covariance).all())

    @property
    def _of_strains(self) -> DoubleArray:
        return self.covariance[: self.strains, : self.strains]


class StrainedScan:
    """A refined scan whose positions and object are strained together, about the middle of the positions.

    ``problem``: of the run that ended with ``vector`` (numpy); its start is not needed.
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
        self._chosen = np.random.default_rng(0).permutation(len(positions_A))[:MOST_PATTERNS]
        self._known: dict[tuple[tuple[float, ...], tuple[tuple[str, float], ...]], DoubleArray] = {}
        """Losses that were computed, by strain and aberrations."""

    @property
    def probe(self) -> Probe:
        """Probe of the scan, without what was refined of it."""
        return self._problem.measured.probe

    def slopes(self, directions: Sequence[Direction]) -> Slopes:
        """Slopes in each of these directions per unit of it, those of optics last."""
        optics = sum(direction.is_optics for direction in directions)
        return Slopes.of(np.stack([self._falls(direction) for direction in directions]), optics)

    def with_even(self, slopes: Slopes, directions: Sequence[Direction]) -> Slopes:
        """The same slopes, in these directions, with the one in an even stretch, which makes them less certain."""
        optics = (direction for direction in directions if direction.is_optics)
        return replace(slopes, even=math.sqrt(self.slopes([EVEN, *optics]).chi_squared))

    def curvatures(self, directions: Sequence[Direction]) -> DoubleArray:
        """(n,) curvatures of the loss in each of these directions per unit squared, with the object's values held."""
        middle = self._losses(EVEN.times(0.0)).sum()
        sides = [(direction.times(self._scale(direction)), self._scale(direction)) for direction in directions]
        bends = [self._losses(up).sum() + self._losses(up.times(-1.0)).sum() - 2 * middle for up, _ in sides]
        return np.array([bend / scale**2 for bend, (_, scale) in zip(bends, sides, strict=True)])

    def on(self, new: Problem, direction: Direction) -> Array:
        """Parameters for a problem whose positions are those of this one, strained about their middle."""
        from scipy.ndimage import affine_transform

        old, back = self._problem, np.linalg.inv(np.eye(2) + direction.strain)
        first_A = self._centre_A + back @ (new.grid.origin_A - self._centre_A) - old.grid.origin_A
        vector = new.start.copy()
        new.layout.probe_block(vector)[...] = self._probe(direction.aberrations_A)
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

    def _probe(self, aberrations_A: Mapping[str, float]) -> Array:
        """Parameters of the probe with aberrations added to it."""
        block, measured = np.asarray(self._problem.layout.probe_block(self._vector)), self._problem.measured
        if not aberrations_A:
            return block
        model, polynomial = measured.model, chi_polynomial(measured.wavelength_A, aberrations_A)
        chi = np.polynomial.polynomial.polyval2d(model.k_row, model.k_col, polynomial)
        return np.asarray(turned(block, -chi, np))

    def _scale(self, direction: Direction) -> float:
        """Units that move the positions by ``MOVED_PX``, or change the phase at the rim by ``MOVED_RAD``."""
        if direction.is_optics:
            probe = self._problem.measured.probe
            largest_A = max(abs(value) for value in direction.aberrations_A.values())
            return MOVED_RAD / (math.pi * probe.wavelength_A * probe.semiangle_invA**2 * largest_A)
        moved_A = math.sqrt(float(((self._from_centre_A @ direction.strain.T) ** 2).sum(axis=1).mean()))
        return MOVED_PX * self._problem.grid.pixel_A / max(moved_A, 1e-12)

    def _falls(self, direction: Direction) -> DoubleArray:
        """(groups,) fall of the loss per unit of a direction, from both sides."""
        self._context.pause()
        scale = self._scale(direction)
        return (self._losses(direction.times(-scale)) - self._losses(direction.times(scale))) / (2 * scale)

    def _losses(self, direction: Direction) -> DoubleArray:
        """(groups,) loss after a change, computed once."""
        change = (tuple(direction.strain.ravel() + 0.0), tuple(direction.aberrations_A.items()))  # no -0
        if change not in self._known:
            self._known[change] = self._evaluated(direction)
        return self._known[change]

    def _evaluated(self, direction: Direction) -> DoubleArray:
        """(groups,) loss after a change."""
        matrix, measured = np.eye(2) + direction.strain, self._problem.measured
        positions_A = self._centre_A + self._from_centre_A @ matrix.T
        dataset = replace(measured.dataset, positions_A=positions_A, reach_A=self._reach_A)
        problem = lay_out(replace(measured, dataset=dataset), self._problem.strategy, self._preset, None)
        vector = self.on(problem, direction)
        with closing(open_backend(self._context.backend, problem.multislice, self._context.threads)) as backend:
            objective = Objective(
                backend, on_device(problem.layout, backend.xp), problem.multislice.count, move_probe=False
            )
            number = min(GROUPS if objective.has_pattern_losses else FEW_GROUPS, len(self._chosen))
            groups = [np.sort(group) for group in np.array_split(self._chosen, number)]
            return np.array(objective.losses(backend.xp.asarray(vector), groups))
