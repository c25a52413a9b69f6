"""The refined part of the probe, and the start probe."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ptylive.schema.model import Array, FloatArray


class ProbeForm(StrEnum):
    """The refined part of the probe, in Fourier space."""

    COMPLEX = "complex"
    PHASE = "phase"
    AMPLITUDE = "amplitude"


@dataclass(frozen=True)
class ProbeModel:
    """The start probe, and the aberrations that can be added to it."""

    form: ProbeForm
    start: Array
    """(probes * modes, P, P) complex, Fourier space."""
    phase_per_A: FloatArray | None = None
    """(n, P, P) aberration phase chi of each refined coefficient that all patterns share, rad/Å."""
    shares: FloatArray | None = None
    """(probes,) share of the patterns that each probe was used for; None: one probe."""

    @property
    def probes(self) -> int:
        """Number of probes, one for each part of the scan."""
        return 1 if self.shares is None else len(self.shares)
