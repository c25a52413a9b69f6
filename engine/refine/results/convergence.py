"""Whether a run has converged when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.refine.solvers.lbfgs import FALLING
from ptylive.schema.preset.solver import MORE_EPOCHS


@dataclass(frozen=True)
class Convergence:
    """Change of the loss over the last epochs."""

    falling: bool
    """Whether the loss still falls by a share that shows in the object, beyond its own scatter."""
    fall: float
    """Share by which the loss falls per epoch, mean of the last ones; negative if it rises."""
    uncertainty: float | None
    """Standard deviation of the fall, from its scatter over patterns; None: judged by all patterns, without scatter."""
    held_out: int
    """Number of held-out patterns that it is judged by; 0: judged by the refined patterns."""
    at_rest: bool = False
    """Whether no step lowers the loss any more, so further epochs do nothing."""

    @property
    def rising(self) -> bool:
        """Whether the loss of the refined patterns rises: steps are too long, or constraints and schedules spoil it."""
        return not self.held_out and self.fall < -FALLING

    @property
    def converged(self) -> bool:
        """Whether more epochs would leave the result as it is."""
        return not self.falling and not self.rising

    @property
    def sentence(self) -> str:
        """Describe the convergence in words."""
        if self.at_rest:
            return "converged: no step lowers the loss any more"
        loss_name = f"loss of {self.held_out} held-out patterns" if self.held_out else "loss"
        scatter = "" if self.uncertainty is None else f" ± {100 * self.uncertainty:.1g}"
        if self.falling:
            return f"not converged: the {loss_name} is still falling by {_percent(self.fall)}{scatter} % an epoch:" + (
                f" continue with +{MORE_EPOCHS} epochs"
            )
        if self.fall < -2 * (self.uncertainty or 0.0) and self.held_out:
            return f"the {loss_name} rises by {_percent(-self.fall)}{scatter} % an epoch: more epochs would fit noise"
        if self.rising:
            return (
                f"not converged: the {loss_name} rises by {_percent(-self.fall)} % an epoch: use smaller steps, or"
                " constraints and schedules that change less"
            )
        return f"converged: the {loss_name} falls by {_percent(max(self.fall, 0))}{scatter} % an epoch"


def _percent(share: float) -> str:
    """A share of at least 0 in percent, without an exponent."""
    return f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.0f}"
