"""Self-test of the compiled receive loop with messages to itself, before anything depends on it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import zmq

from ptylive.schema import Detector, PtyliveError, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.protocols.image_template import CborImageTemplate, JsonImageTemplate
from ptylive.streamer.wire import FramesMessage, encode

if TYPE_CHECKING:
    from ptylive.streamer.fast.receive import CompiledLoop

_PATTERN = np.arange(16, dtype="<u2").reshape(4, 4)
_TIMEOUT_MS = 5000


def self_test(loop: CompiledLoop) -> None:
    """Receive patterns of 4 x 4 pixels, plain and coded, through a temporary socket.

    Raises PtyliveError when they differ.
    """
    header = ScanHeader("probe", "probe", 4, Scan(shape=(1, 4)), detector=Detector(shape=(4, 4)))
    loop.follow(ScanProgress(header))
    messages = (
        FramesMessage("probe", 2, 2, "none", (np.stack([_PATTERN + 2, _PATTERN + 3]).tobytes(),)),
        FramesMessage("probe", 0, 2, "bslz4", (_coded(_PATTERN), _coded(_PATTERN + 1))),
    )
    from ptylive.streamer.fast.loop import HEADER

    context = zmq.Context()
    got: dict[int, bytes] = {}
    try:
        receiver, sender = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        receiver.setsockopt(zmq.RCVTIMEO, _TIMEOUT_MS)
        receiver.bind("inproc://probe")
        sender.connect("inproc://probe")
        for message in messages:
            loop.expect(message.codec)
            sender.send_multipart(encode(message))
            loop.receive(receiver)
            if (block := loop.take()) is not None:
                got.update(zip(block.index.tolist(), (frame.tobytes() for frame in block.batch.frames), strict=True))
        # images go through separate compiled code: anything that is not an image is left to Python
        sender.send(b"{}")
        outcome = loop.receive_images(receiver, JsonImageTemplate("probe", 1, 0, b'{"size":', b"}"))
        rest = loop.left_over()
        sender.send(b"{}")
        maps = loop.receive_images(receiver, CborImageTemplate("probe", b"\x01", b"", 0, b"\xa1"))
    finally:
        context.destroy(linger=0)
    expected = {n: (_PATTERN + n).tobytes() for n in range(header.frames)}
    if (got, outcome, maps, rest) != (expected, HEADER, HEADER, ([b"{}"], False)):
        raise PtyliveError("the compiled receive loop does not work here", "the plain one is used")


def _coded(pattern: Array) -> bytes:
    """Encode a pattern of 16 pixels in the framing of HDF5's bitshuffle/LZ4 filter: one block, one literal."""
    bits = np.unpackbits(pattern.view(np.uint8).reshape(pattern.size, -1), axis=1, bitorder="little")
    shuffled = np.packbits(bits.T, axis=1, bitorder="little").tobytes()
    block = bytes([0xF0, len(shuffled) - 15]) + shuffled
    return struct.pack(">QII", len(shuffled), len(shuffled), len(block)) + block
