"""Whether a run has come to rest when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.schema.preset.solver import MORE_EPOCHS


@dataclass(frozen=True)
class Convergence:
    """What the last epochs brought."""

    falling: bool
    """Whether the loss still falls by a share that shows in the object, beyond its own scatter."""
    fall: float
    """Share by which it falls in an epoch, mean of the last ones; negative where it rises."""
    uncertainty: float | None
    """Standard deviation of that, from its scatter over patterns; None: of all patterns, which tells none."""
    held_out: int
    """Patterns that were held out, and judged by; 0: judged by those that were refined."""

    @property
    def sentence(self) -> str:
        """In words."""
        which = f"loss of {self.held_out} patterns held out" if self.held_out else "loss"
        scatter = "" if self.uncertainty is None else f" ± {100 * self.uncertainty:.1g}"
        if self.falling:
            return f"not converged: the {which} is still falling by {100 * self.fall:.2g}{scatter} % an epoch:" + (
                f" go on with +{MORE_EPOCHS} epochs"
            )
        if self.fall < -2 * (self.uncertainty or 0.0) and self.held_out:
            return f"the {which} rises by {-100 * self.fall:.2g}{scatter} % an epoch: more epochs would fit noise"
        return f"converged: the {which} falls by {100 * max(self.fall, 0):.2g}{scatter} % an epoch"
