"""The compiled decoder of single patterns, for patterns that bypass the compiled receive loop."""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import ByteArray
from ptylive.streamer.fast.bslz4 import DECODED, MAX_BLOCK_BYTES, WORK_BYTES, decode_at, decode_bytes_at, decode_lz4_at
from ptylive.streamer.fast.lz4 import SLACK_BYTES
from ptylive.streamer.wire import codec as wire_codec
from ptylive.streamer.wire.codec import Codec


class CompiledDecoder:
    """Decodes patterns without the GIL; its work space is for one thread at a time."""

    def __init__(self) -> None:
        self._work = np.empty(WORK_BYTES, np.uint8)

    def decode(self, codec: Codec, part: ByteArray, nbytes: int, itemsize: int, block: int) -> bytes | None:
        """Decode one pattern of ``nbytes`` bytes; None if this decoder cannot handle it. Raises ValueError."""
        source, room = (part.ctypes.data, part.size), np.empty(nbytes + SLACK_BYTES, np.uint8)
        if codec == "bslz4" and itemsize in (1, 2, 4) and block <= MAX_BLOCK_BYTES:
            outcome = decode_at.ctypes(*source, itemsize, room.ctypes.data, nbytes, self._work.ctypes.data, 0)
        elif codec == "lz4" and block > 0:
            outcome = decode_lz4_at.ctypes(*source, block, room.ctypes.data, nbytes)
        else:
            return None
        if outcome != DECODED:
            raise ValueError("its data do not follow the format")
        return room[:nbytes].tobytes()


def use_compiled_decoder() -> None:
    """Decode single patterns here from now on, in every thread. Takes seconds the first time on a machine.

    Readers of coded batches find their decoders compiled, too.
    """
    for decoder in (decode_at, decode_bytes_at, decode_lz4_at):
        decoder.compile()
    wire_codec.decode_with(CompiledDecoder)
