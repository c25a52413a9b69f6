"""A phase image, with or without a modulus, as the start of the object."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.schema.model import FloatArray


@dataclass(frozen=True)
class StartGuess:
    """A phase image to start the object from, usually a live map on the scan grid."""

    phase: FloatArray
    """(rows, columns), rad, denser is positive."""
    sampling_A: tuple[float, float]
    """Distance between its pixels along its axes, Å."""
    rotation_deg: float = 0.0
    """Rotation from its axes to detector axes, degrees."""
    origin_A: tuple[float, float] = (0.0, 0.0)
    """Position of pixel (0, 0) in the detector's frame; for a regular scan that of scan point (0, 0)."""
    amplitude: FloatArray | None = None
    """(rows, columns), the modulus for this phase, with mean 1; None: 1 everywhere."""
