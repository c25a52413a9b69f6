"""The compiled loop seen from Python: bound to the open scan, it fills blocks; the receiver takes them.

::

    loop = CompiledLoop.prepare()            # seconds; raises PtyliveError where it cannot work
    loop.follow(progress, keep_coded=True)
    outcome = loop.receive(socket)           # TAKE, IDLE, HEADER or BROKEN
    block = loop.take()                      # what it received, if anything
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import zmq

from ptylive.schema import PtyliveError, WireError
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.fast import libzmq
from ptylive.streamer.fast.bslz4 import work_space
from ptylive.streamer.fast.header import CODEC_BSLZ4, CODEC_NONE, COUNT, FIRST, new_values
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.protocols.steady import SteadyImages
from ptylive.streamer.wire import FramesMessage, encode
from ptylive.streamer.wire.codec import Codec

BLOCK_BYTES = 4 * 2**20
MOST_FRAMES = 16384
LARGEST_PATTERN_BYTES = 2**20
"""Larger patterns come so seldom that nothing is gained."""
_CODECS: dict[Codec, int] = {"none": CODEC_NONE, "bslz4": CODEC_BSLZ4}
_KEPT_BLOCKS = 16
_TEXT_BYTES = 2**20 + 2
"""Room for a first part, DECTRIS's texts included; longer ones are refused as they are."""


class CompiledLoop:
    """Receives the frames of one scan after the other; for the thread that owns the socket. See the module."""

    def __init__(self) -> None:
        from ptylive.streamer.fast import loop

        self._loop = loop
        self._progress: ScanProgress | None = None
        self._codec: Codec = "bslz4"
        self._keep = False
        self._memory = BlockMemory()
        self._uid = np.empty(0, np.uint8)
        self._index = np.empty(MOST_FRAMES, np.int64)
        self._ends = np.empty(MOST_FRAMES, np.int64)
        self._coded = np.empty(0, np.uint8)
        self._frames = np.empty((1, 1), np.uint8)
        self._state = np.zeros(loop.STATE_WORDS, np.int64)
        self._values = new_values()
        self._header = np.empty(_TEXT_BYTES, np.uint8)
        self._block, self._words = work_space()

    @classmethod
    def prepare(cls) -> CompiledLoop:
        """Load libzmq, compile (or load from numba's cache) and try it. Raises PtyliveError where it cannot work."""
        libzmq.load()
        from ptylive.streamer.fast.probe import probe

        try:
            made = cls()
            probe(made)
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

    def follow(self, progress: ScanProgress, *, keep_coded: bool) -> None:
        """Receive for this scan from now on; ``keep_coded``: a recording wants compressed patterns as they came."""
        if self._progress is not progress:
            self._progress = progress
            nbytes = progress.layout.nbytes
            self._uid = np.frombuffer(progress.arm.uid.encode(), np.uint8)
            self._memory.shape(max(1, min(MOST_FRAMES, BLOCK_BYTES // nbytes)), nbytes)
            self._frames = self._memory.block()
            self._coded = np.empty(0, np.uint8)
        if keep_coded and not len(self._coded):
            # never touched where nothing is written: the bound costs addresses, not memory
            self._coded = np.empty(len(self._frames) * self._loop.coded_bound(self._frames.shape[1]), np.uint8)
        self._keep = keep_coded

    def expect(self, codec: Codec) -> None:
        """Take messages of this codec from now on."""
        if codec in _CODECS:
            self._codec = codec

    def receive(self, socket: zmq.Socket[bytes]) -> int:
        """Receive until there is something to do: TAKE, IDLE, HEADER or BROKEN of :mod:`ptylive.streamer.fast.loop`."""
        if self._progress is None:
            raise RuntimeError("follow a scan first")
        itemsize = self._progress.layout.dtype.itemsize
        return int(
            self._loop.receive_block(
                socket.underlying,
                self._uid,
                _CODECS[self._codec],
                itemsize,
                self._keep,
                self._progress.received,
                self._frames,
                self._index,
                self._coded,
                self._ends,
                self._state,
                self._values,
                self._header,
                self._block,
                self._words,
            )
        )

    def receive_images(self, socket: zmq.Socket[bytes], images: SteadyImages) -> int:
        """The same for images of a DECTRIS v1 series."""
        if self._progress is None or images.uid != self._progress.arm.uid:
            raise RuntimeError("follow the scan of these images first")
        self._codec = "bslz4"
        return int(
            self._loop.receive_images(
                socket.underlying,
                images.series,
                np.frombuffer(images.before, np.uint8),
                np.frombuffer(images.after, np.uint8),
                images.offset,
                self._progress.layout.dtype.itemsize,
                self._keep,
                self._progress.received,
                self._frames,
                self._index,
                self._coded,
                self._ends,
                self._state,
                self._values,
                self._header,
                self._block,
                self._words,
            )
        )

    def take(self) -> FrameBlock | None:
        """What has been received since the last time, if anything; it belongs to the caller.

        ``coded`` is valid until the next :meth:`receive`.
        """
        count = int(self._state[self._loop.FRAMES])
        if self._progress is None or count == 0:
            return None
        layout = self._progress.layout
        used = self._frames[:count]
        if 2 * count < len(self._frames):
            used = used.copy()  # a reader that lags would otherwise hold a whole block for a few frames
        else:
            self._frames = self._memory.block()
        coded = self._coded.data[: int(self._state[self._loop.BLOB_BYTES])]
        self._state[self._loop.FRAMES] = self._state[self._loop.BLOB_BYTES] = 0
        return FrameBlock(
            self._progress.arm.uid,
            self._index[:count].copy(),
            used.view(layout.dtype).reshape(count, *layout.shape),
            self._codec,
            coded,
            self._ends[:count],
        )

    def refused(self) -> Iterator[WireError]:
        """What was refused since the last time, one by one."""
        loop, state = self._loop, self._state
        for place, text, reason in (
            (loop.TRUNCATED_PATTERNS, "part is shorter than its framing", "truncated"),
            (loop.WRONG_SIZE_PATTERNS, "part announces another size than a pattern has", "wrong_size"),
            (loop.CORRUPT_PATTERNS, "part does not decode", "corrupt"),
            (loop.TRUNCATED_MESSAGES, "message has too few bytes for its patterns", "truncated"),
            (loop.OVERSIZED_MESSAGES, "message has too many bytes for its patterns", "oversized"),
            (loop.WRONG_PARTS_MESSAGES, "message has too few or too many parts", "wrong_parts"),
        ):
            count, state[place] = int(state[place]), 0
            for _ in range(count):
                yield WireError(f"{self._codec} {text}", reason)

    def mean_message_bytes(self) -> float | None:
        """Mean size of the messages received since the last time; None when there were none."""
        loop, state = self._loop, self._state
        messages, nbytes = int(state[loop.MESSAGES]), int(state[loop.BYTES])
        state[loop.MESSAGES] = state[loop.BYTES] = 0
        return nbytes / messages if messages else None

    def left_over(self) -> tuple[list[bytes], bool]:
        """The parts read of the message that is left to Python, and whether more of its parts are in the socket."""
        loop = self._loop
        if self.pending:
            self._state[loop.PENDING] = 0
            first, count = int(self._values[FIRST]), int(self._values[COUNT])
            header = encode(FramesMessage(bytes(self._uid).decode(), first, count, self._codec, ()))[0]
            return [bytes(header)], True
        first, second = int(self._state[loop.HEADER_BYTES]), int(self._state[loop.SECOND_BYTES])
        parts = [self._header[:first].tobytes()]
        if second:
            parts.append(self._header[first : first + second].tobytes())
        return parts, bool(self._state[loop.MORE])


class BlockMemory:
    """Blocks (n, bytes of a pattern) uint8, used again once nobody holds them: fresh memory is as slow as decoding."""

    def __init__(self) -> None:
        self._shape = (0, 0)
        self._blocks: list[np.ndarray] = []

    def shape(self, frames: int, nbytes: int) -> None:
        """Make blocks of this shape from now on."""
        if self._shape != (frames, nbytes):
            self._shape, self._blocks = (frames, nbytes), []

    def block(self) -> np.ndarray:
        """A block that nobody else refers to."""
        for k in range(len(self._blocks)):
            if sys.getrefcount(self._blocks[k]) == 2:  # the list and this question
                return self._blocks[k]
        made = np.empty(self._shape, np.uint8)
        if len(self._blocks) < _KEPT_BLOCKS:
            self._blocks.append(made)
        return made
