"""Parameters of one evaluation as complex arrays, and where its gradients are added up."""

from __future__ import annotations

from typing import Any, NamedTuple

from ptylive.engine.backend.multislice.problem import Corrections


class Varied(NamedTuple):
    """By what the first modes of the probe vary over the scan."""

    components: Any
    """(n, varying modes, P, P)."""
    coefficients: Any
    """(N, n)."""


class Values(NamedTuple):
    """What is refined, at one point."""

    objects: Any
    """(object modes, slices, Y * X)."""
    probe: Any
    """(probes * modes, P, P), aperture plane."""
    modes: int
    """Modes of one probe."""
    thickness_A: tuple[Any, ...]
    """(slices,) numbers, or 0-d arrays."""
    shifts_px: Any
    """(N, 2)."""
    root_current: Any
    """(N,), or None."""
    background: Any
    """(detector pixels along a side squared) as a plane, or None."""
    tilts: Any
    """(N or 1, 6), or None."""
    aberrations_A: Any
    """(groups, n), or None."""
    varied: Varied | None = None
    stretch: Any = None
    """(N,) share by which a pattern's free space is longer, or None."""
    spread_px2: Any = None
    """Variance of the detector's Gaussian point spread, a number or a 0-d array; None where it has none."""

    def longer(self, length: Any, batch: Any) -> Any:
        """A length of free space for the patterns of a batch: (n, 1), or as it is where all have the same."""
        return length if self.stretch is None else (length * (1 + self.stretch[batch]))[:, None]

    def tilts_of(self, batch: Any) -> Any:
        """(n or 1, 6) tilts of the patterns of a batch."""
        return self.tilts if len(self.tilts) == 1 else self.tilts[batch]

    def add_tilts(self, total: Any, batch: Any, which: slice, derivatives: Any) -> None:
        """Add derivatives (n, 2) by the tilts of a batch to the sum (N or 1, 6)."""
        if len(total) == 1:
            total[0, which] += derivatives.sum(axis=0)
        else:
            total[batch, which] += derivatives


class Sums(NamedTuple):
    """Gradients so far."""

    objects: Any
    """(powers, 2, object modes, slices, Y * X): by each power of the transmission that the split step takes."""
    probe: Any
    """(probes * modes, P, P) complex."""
    corrections: Corrections
