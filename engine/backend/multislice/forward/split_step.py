"""Split steps: the order of transmission and free-space propagation (Yoshida, Phys. Lett. A 150 (1990) 262).

Within a slice the potential is constant along the beam, so the exact operator is exp(d (A + B)), with A the
propagation and B the slice's logarithm of the transmission over d. The three methods approximate it with errors of d^2,
d^3 and d^5 per step, or of d, d^2 and d^4 over a given thickness.
"""

from __future__ import annotations

from typing import NamedTuple

from ptylive.engine.backend.multislice.description import SplitStep

W1 = 1 / (2 - 2 ** (1 / 3))
SUBSTEPS = {SplitStep.SECOND_ORDER: (1.0,), SplitStep.FOURTH_ORDER: (W1, 1 - 2 * W1, W1)}


class Transmit(NamedTuple):
    """Multiply by a power of the transmission of a slice."""

    slice: int
    power: float


class Propagate(NamedTuple):
    """Free space over shares of the thickness of one or two slices."""

    shares: tuple[tuple[int, float], ...]
    """(slice, share)."""


Step = Transmit | Propagate


def program(split: SplitStep, slices: int, *, to_exit_face: bool) -> tuple[Step, ...]:
    """The steps through ``slices`` slices. Far fields need no free space behind the last transmission.

    ``to_exit_face``: an image is formed, so the free space up to the exit face matters. First-order steps end, as they
    begin, with a slice: their image plane is the last slice.
    """
    steps: list[Step] = []
    for z in range(slices):
        if split is SplitStep.FIRST_ORDER:
            steps += [Transmit(z, 1.0), Propagate(((z, 1.0),))]
            continue
        for share in SUBSTEPS[split]:
            half = Propagate(((z, share / 2),))
            steps += [half, Transmit(z, share), half]
    if split is SplitStep.FIRST_ORDER or not to_exit_face:
        steps.pop()
    return _merged(steps)


def _merged(steps: list[Step]) -> tuple[Step, ...]:
    """Merge neighbouring propagations."""
    merged: list[Step] = []
    for step in steps:
        previous = merged[-1] if merged else None
        if isinstance(step, Propagate) and isinstance(previous, Propagate):
            shares = dict(previous.shares)
            for z, share in step.shares:
                shares[z] = shares.get(z, 0.0) + share
            merged[-1] = Propagate(tuple(shares.items()))
        else:
            merged.append(step)
    return tuple(merged)
