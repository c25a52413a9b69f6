"""The basis of a stream or file of coefficients, from its header."""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.bases.masks import MaskBasis
from ptylive.schema import ScanHeader


def stream_basis(header: ScanHeader) -> MaskBasis:
    """Return the masks with which a scan's coefficients were taken."""
    return MaskBasis(header.basis.kind, np.asarray(header.arrays["masks"], dtype=np.float32), header.basis.n_bright)


def stream_disc(header: ScanHeader) -> tuple[tuple[float, float], float] | None:
    """Return centre (row, col) and radius of the bright field, recorded pixels, from the masks of a scan.

    They are as stated by the sender, or otherwise the extent of the bright-field masks: a mean pattern reconstructed
    from coefficients ends where the masks do, so its disc cannot be measured. None for raw frames.
    """
    if header.basis.is_raw:
        return None
    if header.basis.center_px is not None and header.basis.radius_px is not None:
        return header.basis.center_px, header.basis.radius_px
    covered = stream_basis(header).bright_pixels.reshape(header.detector_shape)
    if not covered.any():
        return ((covered.shape[0] - 1) / 2, (covered.shape[1] - 1) / 2), min(covered.shape) / 4
    row, col = (float(np.mean(axis)) for axis in np.nonzero(covered))
    return (row, col), max(math.sqrt(float(covered.sum()) / math.pi) - 0.5, 1.0)
