"""A few fixed tilts: one backend for the patterns of each tilt, with the tilt in its free-space propagators.

A shear of free space that is common to all patterns is a factor of the propagators, which the compiled and the fused
kernels take as they are. Scans of one place at different tilts can therefore be refined by these kernels, one after the
other, instead of on whole arrays with a ramp for every pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import (
    HELD,
    Corrections,
    LossGradient,
    MultisliceBackend,
    MultisliceProblem,
)
from ptylive.schema.model import Array, DoubleArray, IndexArray

MOST_PARTS = 16
"""Largest number of tilts that get a backend each; every backend has its own object gradient."""
OpenPart = Callable[[MultisliceProblem], MultisliceBackend]


def opened_by_tilts(problem: MultisliceProblem, open_part: OpenPart) -> MultisliceBackend:
    """Open one backend, or one for each of a few fixed tilts inside the specimen if no other feature is used."""
    part_of = _parts(problem)
    return open_part(problem) if part_of is None else TiltedParts(problem, part_of, open_part)


def _parts(problem: MultisliceProblem) -> IndexArray | None:
    """(N,) number of the tilt of each pattern; None unless the problem consists of a few tilts."""
    model = problem.model
    if model is None or model.tilts is None or not model.tilts.fixed or model.tilts.mode != 0:
        return None
    if replace(model, tilts=None).beyond_compiled() or len(model.tilts.tangents) != problem.count:
        return None
    different, part_of = np.unique(model.tilts.tangents[:, 2:4], axis=0, return_inverse=True)
    return None if len(different) > MOST_PARTS else part_of.ravel()


def _folded(problem: MultisliceProblem, patterns: IndexArray) -> MultisliceProblem:
    """The problem for the patterns of one tilt, with the tilt in the propagators instead of the model."""
    model, phase_per_A = problem.model, problem.phase_per_A
    assert model is not None and model.tilts is not None and phase_per_A is not None  # noqa: S101  (by _parts)
    q = np.fft.fftfreq(problem.window, model.pixel_A)
    row, column = model.tilts.tangents[patterns[0], 2:4]
    shear: DoubleArray = 2 * np.pi * (q[:, None] * row + q[None, :] * column)
    distances = np.asarray(model.thickness_A[: len(problem.propagators)], dtype=float).reshape(-1, 1, 1)
    propagators = problem.propagators * np.exp(1j * shear * distances)
    part = replace(problem, model=None).part(patterns)
    return replace(part, phase_per_A=phase_per_A + shear, propagators=propagators)


class TiltedParts:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` composed of one backend per tilt."""

    def __init__(self, problem: MultisliceProblem, part_of: IndexArray, open_part: OpenPart) -> None:
        self._count, self._part_of = problem.count, part_of
        self._patterns_of_part = [np.flatnonzero(part_of == part) for part in range(int(part_of.max()) + 1)]
        self._index_in_part = np.empty(problem.count, dtype=np.int64)
        for patterns in self._patterns_of_part:
            self._index_in_part[patterns] = np.arange(len(patterns))
        self._backends = [open_part(_folded(problem, patterns)) for patterns in self._patterns_of_part]
        self.xp: ModuleType = self._backends[0].xp
        self.name = f"{self._backends[0].name}, {len(self._patterns_of_part)} tilts"

    def loss_and_gradient(
        self,
        object_planes: Any,
        probe_planes: Any,
        indices: IndexArray | None = None,
        *,
        probe_gradient: bool = True,
        corrections: Corrections = HELD,
    ) -> LossGradient:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        if corrections.tilts is not None:
            raise ValueError("fixed tilts are not refined")
        results = []
        for part, chosen in self._shares(indices):
            result = self._backends[part].loss_and_gradient(
                object_planes,
                probe_planes,
                chosen,
                probe_gradient=probe_gradient,
                corrections=corrections.of_patterns(self._patterns_of_part[part], self.xp),
            )
            moved = result.corrections.among_all(self._patterns_of_part[part], self._count, self.xp)
            results.append(replace(result, corrections=moved))
        return sum(results[1:], results[0])

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return sum(self._backends[part].illumination(probe_planes, chosen) for part, chosen in self._shares(indices))

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return self._backends[0].to_numpy(array)

    def close(self) -> None:
        """Close the backends of all parts."""
        for backend in self._backends:
            backend.close()

    def _shares(self, indices: IndexArray | None) -> list[tuple[int, IndexArray]]:
        """The parts that have patterns to evaluate, each with those patterns' numbers within the part."""
        chosen = np.arange(self._count) if indices is None else np.asarray(indices)
        parts = self._part_of[chosen]
        shares = [(part, self._index_in_part[chosen[parts == part]]) for part in range(len(self._patterns_of_part))]
        return [(part, share) for part, share in shares if len(share)]
