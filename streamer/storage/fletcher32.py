"""The checksums of HDF5's fletcher32 filter, for chunks that are written and read without HDF5's filters.

HDF5 appends them to every chunk, checks them on reading and takes them off again; so does every other reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptylive.schema.model import Array
from ptylive.streamer.wire.arrays import Buffer

SIZE = 4
"""Bytes behind a chunk."""
_MODULUS = 65535


def with_checksums(parts: Sequence[Buffer]) -> list[bytes]:
    """Chunks, none of them empty, with their checksums behind them, as they lie in a file."""
    chunks = [bytes(part) for part in parts]
    return [chunk + mark.tobytes() for chunk, mark in zip(chunks, fletcher32(chunks), strict=True)]


def without_checksum(chunk: bytes) -> bytes:
    """A chunk as it was before its checksum came behind it. Raises ValueError where the two do not agree."""
    plain = chunk[:-SIZE]
    if not plain or fletcher32([plain])[0].tobytes() != chunk[-SIZE:]:
        raise ValueError("its checksum does not agree")
    return plain


def fletcher32(chunks: Sequence[bytes]) -> Array:
    """Of each chunk, little-endian uint32 (n,): two sums of its big-endian 16-bit words, modulo 65535, the second of
    the first's running values; an odd last byte counts as a word with a zero behind it.
    """
    words = np.frombuffer(b"".join(chunk + b"\0" * (len(chunk) % 2) for chunk in chunks), ">u2").astype(np.int64)
    counts = np.array([(len(chunk) + 1) // 2 for chunk in chunks])
    starts = np.cumsum(counts) - counts
    to_the_end = np.repeat(starts + counts, counts) - np.arange(len(words))
    first, second = (_folded(np.add.reduceat(one, starts)) for one in (words, words * to_the_end))
    return (second << 16 | first).astype("<u4")


def _folded(sums: Array) -> Array:
    """Modulo 65535 as folding 16 bits upon 16 bits does it: 65535 stays, and only 0 becomes 0."""
    return np.where(sums > 0, (sums - 1) % _MODULUS + 1, 0)
