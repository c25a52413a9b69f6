"""Scans whose patterns are corrected for distortion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.schema.model import Array, BoolArray, FloatArray, IndexArray
from ptylive.schema.pattern.distortion import areas, distortion_of, true_place
from ptylive.schema.pattern.readout import Readout
from ptylive.schema.scan_header import FrameBatch, ScanHeader

LEAST_SHARE = 0.5
"""Fraction of a pixel that good pixels must have recorded."""


@dataclass(frozen=True, eq=False)
class Undistorted:
    """A scan corrected for distortion: ``header`` describes the corrected counts, which need no further correction.

    recorded: the scan as received; sources, weights: (K, pixels) the recorded pixels that contribute to each pixel, and
    the share of each.
    """

    header: ScanHeader
    recorded: ScanHeader
    readout: Readout
    sources: IndexArray
    weights: FloatArray

    @classmethod
    def of(cls, header: ScanHeader) -> Undistorted | None:
        """Make the correction; None where nothing is distorted, or coefficients were made from corrected patterns.

        Raises MetadataError for a distortion that folds the pattern over itself.
        """
        given = header.detector.distortion
        if given is None or not header.basis.is_raw or not any(given):
            return None
        shape, coefficients = header.detector_shape, distortion_of(given)
        sources, weights = areas(coefficients, shape)
        of_counts = header.of_counts
        bad = _bad_pixels(of_counts)
        share = (weights * ~bad.ravel()[sources]).sum(axis=0)
        whole = weights.sum(axis=0)
        good = share > LEAST_SHARE * np.maximum(whole, 1e-6)
        weights = weights * ~bad.ravel()[sources] * np.where(good, whole / np.maximum(share, 1e-6), 0)
        out = cls(header, header, header.readout, sources, weights.astype(np.float32))
        arrays = dict(of_counts.arrays)
        if not good.all() or "bad_pixel_mask" in arrays:
            arrays["bad_pixel_mask"] = ~good.reshape(shape)
        if "vacuum_pattern" in arrays:
            arrays["vacuum_pattern"] = out.in_place(np.asarray(arrays["vacuum_pattern"])[None])[0]
        update: dict[str, object] = {"dtype": "<f4", "saturation_value": None, "distortion": None}
        if header.detector.beam_center_px is not None:
            update["beam_center_px"] = true_place(header.detector.beam_center_px, coefficients, shape)
        detector = of_counts.detector.model_copy(update=update)
        return replace(out, header=replace(of_counts, detector=detector, arrays=arrays))

    def leaving_out(self, bad: BoolArray) -> Undistorted:
        """Return it without further pixels (Qy, Qx), as recorded: a hot one would be spread over its neighbours."""
        arrays = {**self.recorded.arrays, "bad_pixel_mask": bad | _bad_pixels(self.recorded.of_counts)}
        reduced = Undistorted.of(replace(self.recorded, arrays=arrays))
        return self if reduced is None else reduced

    def frames(self, recorded: Array) -> FloatArray:
        """Return corrected counts (n, Qy, Qx) of frames as recorded."""
        return self.in_place(self.readout.counts(recorded)[0])

    def batch(self, batch: FrameBatch) -> FrameBatch:
        """Return the corrected frames of a batch."""
        return FrameBatch(batch.uid, batch.index, self.frames(batch.frames))

    def in_place(self, counts: Array) -> FloatArray:
        """Move counts (n, Qy, Qx) to their true positions."""
        flat = np.asarray(counts, dtype=np.float32).reshape(len(counts), -1)
        out = np.zeros_like(flat)
        for source, weight in zip(self.sources, self.weights, strict=True):
            out += flat[:, source] * weight
        return out.reshape(np.shape(counts))


def _bad_pixels(header: ScanHeader) -> BoolArray:
    mask = header.arrays.get("bad_pixel_mask")
    return np.zeros(header.detector_shape, dtype=bool) if mask is None else np.asarray(mask) != 0
