"""Which state of the networks is the result: the earliest that predicts held-out patterns as well as the best.

Networks that are trained for long give the noise of the patterns too (Ulyanov et al., CVPR 2018). So of all epochs that
lie within a standard error of the one that predicts best the first is taken (Breiman et al., 1984), and none at all
where the pixels before it predict better. Everything is compared pattern group by pattern group, so that
what groups have in common does not count as scatter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.results.prior import BEYOND_DOUBT
from ptylive.schema.model import DoubleArray

TOLERATED = 0.1
"""Of what the pixels predict better than chance: so much less may be predicted by the networks. They lose a little of
what patterns show well and much of the noise of what they show badly, which predicts nothing either way."""
MOST_KEPT = 8
"""States that may still be chosen, kept in memory."""


@dataclass(frozen=True)
class Candidate:
    """A state after an epoch."""

    epoch: int
    vector: Any
    losses: DoubleArray
    """(groups,) per pattern."""


@dataclass
class PriorChoice:
    """The states of a run, as they come."""

    pixels: DoubleArray
    """(groups,) loss per pattern held out, of the state before the networks."""
    over_chance: Gain
    """By which that state predicts patterns better than at each other's places."""
    history: list[float] = field(default_factory=list)
    """Mean loss after each epoch."""
    kept: list[Candidate] = field(default_factory=list)
    """States that may be chosen, earliest first; the last predicts best."""

    def add(self, epoch: int, vector: Any, losses: DoubleArray) -> None:
        """Take note of an epoch; ``vector`` is kept as it is. One whose loss is not finite is none to choose."""
        self.history.append(float(np.mean(losses)))
        if not np.isfinite(losses).all() or (self.kept and np.mean(losses) >= np.mean(self.kept[-1].losses)):
            return
        new = Candidate(epoch, vector, np.asarray(losses, dtype=np.float64))
        self.kept = [each for each in self.kept if self._as_good(each, new)] + [new]
        if len(self.kept) > MOST_KEPT:
            del self.kept[1]

    @staticmethod
    def _as_good(earlier: Candidate, best: Candidate) -> bool:
        """Whether one predicts no worse than the best by more than a standard error."""
        behind = Gain.over(earlier.losses, best.losses)
        return behind.share <= behind.deviation

    @property
    def best(self) -> Candidate | None:
        """The earliest state that is as good as the best; None where there is none."""
        return self.kept[0] if self.kept else None

    @property
    def gain(self) -> Gain:
        """Of that state over the pixels."""
        return Gain(0.0, 0.0) if self.best is None else Gain.over(self.pixels, self.best.losses)

    def seen(self, over_chance: Gain) -> Gain:
        """By which the pixels predict patterns better than chance, or that state where they do not beyond doubt."""
        return self.over_chance if self.over_chance.exceeds(BEYOND_DOUBT) else over_chance

    def taken(self, over_chance: Gain) -> Candidate | None:
        """That state, unless the pixels predict better: beyond doubt, and by more than is tolerated.

        ``over_chance``: by which that state predicts patterns better than at each other's places. Where neither it nor
        the pixels show a picture there is nothing that networks could show better: they would paint one. At few
        electrons the noise of the pixels may hide what networks show.
        """
        seen = self.seen(over_chance)
        if not seen.exceeds(BEYOND_DOUBT):
            return None
        gain = self.gain
        return self.best if gain.share >= -max(BEYOND_DOUBT * gain.deviation, TOLERATED * seen.share) else None
