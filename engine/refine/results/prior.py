"""Report on a deep generative prior, in addition to the result itself."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.refine.results.gain import Gain
from ptylive.schema.model import DoubleArray

BEYOND_DOUBT = 3.0
"""Standard deviations beyond which one of two states predicts patterns better."""


@dataclass(frozen=True)
class PriorReport:
    """Networks compared with pixels, judged by patterns that neither was fitted to."""

    first_epoch: int
    """Number of epochs in which pixels were refined."""
    losses_held: DoubleArray
    """(1 + epochs,) loss per held-out pattern: of the pixels, and of the networks after each epoch."""
    held_out: int
    """Number of held-out patterns."""
    epoch: int
    """Epoch of the networks whose object and probe are the result; 0: those of the pixels are."""
    over_pixels: Gain
    """Gain of the networks over the pixels, in the epoch that was judged best."""
    over_chance: Gain
    """Gain of pixels or networks over themselves with patterns compared at others' positions: the null test."""
    bands: Gain | None = None
    """Gain by scaling frequency bands to fit held-out patterns; None: they are as the networks made them."""

    @property
    def taken(self) -> bool:
        """Whether the output of the networks is the result."""
        return self.epoch > 0

    @property
    def warning(self) -> str:
        """Warning in words if the patterns do not support the image; otherwise empty."""
        if self.over_chance.exceeds(BEYOND_DOUBT):
            return ""
        return (
            f"no image: {self.held_out} held-out patterns are predicted no better at their own positions than"
            f" at others' ({self.over_chance}): wrong order of the patterns, wrong calibration, or too few electrons"
        )

    @property
    def sentence(self) -> str:
        """The choice in words, with the warning if there is one."""
        epochs = len(self.losses_held) - 1
        if self.taken:
            than = "better than" if self.over_pixels.share >= 0 else "no better than"
            text = (
                f"networks of epoch {self.epoch} of {epochs}: {self.held_out} held-out patterns are predicted {than}"
                f" by the pixels they started from (gain {self.over_pixels})"
            )
            if self.bands is not None:
                text += f"; each frequency band scaled to fit these patterns (gain {self.bands})"
        elif epochs:
            text = (
                f"pixels as refined before the networks, whose gain on {self.held_out} held-out patterns was"
                f" {self.over_pixels} in {epochs} epochs"
            )
        else:
            text = "pixels as refined: no epoch of the networks was completed"
        return f"{self.warning}; {text}" if self.warning else text
