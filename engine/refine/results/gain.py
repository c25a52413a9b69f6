"""By how much one model predicts held-out patterns better than another, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptylive.schema.advice.words import significant
from ptylive.schema.model import DoubleArray

CERTAIN = 2.0
"""Standard deviations by which an alternative must predict better before it is chosen."""


@dataclass(frozen=True)
class Gain:
    """A fall of the held-out loss, as a share, and its standard deviation, from its scatter over groups."""

    share: float
    deviation: float

    @classmethod
    def of(cls, falls: DoubleArray, loss: float) -> Gain:
        """Compute the gain from the fall in each group (n,) and the loss that falls."""
        scatter = float(np.std(falls, ddof=1)) / math.sqrt(len(falls)) if len(falls) > 1 else math.inf
        scale = max(abs(loss), 1e-30)
        return cls(float(np.mean(falls)) / scale, scatter / scale)

    @classmethod
    def over(cls, others: Sequence[float] | DoubleArray, losses: Sequence[float] | DoubleArray) -> Gain:
        """Gain of ``losses`` (groups,) over those of another model; variations common to the groups are not scatter."""
        return cls.of(np.subtract(others, losses), float(np.mean(others)))

    @property
    def opposite(self) -> Gain:
        """Gain of the other model over this one."""
        return Gain(-self.share, self.deviation)

    @property
    def certain(self) -> bool:
        """Whether the gain is beyond doubt."""
        return self.exceeds(CERTAIN)

    def exceeds(self, deviations: float) -> bool:
        """Whether the gain is larger than ``deviations`` of its standard deviations."""
        return self.share > deviations * self.deviation

    def __str__(self) -> str:
        """Format the gain in per cent, without a sign of 0."""
        return f"{significant(100 * self.share + 0.0, 2)} ± {significant(100 * self.deviation, 1)} %"
