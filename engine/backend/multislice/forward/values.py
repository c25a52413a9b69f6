"""Parameters of one evaluation as complex arrays, and the sums of its gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

from ptylive.engine.backend.multislice.problem import Corrections


class ProbeVariation(NamedTuple):
    """The variation of the first probe modes over the scan."""

    components: Any
    """(n, varying modes, P, P)."""
    coefficients: Any
    """(N, n)."""


class Values(NamedTuple):
    """The refined quantities at one point."""

    objects: Any
    """(object modes, slices, Y * X)."""
    probe: Any
    """(probes * modes, P, P), aperture plane."""
    modes: int
    """Number of modes of one probe."""
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
    varied: ProbeVariation | None = None
    stretch: Any = None
    """(N,) relative excess of a pattern's free-space distances, or None."""
    spread_px2: Any = None
    """Variance of the detector's Gaussian point spread, a number or a 0-d array; None if it has none."""

    def longer(self, length: Any, batch: Any) -> Any:
        """A free-space length for the patterns of a batch: (n, 1), or unchanged if all patterns have the same."""
        return length if self.stretch is None else (length * (1 + self.stretch[batch]))[:, None]

    def tilts_of(self, batch: Any) -> Any:
        """(n or 1, 6) tilts of the patterns of a batch."""
        return self.tilts if len(self.tilts) == 1 else self.tilts[batch]

    def add_tilts(self, total: Any, batch: Any, columns: slice, derivatives: Any) -> None:
        """Add derivatives (n, 2) by the tilts of a batch to the sum (N or 1, 6)."""
        if len(total) == 1:
            total[0, columns] += derivatives.sum(axis=0)
        else:
            total[batch, columns] += derivatives


class Sums(NamedTuple):
    """Sums of gradients."""

    objects: Any
    """(powers, 2, object modes, slices, Y * X): by each power of the transmission in the split step."""
    probe: Any
    """(probes * modes, P, P) complex."""
    corrections: Corrections
