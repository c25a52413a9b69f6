"""The loss of a tilt series as a function of one vector, for the optimiser of refinements.

Slices are identical: one phase map (P, P) is repeated, and its gradient is the sum over the slices. In the vector it is
followed by thickness, centre of the tilts, brightness and background; blocks that are not refined have gradient 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import Corrections
from ptylive.engine.larbed.crystal import CrystalGrid, problem_of, reduced_tilts
from ptylive.engine.larbed.tilt_series import TiltSeries
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.solvers.line_search import WolfeSearch
from ptylive.engine.refine.solvers.loss_function import Evaluation
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

THINNEST, THICKEST = 0.3, 1.8
"""Bounds of the thickness relative to the start's: slices stretched further no longer represent the crystal."""
DIMMEST = 0.1
"""Least brightness: a crystal that diffracts a tenth of the electrons of its series is no model of it."""
SEARCH = WolfeSearch(1e-4, 0.9, 20)
HISTORY = 20
LEAST_BACKGROUND = 0.25
"""Least background in a curvature, in counts of a reflection, so that dark reflections do not make it infinite."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """The parameters that are refined."""

    phase: DoubleArray
    """(P, P) phase of one slice, rad."""
    thickness_A: float
    slices: int
    centre_mrad: DoubleArray
    """(2,) tilt at which the beam runs along the zone axis."""
    brightness: float
    """Electrons of a pattern relative to those of the series."""
    background: DoubleArray
    """(M,) counts of each reflection that do not depend on the tilt, not below 0."""


@dataclass(frozen=True)
class CrystalLayout:
    """Order of the vector: phase, thickness relative to the first one, centre (2), brightness, background."""

    pixels: int
    beams: int

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.pixels**2 + 4 + self.beams

    @property
    def blocks(self) -> dict[str, slice]:
        """Blocks by name."""
        n = self.pixels**2
        return {
            "phase": slice(0, n),
            "thickness": slice(n, n + 1),
            "centre": slice(n + 1, n + 3),
            "brightness": slice(n + 3, n + 4),
            "background": slice(n + 4, self.size),
        }

    def object_block(self, vector: Any) -> Any:
        """A view of the phase."""
        return vector[self.blocks["phase"]]

    def quantities(self) -> list[tuple[slice, bool]]:
        """Block of every quantity, the phase first; none is complex."""
        return [(part, False) for part in self.blocks.values()]

    def lower_bounds(self) -> list[tuple[slice, float]]:
        """Blocks with a lower bound: backgrounds are counts; a thickness does not vanish."""
        return [
            (self.blocks["background"], 0.0),
            (self.blocks["thickness"], THINNEST),
            (self.blocks["brightness"], DIMMEST),
        ]


class TiltObjective:
    """Loss and gradient at vectors of :class:`CrystalLayout`, in the form that the solver expects."""

    xp: Any = np

    def __init__(
        self,
        series: TiltSeries,
        grid: CrystalGrid,
        start: Crystal,
        moving: frozenset[str],
        loss_offset: float = 0.0,
        dtype: str = "complex64",
    ) -> None:
        """moving: names of the refined blocks; loss_offset: counts of a reflection (``DataTerm.offset``)."""
        self.series, self.grid, self.start, self.moving = series, grid, start, moving
        self.layout = CrystalLayout(grid.pixels, len(series.hk))
        problem = problem_of(series, grid, start.slices, start.thickness_A, loss_offset)
        self.backend = GeneralMultislice(problem, np, dtype, "larbed")
        self.count = problem.count
        self._dtype = dtype
        self._real = np.float32 if dtype == "complex64" else np.float64
        self._places = grid.places(series.hk)
        self._wave = np.zeros((2, 1, grid.pixels, grid.pixels), self._real)
        self._wave[0, 0, 0, 0] = np.sqrt(series.electrons)

    def vector(self) -> DoubleArray:
        """The starting vector."""
        start = self.start
        parts = [start.phase.ravel(), [1.0], start.centre_mrad, [start.brightness], start.background]
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])

    def crystal(self, vector: DoubleArray) -> Crystal:
        """The crystal that a vector describes."""
        phase, thickness, centre, brightness, background = (vector[part] for part in self.layout.blocks.values())
        size = self.grid.pixels
        return Crystal(
            phase.reshape(size, size).copy(),
            float(thickness[0]) * self.start.thickness_A,
            self.start.slices,
            centre.copy(),
            float(brightness[0]),
            background.copy(),
        )

    def evaluate(self, vector: DoubleArray, indices: IndexArray | None = None) -> Evaluation:
        """Loss and its gradient, of all tilts. ValueError if a subset is requested."""
        if indices is not None:
            raise ValueError("a tilt series is refined as a whole")
        moving, crystal = self.moving, self.crystal(vector)
        planes = self._planes(crystal)
        given = self._corrections(crystal)
        result = self.backend.loss_and_gradient(planes, self._wave, probe_gradient=False, corrections=given)
        gradient, parts = np.zeros(self.layout.size), self.layout.blocks
        by_plane = result.object.sum(axis=1, dtype=np.float64)
        gradient[parts["phase"]] = (by_plane[1] * np.cos(crystal.phase) - by_plane[0] * np.sin(crystal.phase)).ravel()
        derivatives = result.corrections
        if "thickness" in moving:
            gradient[parts["thickness"]] = derivatives.distances_A.sum() * self.start.thickness_A / crystal.slices
        if "centre" in moving:
            tangents = np.tan(1e-3 * (self.series.tilts_mrad - crystal.centre_mrad))
            by_tangent = derivatives.tilts[:, 2:4] @ self.grid.reciprocal_invA
            gradient[parts["centre"]] = 1e-3 * (by_tangent * (1 + tangents**2)).sum(axis=0)
        if "brightness" in moving:
            gradient[parts["brightness"]] = derivatives.current.sum()
        if "background" in moving:
            gradient[parts["background"]] = derivatives.background.ravel()[self._places]
        return Evaluation(float(result.loss), gradient)

    def beams(self, crystal: Crystal) -> FloatArray:
        """(N, M) counts that the model expects, background included."""
        planes, model = self._planes(crystal), self.backend
        tilted = TiltObjective(
            _on_axis(self.series, crystal), self.grid, crystal, frozenset(), dtype=self._dtype
        ).backend
        patterns = tilted.expected_patterns(planes, self._wave)
        found = model.to_numpy(patterns).reshape(self.count, -1)[:, self._places]
        return np.asarray(found * crystal.brightness + crystal.background, dtype=np.float32)

    def inverse_curvature(self, vector: DoubleArray, probe_step: float) -> DoubleArray:
        """(size,) approximate inverse curvature of each parameter, by which the solver scales its steps."""
        del probe_step
        series, start = self.series, self.start
        total = 2 * self.count * series.electrons
        q_squared = self.grid.q_squared().ravel()[self._places]
        weight = series.counts.mean(axis=0) / max(float(series.electrons), 1.0)
        spread = float((weight * q_squared).sum()) + 1e-3
        curvature, parts = np.ones(self.layout.size), self.layout.blocks
        curvature[parts["phase"]] = total * start.slices**2 / self.grid.pixels**2
        curvature[parts["thickness"]] = total * (np.pi * series.wavelength_A * start.thickness_A * spread) ** 2
        curvature[parts["centre"]] = total * spread * (2e-3 * np.pi * start.thickness_A) ** 2
        curvature[parts["brightness"]] = total / 4
        curvature[parts["background"]] = 0.5 * self.count / (series.counts.mean(axis=0).clip(0) + LEAST_BACKGROUND)
        return np.asarray(1 / curvature)

    def dot(self, a: DoubleArray, b: DoubleArray) -> float:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        return float(np.dot(a, b))

    def is_finite(self, vector: DoubleArray) -> bool:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        return bool(np.isfinite(vector).all())

    def anchored(self, reference: Any, inverse_curvature: Any, share: float) -> TiltObjective:
        """Not supported: a crystal has no pixels about which the series says nothing. Raises ValueError."""
        del inverse_curvature
        raise ValueError(f"a tilt series has no anchor ({np.size(reference)} parameters, a share of {share})")

    def project(self, vector: Any) -> Any:
        """Project ``vector`` onto the allowed range, in place."""
        for part, lowest in self.layout.lower_bounds():
            np.maximum(vector[part], lowest, out=vector[part])
        thickness = self.layout.blocks["thickness"]
        np.minimum(vector[thickness], THICKEST, out=vector[thickness])
        return vector

    def at_bound(self, vector: Any, gradient: Any) -> Any:
        """Parameters at a bound that a step would push through it."""
        mask = np.zeros(vector.shape, bool)
        for part, lowest in self.layout.lower_bounds():
            mask[part] = (vector[part] <= lowest) & (gradient[part] > 0)
        thickness = self.layout.blocks["thickness"]
        mask[thickness] |= (vector[thickness] >= THICKEST) & (gradient[thickness] < 0)
        return mask

    def minimised(self, iterations: int, on_step: Callable[[float], None] = lambda loss: None) -> tuple[Crystal, float]:
        """Result of L-BFGS after a number of steps, and its loss per pattern and reflection."""
        solver = Lbfgs(self, iterations, HISTORY, Descent(SEARCH), 1.0, 0.0)
        state, scale = solver.init(self.vector()), self.count * self.layout.beams
        while not solver.finished(state):
            state = solver.step(state)
            on_step(state.loss / scale)
        return self.crystal(state.vector), state.loss / scale

    def _planes(self, crystal: Crystal) -> Array:
        phase = crystal.phase
        return np.stack([np.cos(phase), np.sin(phase)])[:, None].repeat(crystal.slices, axis=1).astype(self._real)

    def _corrections(self, crystal: Crystal) -> Corrections:
        """Corrections that the backend applies and differentiates; only what is refined."""
        moving, start = self.moving, self.start
        length = crystal.thickness_A / crystal.slices
        moved = "centre" in moving or bool(start.centre_mrad.any())
        background = np.zeros(self.grid.pixels**2, self._real)
        background[self._places] = crystal.background
        lit = "background" in moving or bool(start.background.any())
        return Corrections(
            distances_A=np.full(crystal.slices - 1, length) if "thickness" in moving else None,
            tilts=reduced_tilts(self.grid, self.series.tilts_mrad, crystal.centre_mrad) if moved else None,
            current=np.full(self.count, crystal.brightness),
            background=background.reshape(self.grid.pixels, -1) if lit else None,
        )


def _on_axis(series: TiltSeries, crystal: Crystal) -> TiltSeries:
    """The tilts of a series, measured from the zone axis."""
    return replace(series, tilts_mrad=series.tilts_mrad - crystal.centre_mrad)
