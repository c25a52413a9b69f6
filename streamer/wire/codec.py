"""Compressed patterns: ``none``, and ``bslz4`` and ``lz4`` in the framing of the HDF5 filters (one part per pattern).

Both framings start with the decoded size (8 bytes, big-endian) and a block size (4 bytes, big-endian); the decoded
size is compared with what the arm message announced before anything is allocated. Framing: HDF5 filters 32008
(bitshuffle) and 32004 (LZ4); a bslz4 part is, byte for byte, a chunk of an HDF5 data set with that filter.
"""

from __future__ import annotations

import struct
from typing import Literal

from ptylive.schema import WireError
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import MAX_CODEC_BLOCK_BYTES, MAX_FRAME_BYTES

Codec = Literal["none", "bslz4", "lz4"]
_FRAMING = struct.Struct(">QI")


def decode_pattern(codec: Codec, part: Buffer, frame_bytes: int, itemsize: int) -> bytes:
    """One pattern of exactly ``frame_bytes`` bytes.

    Raises WireError ``truncated``, ``wrong_size`` (the part announces another size) or ``corrupt``. The codecs carry
    no checksum: a flipped bit inside a literal goes unnoticed.
    """
    if len(part) < _FRAMING.size:
        raise WireError(f"{codec} part of {len(part)} bytes is shorter than its framing", "truncated")
    announced, block = _FRAMING.unpack_from(part)
    if announced != frame_bytes or announced > MAX_FRAME_BYTES:
        raise WireError(f"{codec} part announces {announced} bytes, a pattern has {frame_bytes}", "wrong_size")
    if block > max(MAX_CODEC_BLOCK_BYTES, frame_bytes):
        raise WireError(f"{codec} part announces blocks of {block} bytes", "corrupt")
    from dectris.compression import decompress

    try:
        pattern = bytes(decompress(part, codec, elem_size=itemsize))
    except (RuntimeError, ValueError, MemoryError) as error:
        raise WireError(f"{codec} part does not decode: {error or type(error).__name__}", "corrupt") from None
    if len(pattern) != frame_bytes:
        raise WireError(f"{codec} part decodes to {len(pattern)} bytes, not {frame_bytes}", "corrupt")
    return pattern
