"""The beam current during a scan, as far as it is known to change."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.schema.model import DoubleArray


@dataclass(frozen=True, eq=False)
class BeamCurrent:
    """Beam current relative to its mean, and the root mean squares of its changes; 0 where none are seen."""

    relative: DoubleArray
    """(points,); 1 where it is not known: no frame arrived, or the beam was blanked."""
    by_row: DoubleArray
    """(rows,) its slow part."""
    slow: float
    fast: float
