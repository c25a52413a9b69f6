"""The Python interface of the compiled loop: bound to the open scan, it fills blocks; the receiver takes them.

::

    loop = CompiledLoop.prepare()            # seconds; raises PtyliveError where it cannot work
    loop.follow(progress)
    loop.expect("bslz4")
    outcome = loop.receive(socket)           # TAKE, IDLE, HEADER or BROKEN
    block = loop.take()                      # what it received, if anything
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import zmq

from ptylive.schema import FrameBatch, PtyliveError, WireError
from ptylive.streamer.blocks import BlockMemory, FrameBlock
from ptylive.streamer.fast import libzmq
from ptylive.streamer.fast.coded import CodedBatch
from ptylive.streamer.fast.header import CODEC_BSLZ4, CODEC_NONE, COUNT, FIRST, SENDER, new_values
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.protocols.image_template import ImageTemplate, JsonImageTemplate
from ptylive.streamer.wire import FramesMessage, encode
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.limits import MAX_PART_BYTES

RAW_BLOCK_BYTES = 4 * 2**20
CODED_BLOCK_BYTES = 32 * 2**20
"""Decoded bytes of a block: frames waiting for the rest of a block set the least lag of a reader."""
MOST_FRAMES = 16384
LARGEST_RAW_MESSAGE_BYTES = 2**18
"""Python hands larger messages on without a copy, which costs less than the few microseconds saved per message."""
LARGEST_PATTERN_BYTES = 2**20
"""Larger patterns arrive so rarely that nothing is gained."""
_CODECS: dict[Codec, int] = {"none": CODEC_NONE, "bslz4": CODEC_BSLZ4}
_ITS_PATTERNS = "its patterns of the announced shape and type: correct shape or dtype in the sender"
_MOST_SENDERS = 8
_TEXT_BYTES = 2**20 + 2
"""Room for a first part, DECTRIS's texts included; longer ones are refused as they are."""
_MAP_BYTES = MAX_PART_BYTES + 1
"""Room for a message of stream2, which has one part."""


class CompiledLoop:
    """Receives the frames of one scan after the other; for the thread that owns the socket. See the module."""

    def __init__(self) -> None:
        from ptylive.streamer.fast import loop

        self._loop = loop
        self._progress: ScanProgress | None = None
        self._codec: Codec = "bslz4"
        self._senders = np.empty(0, np.int64)
        self._memory = BlockMemory()
        self._block = np.empty(0, np.uint8)
        self._room = self._largest = 0
        self._uid = np.empty(0, np.uint8)
        self._index = np.empty(MOST_FRAMES, np.int64)
        self._ends = np.empty(MOST_FRAMES, np.int64)
        self._state = np.zeros(loop.STATE_WORDS, np.int64)
        self._values = new_values()
        self._header = np.empty(_TEXT_BYTES, np.uint8)

    @classmethod
    def prepare(cls) -> CompiledLoop:
        """Load libzmq, compile (or load from numba's cache), test the loop. Raises PtyliveError if it cannot work."""
        libzmq.load()
        from ptylive.streamer.fast.decoder import use_compiled_decoder
        from ptylive.streamer.fast.merlin_pixels import use_compiled_runs
        from ptylive.streamer.fast.self_test import self_test

        try:
            made = cls()
            self_test(made)
            use_compiled_decoder()
            use_compiled_runs()
        except PtyliveError:
            raise
        except Exception as error:  # numba's errors are many, and all mean the same here
            raise PtyliveError(f"the receive loop does not compile: {error}", "the plain one is used") from error
        return cls()

    @property
    def pending(self) -> bool:
        """Whether the first part of a message has been read that is neither taken nor left to Python."""
        return bool(self._state[self._loop.PENDING])

    def follows(self, progress: ScanProgress) -> bool:
        """Whether this is the scan the loop is bound to."""
        return self._progress is progress

    def suits(self, progress: ScanProgress) -> bool:
        """Whether patterns of a scan can be received here."""
        layout = progress.layout
        return (
            0 < layout.nbytes <= LARGEST_PATTERN_BYTES
            and layout.dtype.itemsize in (1, 2, 4)
            and (layout.dtype.isnative or layout.dtype.itemsize == 1)
        )

    def follow(self, progress: ScanProgress) -> None:
        """Receive for this scan from now on."""
        if self._progress is not progress:
            self._progress = progress
            self._uid = np.frombuffer(progress.sent_as.encode(), np.uint8)
            self.forget_senders()
            self._make_room()

    def forget_senders(self) -> None:
        """Leave frames to Python until it names their senders again."""
        self._senders = np.empty(0, np.int64)

    def expect(self, codec: Codec, sender: int = 0) -> None:
        """Accept messages of this codec, and of this sender too, from now on.

        The caller must have taken everything received. ``sender``: its own number; 0: all senders without a number.
        """
        if sender not in self._senders:
            self._senders = np.append(self._senders, sender)[-_MOST_SENDERS:]
        if codec in _CODECS and codec != self._codec:
            self._codec = codec
            if self._progress is not None:
                self._make_room()

    def _make_room(self) -> None:
        """Provide a block for patterns of the followed scan, in the expected codec."""
        assert self._progress is not None  # noqa: S101  (callers follow one)
        nbytes = self._progress.layout.nbytes
        coded = self._codec != "none"
        block_bytes = CODED_BLOCK_BYTES if coded else RAW_BLOCK_BYTES
        self._room = max(1, min(MOST_FRAMES, block_bytes // nbytes))
        self._largest = self._room if coded else LARGEST_RAW_MESSAGE_BYTES // nbytes
        # an upper bound for coded patterns, most of which is never touched: it costs addresses, not memory
        self._memory.shape(self._room * (self._loop.coded_bound(nbytes) if coded else nbytes))
        self._block = self._memory.block()

    def _wanted(self, progress: ScanProgress) -> int:
        """Number of patterns to wait for: a block, or the rest of the scan, whose last one must not wait for more."""
        return max(1, min(self._room, progress.header.frames - progress.placed))

    def receive(self, socket: zmq.Socket[bytes]) -> int:
        """Receive until there is something to do: TAKE, IDLE, HEADER or BROKEN of :mod:`ptylive.streamer.fast.loop`."""
        if self._progress is None:
            raise RuntimeError("follow a scan first")
        layout = self._progress.layout
        return int(
            self._loop.receive_block(
                socket.underlying,
                self._uid,
                self._senders,
                _CODECS[self._codec],
                layout.dtype.itemsize,
                layout.nbytes,
                self._progress.received,
                self._progress.marks,
                self._wanted(self._progress),
                self._largest,
                self._block,
                self._index,
                self._ends,
                self._state,
                self._values,
                self._header,
            )
        )

    def receive_images(self, socket: zmq.Socket[bytes], images: ImageTemplate) -> int:
        """Like :meth:`receive`, for images of a DECTRIS series."""
        if self._progress is None or images.uid != self._progress.header.uid:
            raise RuntimeError("follow the scan of these images first")
        self.expect("bslz4")
        layout, loop = self._progress.layout, self._loop
        target = (
            images.offset,
            layout.dtype.itemsize,
            layout.nbytes,
            self._progress.received,
            self._progress.marks,
            self._wanted(self._progress),
            self._block,
            self._index,
            self._ends,
            self._state,
            self._values,
        )
        before = np.frombuffer(images.before, np.uint8)
        if isinstance(images, JsonImageTemplate):
            after = np.frombuffer(images.after, np.uint8)
            return int(loop.receive_images(socket.underlying, images.series, before, after, *target, self._header))
        if len(self._header) < _MAP_BYTES:  # never touched unless a map is that long
            self._header = np.empty(_MAP_BYTES, np.uint8)
        series, unique = np.frombuffer(images.series, np.uint8), np.frombuffer(images.unique, np.uint8)
        return int(loop.receive_maps(socket.underlying, series, unique, before, *target, self._header))

    def take(self) -> FrameBlock | None:
        """Return what has been received since the last call, if anything; it belongs to the caller."""
        count, nbytes = int(self._state[self._loop.FRAMES]), int(self._state[self._loop.BLOCK_BYTES])
        if self._progress is None or count == 0:
            return None
        layout, uid = self._progress.layout, self._progress.header.uid
        index, ends, used = self._index[:count].copy(), self._ends[:count].copy(), self._block[:nbytes]
        if 2 * count < self._room:
            used = used.copy()  # a reader that lags would otherwise hold a whole block for a few frames
        else:
            self._block = self._memory.block()
        self._state[self._loop.FRAMES] = self._state[self._loop.BLOCK_BYTES] = 0
        if self._codec == "none":
            frames = used.view(layout.dtype).reshape(count, *layout.shape)
            return FrameBlock(FrameBatch(uid, index, frames), "none")
        return FrameBlock(CodedBatch(uid, index, used, ends, layout), self._codec)

    def refused(self) -> Iterator[WireError]:
        """Yield the errors of everything refused since the last call."""
        loop, state = self._loop, self._state
        for place, text, reason in (
            (loop.TRUNCATED_PATTERNS, f"{self._codec} part is shorter than its framing", "truncated"),
            (loop.WRONG_SIZE_PATTERNS, f"{self._codec} part announces another size than a pattern has", "wrong_size"),
            (loop.CORRUPT_PATTERNS, f"{self._codec} part does not decode", "corrupt"),
            (loop.TRUNCATED_MESSAGES, f"a frames message has fewer bytes than {_ITS_PATTERNS}", "truncated"),
            (loop.OVERSIZED_MESSAGES, f"a frames message has more bytes than {_ITS_PATTERNS}", "oversized"),
            (loop.WRONG_PARTS_MESSAGES, "a frames message has too few or too many parts", "wrong_parts"),
        ):
            count, state[place] = int(state[place]), 0
            for _ in range(count):
                yield WireError(text, reason)

    def messages_read(self) -> tuple[int, int]:
        """Return how many messages have been received since the last call, and their bytes."""
        loop, state = self._loop, self._state
        messages, nbytes = int(state[loop.MESSAGES]), int(state[loop.BYTES])
        state[loop.MESSAGES] = state[loop.BYTES] = 0
        return messages, nbytes

    @property
    def source(self) -> int:
        """Connection of the native message that is left to Python; not of a pending one."""
        return int(self._state[self._loop.SOURCE])

    def left_over(self) -> tuple[list[bytes], bool]:
        """Return the parts read of the message that is left to Python, and whether the socket holds more of them."""
        loop = self._loop
        if self.pending:
            self._state[loop.PENDING] = 0
            first, count = int(self._values[FIRST]), int(self._values[COUNT])
            uid, sender = bytes(self._uid).decode(), int(self._values[SENDER])
            return [bytes(encode(FramesMessage(uid, first, count, self._codec, (), sender=sender))[0])], True
        first, second = int(self._state[loop.HEADER_BYTES]), int(self._state[loop.SECOND_BYTES])
        parts = [self._header[:first].tobytes()]
        if second:
            parts.append(self._header[first : first + second].tobytes())
        return parts, bool(self._state[loop.MORE])
