"""Conversion of detector output to counts: dark and gain references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ptylive.schema.detector import REFERENCES, Detector, no_counts, usable_counts
from ptylive.schema.model import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Readout:
    """counts = (recorded - dark) * gain, where a pixel can record at most ``saturation_value``.

    dark: what a pixel shows without a beam, gain: factor of its value; (Qy, Qx) float32, None for none. Counts may be
    below 0: their noise around an empty pixel is kept, so that sums are right.
    """

    saturation_value: float | None = None
    dark: FloatArray | None = None
    gain: FloatArray | None = None

    @classmethod
    def of(cls, detector: Detector, arrays: Mapping[str, Array]) -> Readout:
        """Make the readout of a scan from the known properties of its detector."""
        dark, gain = (arrays.get(name) for name in REFERENCES)
        if dark is not None and detector.saturation_value is not None:  # it contains the markers of full pixels too
            dark = np.minimum(dark, detector.saturation_value)
        return cls(detector.saturation_value, _single(dark), _single(gain))

    @property
    def corrects(self) -> bool:
        """Whether there is a reference: counts are then single-precision numbers."""
        return self.dark is not None or self.gain is not None

    def counts(self, frames: Array) -> tuple[Array, int]:
        """Counts (n, Qy, Qx), or (Qy, Qx), of recorded frames, and how many values were invalid and became 0.

        Returns the same array where nothing changes.
        """
        finite, masked = usable_counts(frames, self.saturation_value)
        if not self.corrects:
            return finite, masked
        counts = finite.astype(finite.dtype if finite.dtype == np.float64 else np.float32)
        if self.dark is not None:
            counts -= self.dark
        if self.gain is not None:
            counts *= self.gain
        if masked:
            counts[no_counts(frames)] = 0
        return counts, masked


AS_RECORDED = Readout()
"""Readout of numbers that are counts already, or are treated as such."""


def _single(array: Array | None) -> FloatArray | None:
    return None if array is None else np.asarray(array, dtype=np.float32)
