"""Compress frames into vectors before storage: an inlet around another one (docs/compression.md, "In a server")."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ptylive.schema import Basis, PtyliveError, ScanHeader, WireError
from ptylive.schema.model import Array, FloatArray, IndexArray
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.protocols import Inlet, Note
from ptylive.streamer.protocols.inlet import Taken
from ptylive.streamer.tracking.names import same_header
from ptylive.streamer.wire import (
    ArmMessage,
    EndMessage,
    FrameLayout,
    FramesMessage,
    Message,
    PingMessage,
    check_size,
    decode_frames,
    runs_of,
)
from ptylive.streamer.wire.arrays import Buffer

LEARNING_S = 5.0
"""How long to wait for enough first frames, in s, counted from the first of them."""
MOST_HELD_BYTES = 256 * 2**20
_MOST_SCANS = 4
"""Scans whose senders may send at the same time."""


class FrameCompressor(Protocol):
    """Turns the frames of one scan into vectors."""

    @property
    def header(self) -> ScanHeader:
        """Header of the scan of vectors, with basis and masks."""
        ...

    def vectors(self, index: IndexArray, frames: Array) -> FloatArray:
        """Return coefficients and extras (n, N + M), float32, of frames (n, Qy, Qx) with acquisition numbers (n,)."""
        ...


class Compression(Protocol):
    """Makes the compressor of every scan, with the knowledge of detectors and masks that the streamer lacks."""

    def sample_frames(self, header: ScanHeader) -> int:
        """Return how many frames must be seen before the masks can be made; 0: none."""
        ...

    def learn(self, header: ScanHeader, index: IndexArray, frames: Array) -> FrameCompressor:
        """Make the compressor of a new scan from its first frames (n, Qy, Qx). Raises PtyliveError if it cannot."""
        ...

    def resume(self, header: ScanHeader) -> FrameCompressor:
        """Make the compressor of a scan with stored vectors: ``header`` holds their masks. Raises PtyliveError."""
        ...


@dataclass(frozen=True)
class Stored:
    """What the acquisition stores about a scan received before, and about the open one."""

    header_of: Callable[[ScanHeader], ScanHeader | None]
    open_header: Callable[[], ScanHeader | None]
    busy: Callable[[], bool]
    """Whether a sender is heard, so that a ping of another one must not open a scan."""
    undecided: Callable[[ScanHeader], bool] = lambda _header: False
    """Whether it is not known yet if a scan was received before."""


@dataclass
class _Scan:
    """A scan whose frames are arriving. maker: None while frames are held; plain: frames are handed on unchanged;
    undecided: whether it is not known yet if it was stored before.
    """

    header: ScanHeader
    needed: int
    problems: tuple[WireError, ...] = ()
    maker: FrameCompressor | None = None
    plain: bool = False
    undecided: bool = False
    held: list[FramesMessage] = field(default_factory=list)
    count: int = 0
    nbytes: int = 0
    since: float | None = None
    layout: FrameLayout = field(init=False)

    def __post_init__(self) -> None:
        self.layout = FrameLayout.of(self.header)
        self.needed = min(self.needed, self.header.frames, max(1, MOST_HELD_BYTES // self.layout.nbytes))

    @property
    def learning(self) -> bool:
        return self.maker is None and not self.plain

    @property
    def full(self) -> bool:
        return self.nbytes > MOST_HELD_BYTES

    @property
    def ripe(self) -> bool:
        """Whether enough frames were seen, enough are held, or enough time has passed."""
        waited = self.since is not None and time.monotonic() - self.since > LEARNING_S
        return self.learning and (self.count >= self.needed or self.full or waited)

    def hold(self, message: FramesMessage) -> None:
        """Keep a message for making the masks. Raises WireError if it does not fit this scan."""
        check_size(message, self.layout)
        last = message.first + message.count
        if last > self.header.frames:
            raise WireError(f"frames {message.first} to {last - 1} of a scan of {self.header.frames}", "beyond_scan")
        self.since = self.since or time.monotonic()
        self.held.append(message)
        self.count += message.count
        self.nbytes += sum(memoryview(part).nbytes for part in message.parts)


class CompressingInlet:
    """An inlet that turns raw frames into vectors; scans that are already compressed pass unchanged."""

    def __init__(
        self, inlet: Inlet, compression: Compression, stored: Stored, refuse: Callable[[WireError], None], note: Note
    ) -> None:
        self._inlet, self._compression, self._stored = inlet, compression, stored
        self._refuse, self._note = refuse, note
        self._scans: OrderedDict[str, _Scan] = OrderedDict()

    @property
    def _scan(self) -> _Scan | None:
        """The scan that began or sent frames most recently."""
        return next(reversed(self._scans.values()), None)

    @property
    def holding(self) -> bool:
        """Whether the inner inlet holds something; frames held for the masks wait for more frames instead."""
        return self._inlet.holding

    def take(self, parts: Sequence[Buffer]) -> Iterator[Message]:
        """See :class:`~ptylive.streamer.protocols.Inlet`."""
        yield from self._converted(self._inlet.take(parts))

    def flush(self) -> Iterator[Message]:
        """Hand on what the inner inlet holds, and scans whose first frames have been waited for long enough."""
        yield from self._converted(self._inlet.flush())
        for scan in list(self._scans.values()):
            if self._is_ripe(scan):
                yield from self._finish_learning(scan)

    def finish(self) -> Iterator[Message]:
        """Hand on everything that is held; nothing more will come."""
        yield from self.flush()
        for scan in list(self._scans.values()):
            if scan.held:
                yield from self._finish_learning(scan)

    def template(self) -> None:
        """Return None: the compiled loop cannot project, so frames are taken one message at a time."""
        return

    def advance(self, number: int) -> None:
        """See :class:`~ptylive.streamer.protocols.Inlet`."""
        self._inlet.advance(number)

    def _converted(self, messages: Iterable[Taken]) -> Iterator[Message]:
        for received in messages:
            message = received.decoded() if isinstance(received, FrameBlock) else received
            if isinstance(message, FramesMessage):
                yield from self._on_frames(message)
            elif isinstance(message, ArmMessage):
                yield from self._on_arm(message)
            elif isinstance(message, PingMessage):
                yield from self._on_ping(message)
            else:
                yield from self._on_end(message)

    def _on_arm(self, message: ArmMessage) -> Iterator[Message]:
        scan = self._scans.get(message.header.uid)
        if scan is not None and same_header(scan.header, message.header):
            self._scans.move_to_end(message.header.uid)
            if not scan.learning:
                yield self._armed(scan)
            return
        for pending in list(self._scans.values()):
            if pending.held:
                yield from self._finish_learning(pending)
        if message.header.basis.is_raw:
            yield from self._begin(message.header, message.problems)
        else:
            yield message

    def _begin(self, header: ScanHeader, problems: tuple[WireError, ...] = ()) -> Iterator[Message]:
        """Begin a scan of frames; one that was stored before continues in its stored form."""
        scan = self._remember(_Scan(header, self._compression.sample_frames(header), problems))
        scan.undecided = self._stored.undecided(header)
        earlier = None if scan.undecided else self._stored.header_of(header)
        if earlier is not None:
            self._take_up(scan, earlier)
            yield self._armed(scan)
        elif scan.needed == 0 and not scan.undecided:
            yield from self._finish_learning(scan)

    def _remember(self, scan: _Scan) -> _Scan:
        """Keep a scan that begins, along with those heard recently, whose senders may go on."""
        self._scans[scan.header.uid] = scan
        self._scans.move_to_end(scan.header.uid)
        while len(self._scans) > _MOST_SCANS:
            self._scans.popitem(last=False)
        return scan

    def _take_up(self, scan: _Scan, earlier: ScanHeader) -> None:
        """Continue as before: with plain frames, or with vectors of the stored masks."""
        if earlier.basis.is_raw:
            scan.plain = True
            return
        try:
            scan.maker = self._compression.resume(earlier)
        except PtyliveError as error:
            scan.plain = True
            self._note(f"scan {scan.header.series} cannot be compressed as before: {error.line()}")

    def _on_frames(self, message: FramesMessage) -> Iterator[Message]:
        scan = self._scans.get(message.uid) or self._resumed(message)
        if scan is not None:
            self._scans.move_to_end(message.uid)
        if scan is None or scan.plain:
            yield message
        elif scan.maker is not None:
            yield from self._vectors(scan, scan.maker, message)
        else:
            scan.hold(message)
            if self._is_ripe(scan):
                yield from self._finish_learning(scan)

    def _is_ripe(self, scan: _Scan) -> bool:
        """Whether masks can be made now, from the frames held or as they were stored."""
        return scan.ripe and (scan.full or not (scan.undecided and self._stored.undecided(scan.header)))

    def _resumed(self, message: FramesMessage) -> _Scan | None:
        """After a restart, resume the scan taken up from its journal when frames arrive before their sender's ping."""
        earlier = self._stored.open_header()
        if earlier is None or earlier.uid != message.uid or earlier.basis.is_raw:
            return None
        scan = _Scan(_without_basis(earlier), 0)
        try:
            check_size(message, scan.layout)
        except WireError:
            return None  # its sender compresses the frames
        self._take_up(scan, earlier)
        return self._remember(scan)

    def _on_end(self, message: EndMessage) -> Iterator[Message]:
        if (scan := self._scans.get(message.uid)) is not None:
            yield from self._settled(scan)
        yield message

    def _on_ping(self, message: PingMessage) -> Iterator[Message]:
        scan = self._scans.get(message.uid)
        if scan is not None:
            if not scan.learning:
                yield PingMessage(message.uid, self._armed(scan).header)
        elif message.header is None or not message.header.basis.is_raw:
            yield message
        elif not self._stored.busy() and (self._scan is None or not self._scan.learning):
            yield from self._begin(message.header, message.problems)

    def _settled(self, scan: _Scan) -> Iterator[Message]:
        """Make the masks from the frames at hand when no more will come; a scan without any frame stays as it is."""
        if not scan.learning:
            return
        if scan.held:
            yield from self._finish_learning(scan)
        else:
            scan.plain = True
            yield self._armed(scan)

    def _finish_learning(self, scan: _Scan) -> Iterator[Message]:
        """Make the masks, arm the scan, and hand on the held frames."""
        earlier = self._stored.header_of(scan.header) if scan.undecided else None
        if earlier is not None:
            self._take_up(scan, earlier)
        else:
            self._learn(scan)
        held, scan.held = scan.held, []
        yield self._armed(scan)
        for message in held:
            if scan.maker is None:
                yield message
            else:
                yield from self._vectors(scan, scan.maker, message)

    def _learn(self, scan: _Scan) -> None:
        """Make the masks of a new scan from the held frames."""
        index, frames = _decoded(scan)
        try:
            scan.maker = self._compression.learn(scan.header, index, frames)
        except PtyliveError as error:
            scan.plain = True
            self._note(f"scan {scan.header.series} is recorded as frames: {error.line()}")

    def _armed(self, scan: _Scan) -> ArmMessage:
        header = scan.header if scan.maker is None else scan.maker.header
        return ArmMessage(header, scan.problems)

    def _vectors(self, scan: _Scan, maker: FrameCompressor, message: FramesMessage) -> Iterator[Message]:
        check_size(message, scan.layout)
        frames, good, problems = decode_frames(message, scan.layout)
        for problem in problems:
            self._refuse(problem)
        for start, stop in runs_of(good):
            index = np.arange(message.first + start, message.first + stop)
            vectors = np.ascontiguousarray(maker.vectors(index, frames[start:stop]), dtype="<f4")
            yield FramesMessage(
                message.uid, message.first + start, stop - start, "none", (vectors.data.cast("B"),), message.seq
            )


def _decoded(scan: _Scan) -> tuple[IndexArray, Array]:
    """Return the held frames (n, Qy, Qx) and their acquisition numbers."""
    numbers: list[IndexArray] = [np.zeros(0, dtype=np.int64)]
    patterns: list[Array] = [np.zeros((0, *scan.layout.shape), dtype=scan.layout.dtype)]
    for message in scan.held:
        frames, good, _ = decode_frames(message, scan.layout)
        indices = np.flatnonzero(good)
        numbers.append(message.first + indices)
        patterns.append(frames[indices])
    return np.concatenate(numbers), np.concatenate(patterns)


def _without_basis(header: ScanHeader) -> ScanHeader:
    """Return the header of a compressed scan as it was before compression: frames of its detector."""
    arrays = {name: array for name, array in header.arrays.items() if name != "masks"}
    return replace(header, basis=Basis(), arrays=arrays)
