"""Compressed patterns: ``bslz4`` and ``lz4`` in the framing of the HDF5 filters (one part per pattern).

Of the other codecs, ``none`` means uncompressed patterns, and ``events`` the pixels with counts (`events.py`).

Both framings start with the decoded size (8 bytes, big-endian) and a block size (4 bytes, big-endian); the decoded size
is compared with what the arm message announced before anything is allocated. Framing: HDF5 filters 32008 (bitshuffle)
and 32004 (LZ4); a bslz4 part is, byte for byte, a chunk of an HDF5 data set with that filter.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import ByteArray
from ptylive.streamer.wire import plain_codec
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import MAX_CODEC_BLOCK_BYTES, MAX_FRAME_BYTES

Codec = Literal["none", "bslz4", "lz4", "events"]
_FRAMING = struct.Struct(">QI")


class Decoder(Protocol):
    """Decodes patterns faster than :mod:`.plain_codec`; belongs to one thread."""

    def decode(self, codec: Codec, part: ByteArray, nbytes: int, itemsize: int, block: int) -> bytes | None:
        """Decode one pattern of ``nbytes`` bytes; None if this decoder cannot handle it. Raises ValueError."""
        ...


class _OfThread(threading.local):
    decoder: Decoder | None = None


_make_decoder: list[Callable[[], Decoder]] = []
_of_thread = _OfThread()


def decode_with(make: Callable[[], Decoder]) -> None:
    """Make every thread of this process decode with its own decoder from now on."""
    _make_decoder[:] = [make]


def decode_pattern(codec: Codec, part: Buffer, frame_bytes: int, itemsize: int) -> bytes:
    """Decode one pattern of exactly ``frame_bytes`` bytes.

    Raises WireError ``truncated``, ``wrong_size`` (the part announces another size) or ``corrupt``. The codecs carry no
    checksum: a flipped bit inside a literal goes unnoticed.
    """
    if len(part) < _FRAMING.size:
        raise WireError(f"{codec} part of {len(part)} bytes is shorter than its framing", "truncated")
    announced, block = _FRAMING.unpack_from(part)
    if announced != frame_bytes or announced > MAX_FRAME_BYTES:
        raise WireError(f"{codec} part announces {announced} bytes, a pattern has {frame_bytes}", "wrong_size")
    if block > max(MAX_CODEC_BLOCK_BYTES, frame_bytes):
        raise WireError(f"{codec} part announces blocks of {block} bytes", "corrupt")
    try:
        return _decoded(codec, part, frame_bytes, itemsize, block)
    except (ValueError, MemoryError) as error:
        raise WireError(f"{codec} part does not decode: {error or type(error).__name__}", "corrupt") from None


def _decoded(codec: Codec, part: Buffer, nbytes: int, itemsize: int, block: int) -> bytes:
    if _of_thread.decoder is None and _make_decoder:
        _of_thread.decoder = _make_decoder[0]()
    if _of_thread.decoder is not None:
        found = _of_thread.decoder.decode(codec, np.frombuffer(part, np.uint8), nbytes, itemsize, block)
        if found is not None:
            return found
    if codec == "bslz4":
        return plain_codec.decode_bslz4(bytes(part), nbytes, itemsize, block)
    if codec == "lz4":
        return plain_codec.decode_lz4(bytes(part), nbytes, block)
    raise ValueError("there are no data to decode")
