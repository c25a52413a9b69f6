"""A phase image, with a modulus or without, as the start of the object."""

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
    """Its axes to detector axes, degrees."""
    origin_A: tuple[float, float] = (0.0, 0.0)
    """Place of pixel (0, 0) in the detector's frame; of a regular scan that of scan point (0, 0)."""
    amplitude: FloatArray | None = None
    """(rows, columns), the modulus that goes with the phase, 1 the mean; None: 1 everywhere."""
