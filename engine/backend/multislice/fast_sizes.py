"""Window sizes for which the compiled transform exists: the radices of its passes multiply to the size."""

from __future__ import annotations

RADICES: dict[int, tuple[int, ...]] = {
    32: (8, 4),
    48: (4, 4, 3),
    64: (8, 8),
    96: (8, 4, 3),
    128: (8, 4, 4),
    144: (4, 4, 3, 3),
    192: (8, 8, 3),
    256: (8, 4, 8),
    288: (8, 4, 3, 3),
    384: (8, 4, 4, 3),
    512: (8, 8, 8),
}
"""Multiples of 16 (the transpose works on blocks of 16 x 16) of the form 2^a 3^b, in passes of 8, 4 and 3."""

WIDE: dict[int, tuple[int, ...]] = {96: (8, 12), 128: (8, 16), 384: (8, 4, 12), 512: (8, 16, 4)}
"""Where the processor has 32 registers of 16 numbers: one pass less, and butterflies too large for 16 registers."""
CROWDED_BYTES, LINE_BYTES, SINGLE_BYTES = 512, 64, 4
"""Rows of a plane of 512 bytes, or a multiple, would meet in few sets of the caches, and a strip of columns would push
itself out: such rows stand a line of the cache apart."""


def pitch_of(size: int, number_bytes: int = SINGLE_BYTES) -> int:
    """Numbers from one row to the next in the planes of the compiled kernel."""
    return size if size * number_bytes % CROWDED_BYTES else size + LINE_BYTES // number_bytes


def quick_width(columns: int) -> int:
    """The least number of columns, ``columns`` or more, with which windows of an object are read at full speed.

    Rows of an object lie next to each other, so here too a multiple of 128 would make them meet: a column more is a
    tenth of the time less.
    """
    return columns if columns * SINGLE_BYTES % CROWDED_BYTES else columns + 1


def is_fast(size: int) -> bool:
    """Whether the compiled transform exists for windows of this size."""
    return size in RADICES


def padded_size(pixels: int) -> int:
    """The smallest fast size that holds ``pixels``; beyond the largest one, the number itself made even."""
    return next((size for size in RADICES if size >= pixels), pixels + pixels % 2)
