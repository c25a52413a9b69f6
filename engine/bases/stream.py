"""What a stream or file of coefficients says of its basis."""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.bases.masks import MaskBasis
from ptylive.schema import ScanHeader


def stream_basis(header: ScanHeader) -> MaskBasis:
    """The masks that a scan's coefficients were taken with."""
    return MaskBasis(header.basis.kind, np.asarray(header.arrays["masks"], dtype=np.float32), header.basis.n_bright)


def stream_disc(header: ScanHeader) -> tuple[tuple[float, float], float] | None:
    """Centre (row, col) and radius of the bright field, recorded pixels, as the masks of a scan show it.

    Said by the sender, or else where its bright-field masks reach; a mean pattern put together from coefficients ends
    where the masks do and cannot be measured. None for raw frames.
    """
    if header.basis.is_raw:
        return None
    if header.basis.center_px is not None and header.basis.radius_px is not None:
        return header.basis.center_px, header.basis.radius_px
    seen = stream_basis(header).bright_pixels.reshape(header.detector_shape)
    if not seen.any():
        return ((seen.shape[0] - 1) / 2, (seen.shape[1] - 1) / 2), min(seen.shape) / 4
    row, col = (float(np.mean(axis)) for axis in np.nonzero(seen))
    return (row, col), max(math.sqrt(float(seen.sum()) / math.pi) - 0.5, 1.0)
