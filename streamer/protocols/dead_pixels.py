"""What the first image of a detector shows: dead pixels, marked with the largest number of their type where the header
has no mask, and counts whose bytes are in the wrong order.
"""

from __future__ import annotations

import math

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.protocols.image import Image
from ptylive.streamer.wire.codec import decode_pattern

_MOST = 0.1
"""Marked pixels beyond this fraction of all pixels mean an overexposed image, not dead pixels."""


_LEAST_COUNTED = 16
"""Pixels with counts; with fewer of them, all their low halves may be empty by chance."""


def dead_pixels(image: Image, known: BoolArray | None = None) -> BoolArray | None:
    """Return the pixels (rows, columns) that an image marks as masked, by DECTRIS' convention; None if there are none.

    An overflowed pixel has the next smaller number, so a single image is enough (SIMPLON API, ``pixel_mask_applied``).
    ``known``: pixels that an earlier image has marked. Those with counts in this image are alive; the others are kept
    where the image is overexposed, or cannot be read.
    """
    marked = _marked(image)
    if marked is None:
        return known
    if np.count_nonzero(marked) > _MOST * marked.size:
        marked = marked & (False if known is None or known.shape != marked.shape else known)
    return marked if marked.any() else None


def is_swapped(image: Image) -> bool:
    """Whether the count bytes of an image appear to be in the wrong order: the low half of each count is empty.

    Marked pixels are the same in both orders.
    """
    counts, size = _counts(image), np.dtype(image.dtype).itemsize
    if counts is None or size == 1:
        return False
    counted = counts[(counts > 0) & (counts != np.iinfo(counts.dtype).max)]
    return counted.size >= _LEAST_COUNTED and not (counted % (1 << 4 * size)).any()


def _marked(image: Image) -> BoolArray | None:
    """Pixels that have the largest number of their type; None where the image cannot show this."""
    counts = _counts(image)
    return None if counts is None else np.asarray(counts == np.iinfo(counts.dtype).max)


def _counts(image: Image) -> Array | None:
    """The pattern of an image; None where it holds no counts, or cannot be read."""
    dtype = np.dtype(image.dtype)
    if dtype.kind != "u":
        return None
    pattern = image.data
    try:
        if image.codec != "none":
            pattern = decode_pattern(image.codec, pattern, math.prod(image.shape) * dtype.itemsize, dtype.itemsize)
        return np.frombuffer(pattern, dtype).reshape(image.shape)
    except (WireError, ValueError):
        return None
