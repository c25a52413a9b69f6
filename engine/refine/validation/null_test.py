"""Whether the patterns support an image: held-out patterns predicted at their own positions and at those of others.

A network produces smooth images from anything. An image made from patterns in a wrong order does not predict unseen
patterns any better at their own positions than at those of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout, Physical
from ptylive.engine.refine.validation.noise_response import physical_of
from ptylive.schema.model import Array, DoubleArray, IndexArray

ROUNDS = 8
"""Number of exchanges of positions."""


def losses_by_place(
    problem: MultisliceProblem,
    layout: ParameterLayout,
    vector: Array,
    groups: Sequence[IndexArray],
    where: tuple[str, int],
) -> tuple[DoubleArray, DoubleArray]:
    """Loss per pattern of each group at the patterns' own positions, and at positions exchanged among the patterns.

    ``vector`` (n,): parameters, numpy; ``where``: name of the backend, threads. Each pattern is compared at the
    positions of eight others, each used once per round: those far away in a random order. With many positions the noise
    of a pattern counts less than with one, as it is compared with what all positions have in common.
    """
    chosen = np.concatenate(groups)
    order, sizes = np.random.default_rng(0).permutation(len(chosen)), [len(group) for group in groups]
    part, physical = problem.part(chosen), physical_of(layout.physical(vector, np), chosen, problem.count)
    moved = physical.corrections.shifts_px
    exchanged = []
    for round_ in range(1, ROUNDS + 1):
        elsewhere = np.empty_like(order)
        elsewhere[order] = np.roll(order, max(1, round_ * len(order) // (ROUNDS + 1)))
        mixed = replace(part, corners=part.corners[elsewhere], shifts_px=part.shifts_px[elsewhere])
        corrections = replace(physical.corrections, shifts_px=None if moved is None else moved[elsewhere])
        exchanged.append(_losses(mixed, physical._replace(corrections=corrections), sizes, where))
    return _losses(part, physical, sizes, where), np.asarray(np.mean(exchanged, axis=0))


def _losses(problem: MultisliceProblem, at: Physical, sizes: Sequence[int], where: tuple[str, int]) -> DoubleArray:
    """(groups,) loss per pattern of consecutive groups."""
    losses, first = [], 0
    with closing(open_backend(where[0], problem, where[1])) as backend:
        xp = backend.xp
        on_backend = {name: xp.asarray(value) for name, value in vars(at.corrections).items() if value is not None}
        corrections = replace(at.corrections, **on_backend)
        for size in sizes:
            result = backend.loss_and_gradient(
                xp.asarray(at.object),
                xp.asarray(at.probe),
                np.arange(first, first + size),
                probe_gradient=False,
                corrections=corrections,
            )
            losses.append(float(result.loss) / size)
            first += size
    return np.asarray(losses)
