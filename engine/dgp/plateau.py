"""The rate of training: halved where the loss lies on a plateau, until nothing is to be gained; no torch is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import DoubleArray

PATIENCE = 4
"""Epochs without a gain before the rate is lowered."""
FACTOR = 0.5
GAIN = 2e-4
"""Share of the loss that counts as one, where there is but one loss."""
SMALLEST = 1 / 64
"""Of the first rate, below which training ends."""


@dataclass(frozen=True)
class Plateau:
    """State of a schedule: pure, from epoch to epoch."""

    lowest: DoubleArray | None = None
    """(groups,) losses, of the last epoch that was a gain."""
    waited: int = 0
    rate: float = 1.0
    """Over the first one."""

    def after(self, losses: float | DoubleArray) -> Plateau:
        """The state after an epoch of this loss, or of these of the same groups of patterns as ever.

        Of groups a gain is a fall beyond its standard error over them: at few electrons nearly all of the loss is
        noise, the same in every epoch, and a share of it says nothing. A loss that is not finite is no gain.
        """
        now = np.atleast_1d(np.asarray(losses, np.float64))
        if np.isfinite(now).all() and (self.lowest is None or _fell(self.lowest, now)):
            return Plateau(now, 0, self.rate)
        if self.waited + 1 < PATIENCE:
            return Plateau(self.lowest, self.waited + 1, self.rate)
        return Plateau(self.lowest, 0, self.rate * FACTOR)

    @property
    def finished(self) -> bool:
        """Whether the rate has become too small to change anything."""
        return self.rate < SMALLEST


def _fell(before: DoubleArray, now: DoubleArray) -> bool:
    """Whether losses (groups,) fell by more than chance."""
    falls = before - now
    if len(falls) == 1:
        return bool(falls[0] > GAIN * abs(now[0]))
    return bool(falls.mean() > falls.std(ddof=1) / math.sqrt(len(falls)))
