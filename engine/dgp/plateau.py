"""The rate of training: halved where the loss lies on a plateau, until nothing is to be gained; no torch is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

PATIENCE = 4
"""Epochs without a gain before the rate is lowered."""
FACTOR = 0.5
GAIN = 2e-4
"""Share of the loss that counts as one."""
SMALLEST = 1 / 64
"""Of the first rate, below which training ends."""


@dataclass(frozen=True)
class Plateau:
    """State of a schedule: pure, from epoch to epoch."""

    lowest: float = math.inf
    waited: int = 0
    rate: float = 1.0
    """Over the first one."""

    def after(self, loss: float) -> Plateau:
        """The state after an epoch of this loss; one that is not finite is no gain."""
        if loss < self.lowest - GAIN * abs(loss) or (math.isfinite(loss) and math.isinf(self.lowest)):
            return Plateau(loss, 0, self.rate)
        lowest = min(self.lowest, loss) if math.isfinite(loss) else self.lowest
        if self.waited + 1 < PATIENCE:
            return Plateau(lowest, self.waited + 1, self.rate)
        return Plateau(lowest, 0, self.rate * FACTOR)

    @property
    def finished(self) -> bool:
        """Whether the rate has become too small to change anything."""
        return self.rate < SMALLEST
