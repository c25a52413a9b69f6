"""How well settings predict held-out patterns: one number for every run of a scan, whatever its loss is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeldOutQuality:
    """Negative log-likelihood of held-out patterns, per pattern; less is better."""

    groups: tuple[float, ...]
    """Values of disjoint groups, the same in every run of a scan: differences between runs scatter less than these."""
    patterns: int
    """Number of held-out patterns."""
    sweeps: int
    """Number of sweeps over the others, from an empty object."""

    @property
    def mean(self) -> float:
        """Mean over all groups."""
        return float(np.mean(self.groups))
