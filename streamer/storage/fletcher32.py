"""The checksums of HDF5's fletcher32 filter, for chunks that are written and read without HDF5's filters.

HDF5 appends them to every chunk, checks them on reading and removes them again; so does every other reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZE = 4
"""Bytes behind a chunk."""
_MODULUS = 65535
_PIECE = 2**18
"""Number of words summed at once: double precision is exact for their sums, below 65535 * 2**35 < 2**53."""
_WEIGHTS = np.stack([np.arange(_PIECE, 0, -1, dtype=float), np.ones(_PIECE)])
"""Weights of the words of a piece, up to its end, in the second sum and in the first."""


def with_checksum(chunk: bytes) -> bytes:
    """Return a chunk followed by its checksum, as stored in a file."""
    return chunk + fletcher32(chunk).to_bytes(SIZE, "little")


def with_checksums(chunks: Sequence[bytes]) -> list[bytes]:
    """Append checksums to chunks: many small ones together, which costs less than one after the other."""
    sizes = np.array([len(chunk) for chunk in chunks], dtype=np.int64)
    if not 0 < sizes.min(initial=1) <= sizes.sum() <= 2 * _PIECE:
        return [with_checksum(chunk) for chunk in chunks]
    padded = b"".join(chunk + b"\0" if len(chunk) % 2 else chunk for chunk in chunks)
    words = np.frombuffer(padded, "<u2").astype(float)
    counts = (sizes + 1) // 2
    starts = np.cumsum(counts) - counts
    to_the_end = np.repeat(starts + counts, counts) - np.arange(len(words))
    first = np.add.reduceat(words, starts).tolist()
    second = np.add.reduceat(words * to_the_end, starts).tolist()
    sums = (_folded(int(b)) << 16 | _folded(int(a)) for a, b in zip(first, second, strict=True))
    return [chunk + found.to_bytes(SIZE, "little") for chunk, found in zip(chunks, sums, strict=True)]


def without_checksum(chunk: bytes) -> bytes:
    """Return a chunk without the checksum behind it. Raises ValueError where the two do not agree."""
    plain = chunk[:-SIZE]
    if not plain or fletcher32(plain) != int.from_bytes(chunk[-SIZE:], "little"):
        raise ValueError("its checksum does not match")
    return plain


def fletcher32(chunk: bytes) -> int:
    """Two sums of the big-endian 16-bit words of a chunk, modulo 65535: the second sums the first's running values.

    An odd last byte counts as a word with a zero behind it. Words are summed little-endian, which is faster: swapping
    the bytes of a word multiplies it by 256, modulo 65535.
    """
    padded = chunk + b"\0" if len(chunk) % 2 else chunk
    first = second = 0
    for start in range(0, len(padded), 2 * _PIECE):
        count = min(len(padded) // 2 - start // 2, _PIECE)
        words = np.frombuffer(padded, "<u2", count, start)
        weighted, plain = _WEIGHTS[:, _PIECE - count :].dot(words.astype(float)).tolist()
        second += count * first + int(weighted)
        first += int(plain)
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    """A sum of swapped words modulo 65535, like folding 16 bits onto 16 bits: only 0 becomes 0."""
    return (256 * total - 1) % _MODULUS + 1 if total else 0
