"""The path through the specimen as the compiled kernel sees it: slices with one free space between any two."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.forward.split_step import Propagate, Step, Transmit
from ptylive.engine.backend.multislice.kernel_parts.planes import Real
from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.schema.model import Array


class Program(NamedTuple):
    """Steps in the kernel's order. If the path begins or ends with free space, a slice of vacuum is added there."""

    slices: tuple[Transmit | None, ...]
    """The slices in order; None: vacuum."""
    spaces: tuple[Propagate, ...]
    """The free spaces between the slices."""
    places: tuple[int, ...]
    """Index of each space among all steps of the model."""

    @classmethod
    def of(cls, steps: tuple[Step, ...]) -> Program:
        """Create the program for a model's steps, in which slices and free space alternate."""
        slices: list[Transmit | None] = [step for step in steps if isinstance(step, Transmit)]
        if isinstance(steps[0], Propagate):
            slices.insert(0, None)
        if isinstance(steps[-1], Propagate):
            slices.append(None)
        places = tuple(number for number, step in enumerate(steps) if isinstance(step, Propagate))
        spaces = tuple(step for step in steps if isinstance(step, Propagate))
        return cls(tuple(slices), spaces, places)

    def planes(self, powers: tuple[Array, ...], named: tuple[float, ...], real: Real, xp: ModuleType = np) -> Any:
        """(2, object modes * slices, Y * X) from slices (object modes, slices, Y * X) given for each power."""
        modes, _, pixels = powers[0].shape
        planes = xp.empty((2, modes, len(self.slices), pixels), real)
        for number, step in enumerate(self.slices):
            plane = xp.ones((modes, pixels), powers[0].dtype)
            if step is not None:
                plane = powers[named.index(step.power)][:, step.slice]
            planes[0, :, number], planes[1, :, number] = plane.real, plane.imag
        return planes.reshape(2, -1, pixels)

    def gradient(self, planes: Any, named: tuple[float, ...], slices: int, xp: ModuleType = np) -> Any:
        """(powers, 2, object modes, slices, Y * X): the adjoint of :meth:`planes`."""
        by_slice = planes.reshape(2, -1, len(self.slices), planes.shape[-1])
        total = xp.zeros((len(named), 2, by_slice.shape[1], slices, planes.shape[-1]), planes.dtype)
        for number, step in enumerate(self.slices):
            if step is not None:
                total[named.index(step.power), :, :, step.slice] += by_slice[:, :, number]
        return total


def space_is_of_rows_and_columns(problem: MultisliceProblem) -> bool:
    """Whether the variation of free space is a phase of rows plus one of columns, as the kernels take it."""
    phase, model = problem.phase_per_A, problem.model
    if model is None or not model.stretched or phase is None:
        return True
    sums = phase[:, :1] + phase[:1, :] - phase[0, 0]
    return bool(np.allclose(sums, phase, rtol=1e-9, atol=1e-9 * float(np.abs(phase).max())))
