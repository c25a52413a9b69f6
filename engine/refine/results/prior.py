"""What a deep generative prior came to, beside the result itself."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.refine.results.gain import Gain
from ptylive.schema.model import DoubleArray

BEYOND_DOUBT = 3.0
"""Standard deviations beyond which one of two states predicts patterns better."""


@dataclass(frozen=True)
class PriorReport:
    """Networks against pixels, judged by patterns that neither was fitted to."""

    first_epoch: int
    """Epochs in which pixels were refined."""
    losses_held: DoubleArray
    """(1 + epochs,) loss per pattern held out: of the pixels, and of the networks after each epoch."""
    held_out: int
    """Patterns."""
    epoch: int
    """Of the networks' epochs, the one whose object and probe are the result; 0: those of the pixels are."""
    over_pixels: Gain
    """Of the networks over the pixels, in the epoch that was judged best."""
    over_chance: Gain
    """Of pixels or networks over themselves where each pattern is compared at others' places: the null test."""
    bands: Gain | None = None
    """Of bands of frequencies shown as strongly as patterns held out ask for; None: they are as networks made them."""

    @property
    def taken(self) -> bool:
        """Whether what the networks made is the result."""
        return self.epoch > 0

    @property
    def warning(self) -> str:
        """In words, where the patterns do not speak for the picture; else empty."""
        if self.over_chance.exceeds(BEYOND_DOUBT):
            return ""
        return (
            f"no picture: {self.held_out} patterns held out are predicted no better at their own places than at others'"
            f" ({self.over_chance}): wrong order of the patterns, wrong calibration, or too few electrons"
        )

    @property
    def sentence(self) -> str:
        """What was chosen, in words, with the warning where there is one."""
        epochs = len(self.losses_held) - 1
        if self.taken:
            than = "better than" if self.over_pixels.share >= 0 else "no better than"
            said = (
                f"networks of epoch {self.epoch} of {epochs}: {self.held_out} patterns held out are predicted {than}"
                f" by the pixels they began with (gain {self.over_pixels})"
            )
            if self.bands is not None:
                said += f"; each band of frequencies as strong as these patterns ask for (gain {self.bands})"
        elif epochs:
            said = (
                f"pixels as refined before the networks, whose gain on {self.held_out} patterns held out was"
                f" {self.over_pixels} in {epochs} epochs"
            )
        else:
            said = "pixels as refined: no epoch of the networks has ended"
        return f"{self.warning}; {said}" if self.warning else said
