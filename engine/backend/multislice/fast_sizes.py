"""Window sizes for which compiled transforms exist: the product of the radices of the passes is the size."""

from __future__ import annotations

RADICES: dict[int, tuple[int, ...]] = {
    32: (4, 8),
    48: (4, 4, 3),
    64: (4, 4, 4),
    96: (4, 4, 6),
    128: (4, 4, 8),
    144: (4, 6, 6),
    192: (4, 4, 4, 3),
    256: (4, 4, 4, 4),
    288: (4, 4, 3, 6),
    384: (4, 4, 4, 6),
    512: (4, 8, 16),
}
"""Multiples of 16 (the transpose works on blocks of 16 x 16) of the form 2^a 3^b, in passes of few rows: with its
twiddles, which all passes but the last have, a butterfly of 4 fits into 16 vector registers and one of 8 does not."""

WIDE: dict[int, tuple[int, ...]] = {
    32: (4, 8),
    48: (8, 6),
    64: (8, 8),
    96: (8, 12),
    128: (8, 16),
    144: (8, 6, 3),
    192: (8, 4, 6),
    256: (8, 4, 8),
    288: (8, 6, 6),
    384: (8, 4, 12),
    512: (8, 8, 8),
}
"""Radices for CPUs with 32 vector registers of 16 numbers: fewer passes, of butterflies too large for 16 registers."""
CROWDED_BYTES, LINE_BYTES, SINGLE_BYTES = 512, 64, 4
"""Plane rows of 512 bytes, or a multiple, would map to few sets of the caches, and a strip of columns would evict
itself: such rows are padded by one cache line."""


def pitch_of(size: int, number_bytes: int = SINGLE_BYTES) -> int:
    """Elements from one row to the next in the planes of the compiled kernel."""
    return size if size * number_bytes % CROWDED_BYTES else size + LINE_BYTES // number_bytes


def quick_width(columns: int) -> int:
    """Smallest number of columns, at least ``columns``, at which windows of an object are read at full speed.

    Rows of an object are contiguous, so here too they would collide in the caches at a multiple of 128: one more column
    saves a tenth of the time.
    """
    return columns if columns * SINGLE_BYTES % CROWDED_BYTES else columns + 1


def is_fast(size: int) -> bool:
    """Whether the compiled transform exists for windows of this size."""
    return size in RADICES


def padded_size(pixels: int) -> int:
    """The smallest fast size that holds ``pixels``; beyond the largest one, ``pixels`` rounded up to an even number."""
    return next((size for size in RADICES if size >= pixels), pixels + pixels % 2)
