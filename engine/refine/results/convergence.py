"""Whether a run has converged when it ends."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def sentence(self) -> str:
        """Describe the convergence in words."""
        loss_name = f"loss of {self.held_out} held-out patterns" if self.held_out else "loss"
        scatter = "" if self.uncertainty is None else f" ± {100 * self.uncertainty:.1g}"
        if self.falling:
            return f"not converged: the {loss_name} is still falling by {100 * self.fall:.2g}{scatter} % an epoch:" + (
                f" continue with +{MORE_EPOCHS} epochs"
            )
        if self.fall < -2 * (self.uncertainty or 0.0) and self.held_out:
            return f"the {loss_name} rises by {-100 * self.fall:.2g}{scatter} % an epoch: more epochs would fit noise"
        return f"converged: the {loss_name} falls by {100 * max(self.fall, 0):.2g}{scatter} % an epoch"
