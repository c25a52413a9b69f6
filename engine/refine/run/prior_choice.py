"""Choice of the network state used as the result: the earliest that predicts held-out patterns as well as the best.

Networks that are trained for long reproduce the noise of the patterns as well (Ulyanov et al., CVPR 2018). Of all
epochs within a standard error of the best-predicting one, the first is therefore chosen (Breiman et al., 1984), and
none if the pixels before it predict better. Everything is compared pattern group by pattern group, so that what groups
have in common does not count as scatter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.results.prior import BEYOND_DOUBT
from ptylive.schema.model import DoubleArray

TOLERATED = 0.1
"""Share of the gain of the pixels over chance by which the networks may predict worse. They lose a little of what
patterns show well and much of the noise of what they show badly, which predicts nothing either way."""
MOST_KEPT = 8
"""Maximum number of states kept in memory that may still be chosen."""


@dataclass(frozen=True)
class Candidate:
    """A state after an epoch."""

    epoch: int
    vector: Any
    losses: DoubleArray
    """(groups,) loss per held-out pattern."""


@dataclass
class PriorChoice:
    """The states of a run, added as they are reached."""

    pixels: DoubleArray
    """(groups,) loss per held-out pattern of the state before the networks."""
    over_chance: Gain
    """Gain of that state in predicting patterns over predicting them at each other's positions."""
    history: list[float] = field(default_factory=list)
    """Mean loss after each epoch."""
    candidates: list[Candidate] = field(default_factory=list)
    """States that may be chosen, earliest first; the last predicts best."""

    def add(self, epoch: int, vector: Any, losses: DoubleArray) -> None:
        """Record an epoch; ``vector`` is kept without a copy. A state whose loss is not finite cannot be chosen."""
        self.history.append(float(np.mean(losses)))
        if not np.isfinite(losses).all() or (
            self.candidates and np.mean(losses) >= np.mean(self.candidates[-1].losses)
        ):
            return
        new = Candidate(epoch, vector, np.asarray(losses, dtype=np.float64))
        self.candidates = [candidate for candidate in self.candidates if self._as_good(candidate, new)] + [new]
        if len(self.candidates) > MOST_KEPT:
            del self.candidates[1]

    @staticmethod
    def _as_good(earlier: Candidate, best: Candidate) -> bool:
        """Whether ``earlier`` predicts worse than the best by no more than a standard error."""
        behind = Gain.over(earlier.losses, best.losses)
        return behind.share <= behind.deviation

    @property
    def best(self) -> Candidate | None:
        """The earliest state that is as good as the best; None if there is no state."""
        return self.candidates[0] if self.candidates else None

    @property
    def gain(self) -> Gain:
        """Gain of the best state over the pixels."""
        return Gain(0.0, 0.0) if self.best is None else Gain.over(self.pixels, self.best.losses)

    def image_gain(self, over_chance: Gain) -> Gain:
        """Gain of the pixels over chance, or of the best state (``over_chance``) unless theirs is beyond doubt."""
        return self.over_chance if self.over_chance.exceeds(BEYOND_DOUBT) else over_chance

    def chosen(self, over_chance: Gain) -> Candidate | None:
        """Return the best state, unless the pixels predict better: beyond doubt, and by more than is tolerated.

        ``over_chance``: gain of that state in predicting patterns over each other's positions. If neither it nor the
        pixels show an image, the networks have nothing to show better and would invent one. With few electrons the
        noise of the pixels may hide what networks show.
        """
        image_gain = self.image_gain(over_chance)
        if not image_gain.exceeds(BEYOND_DOUBT):
            return None
        gain = self.gain
        return self.best if gain.share >= -max(BEYOND_DOUBT * gain.deviation, TOLERATED * image_gain.share) else None
