"""Schedule of the learning rate: halved on a plateau of the loss, until no gain is left; torch is not required."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import DoubleArray

PATIENCE = 4
"""Epochs without a gain before the rate is lowered."""
FACTOR = 0.5
GAIN = 2e-4
"""Relative decrease of the loss that counts as a gain, if there is only one loss."""
SMALLEST = 1 / 64
"""Fraction of the initial rate below which training ends."""


@dataclass(frozen=True)
class Plateau:
    """Immutable state of a schedule, from epoch to epoch."""

    lowest: DoubleArray | None = None
    """(groups,) losses of the last epoch with a gain."""
    waited: int = 0
    rate: float = 1.0
    """Relative to the initial rate."""

    def after(self, losses: float | DoubleArray) -> Plateau:
        """The state after an epoch with this loss, or with losses of groups of patterns, which are the same every time.

        For groups, a gain is a decrease beyond its standard error over them: at few electrons nearly all of the loss is
        noise, the same in every epoch, and a fraction of it means nothing. A loss that is not finite is no gain.
        """
        current = np.atleast_1d(np.asarray(losses, np.float64))
        if np.isfinite(current).all() and (self.lowest is None or _has_decreased(self.lowest, current)):
            return Plateau(current, 0, self.rate)
        if self.waited + 1 < PATIENCE:
            return Plateau(self.lowest, self.waited + 1, self.rate)
        return Plateau(self.lowest, 0, self.rate * FACTOR)

    @property
    def finished(self) -> bool:
        """Whether the rate has become too small to change anything."""
        return self.rate < SMALLEST


def _has_decreased(before: DoubleArray, after: DoubleArray) -> bool:
    """Whether losses (groups,) decreased by more than chance."""
    falls = before - after
    if len(falls) == 1:
        return bool(falls[0] > GAIN * abs(after[0]))
    return bool(falls.mean() > falls.std(ddof=1) / math.sqrt(len(falls)))
