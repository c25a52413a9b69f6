"""The checksums of HDF5's fletcher32 filter, for chunks that are written and read without HDF5's filters.

HDF5 appends them to every chunk, checks them on reading and takes them off again; so does every other reader.
"""

from __future__ import annotations

import numpy as np

SIZE = 4
"""Bytes behind a chunk."""
_MODULUS = 65535
_PIECE = 2**18
"""Words that are summed at once: double precision is exact for their sums, below 65535 * 2**35 < 2**53."""
_TO_THE_END = np.arange(_PIECE, 0, -1, dtype=float)


def with_checksum(chunk: bytes) -> bytes:
    """A chunk with its checksum behind it, as it lies in a file."""
    return chunk + fletcher32(chunk).to_bytes(SIZE, "little")


def without_checksum(chunk: bytes) -> bytes:
    """A chunk as it was before its checksum came behind it. Raises ValueError where the two do not agree."""
    plain = chunk[:-SIZE]
    if not plain or with_checksum(plain) != chunk:
        raise ValueError("its checksum does not agree")
    return plain


def fletcher32(chunk: bytes) -> int:
    """Two sums of the big-endian 16-bit words of a chunk, modulo 65535: the second is of the first's running values.

    An odd last byte counts as a word with a zero behind it.
    """
    words = np.frombuffer(chunk + b"\0" * (len(chunk) % 2), ">u2").astype(float)
    first = second = 0
    for start in range(0, len(words), _PIECE):
        piece = words[start : start + _PIECE]
        second += len(piece) * first + int(piece @ _TO_THE_END[-len(piece) :])
        first += int(piece.sum())
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    """Modulo 65535 as folding 16 bits upon 16 bits does it: 65535 stays, and only 0 becomes 0."""
    return (total - 1) % _MODULUS + 1 if total else 0
