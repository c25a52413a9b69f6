"""How well settings predict patterns that were held out: one number for every run of a scan, whatever its loss is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeldOutQuality:
    """Minus the logarithm of the likelihood of patterns held out, per pattern; less is better."""

    groups: tuple[float, ...]
    """Of disjoint groups of them, the same in every run of a scan: differences between runs scatter less than these."""
    patterns: int
    """That were held out."""
    sweeps: int
    """Over the others, from an empty object."""

    @property
    def mean(self) -> float:
        """Over all groups."""
        return float(np.mean(self.groups))
