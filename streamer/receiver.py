"""The receiver: a thread that reads the data socket and refuses invalid messages without ever stopping for one.

::

    receiver = Receiver(ReceiverSettings(data="tcp://127.0.0.1:9999", folder=Path("recordings")), on_event=log)
    reader = receiver.ring.reader()      # before start, so that nothing is missed
    receiver.start()
    for item in reader: ...              # ArmEvent, FrameBatch …, EndEvent
    receiver.stop()

There are no ZMTP heartbeats on this socket: while the high-water mark holds a sender back, nothing is read, not even
heartbeats; libzmq then considers the peer dead, drops the connection and with it everything under way (seen: 20 of 60
messages). Senders ping in the protocol instead, and TCP keep-alive finds dead hosts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from ptylive.schema import PtyliveError, WireError
from ptylive.schema.model import Array
from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.compressing import CompressingInlet, Compression, Stored
from ptylive.streamer.describing import DescribingInlet
from ptylive.streamer.events import Announcer, StreamEvent, StreamStatus
from ptylive.streamer.patience import Patience
from ptylive.streamer.protocols import Inlet, ProtocolSettings, make_connection, make_inlet
from ptylive.streamer.protocols.inlet import Taken
from ptylive.streamer.protocols.tcp_connection import MOST_QUEUED as MOST_DETECTOR_QUEUED
from ptylive.streamer.protocols.tcp_connection import DetectorConnection
from ptylive.streamer.ring import DEFAULT_RING_BYTES, Ring
from ptylive.streamer.sockets.connection import Connection
from ptylive.streamer.sockets.detector_watch import DetectorWatch
from ptylive.streamer.sockets.queue_length import MOST_QUEUED, SocketQueue
from ptylive.streamer.sockets.security import Gate, ServerKeys
from ptylive.streamer.wire import ArmMessage, FramesMessage, PingMessage
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import DEFAULT_DATA, MAX_MESSAGE_BYTES, MAX_PART_BYTES, MAX_PARTS

if TYPE_CHECKING:
    from ptylive.streamer.fast.receive import CompiledLoop
    from ptylive.streamer.protocols.image_template import ImageTemplate

_TICK_MS = 100
_LOOK_S = 0.02
"""Seconds between two rounds of other duties while messages keep arriving."""
_USUAL_OVER = 16
"""Number of messages over which their usual size is measured."""
_HIGH_WATER_IMAGES = 1024  # DECTRIS sends single images, and drops them when nobody takes them
_SOCKET_BUFFER_BYTES = 4 * 2**20
_INNER_ADDRESS = "inproc://detector"
"""Address at which the thread that owns a TCP connection hands on the data it receives."""


@dataclass(frozen=True)
class ReceiverSettings:
    """Settings of a receiver.

    data: address to bind (port 0: any free port), or to connect to where the detector listens; folder: for recordings,
    None for none; ring_bytes: bound on the bytes held for slow readers; protocol: what the sender speaks; keys: who may
    send, None for anybody on this machine (a DECTRIS detector does not support keys); compression: frames become
    vectors before they are stored; detector_arrays, distortion: added to every scan as if its sender had sent them.
    """

    data: str = DEFAULT_DATA
    folder: Path | None = None
    patience: Patience = field(default_factory=Patience)
    ring_bytes: int = DEFAULT_RING_BYTES
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    keys: ServerKeys | None = None
    compression: Compression | None = None
    detector_arrays: Mapping[str, Array] = field(default_factory=dict)
    distortion: tuple[float, ...] | None = None


class Receiver:
    """Opens the data socket at once (see ``address``) and receives from :meth:`start` to :meth:`stop`."""

    def __init__(self, settings: ReceiverSettings, *, on_event: Callable[[StreamEvent], None]) -> None:
        """Bind or connect the socket. Raises PtyliveError when the address is taken or invalid."""
        self.ring = Ring(settings.ring_bytes)
        self._announcer = Announcer(on_event)
        self._context = zmq.Context()
        connects = settings.protocol.connects
        self._gate = Gate(self._context, None if connects else settings.keys)
        self._connection: DetectorConnection | None = None
        self._watch: DetectorWatch | None = None
        if settings.protocol.over_tcp:
            self._connection = make_connection(settings.protocol.name, self._context, settings.data, _INNER_ADDRESS)
            self._socket = self._opened(_INNER_ADDRESS, connects=False, longest=MOST_DETECTOR_QUEUED)
            self.address = settings.data
        else:
            longest = _HIGH_WATER_IMAGES if connects else MOST_QUEUED
            self._socket = self._opened(settings.data, connects=connects, longest=longest)
            self.address = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        self._acquisition = Acquisition(
            self.ring,
            settings.folder,
            settings.patience,
            self._announcer,
            one_sender=connects,
            exact=settings.compression is None,
        )
        self._queue.accepted, self._queue.lost = self._acquisition.senders.accepted, self._acquisition.senders.lost
        self._inlet = self._made_inlet(settings)
        self._native = settings.protocol.name == "native" and settings.compression is None
        self._loop: CompiledLoop | None = None
        self._recovered = False
        self._usual_bytes = 0.0
        self._stop = threading.Event()
        self._stop_timeout_s = 0.0
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        """Recover what an earlier run left behind, then receive; returns at once."""
        if self._connection is not None:
            self._connection.start()
        self._thread.start()

    def accelerate(self) -> bool:
        """Compile or load the fast receive loop and use it from the next message on; False where it cannot work.

        The first call takes seconds: call it in a background thread. Until it is done, and where it cannot work, the
        plain loop receives.
        """
        from ptylive.streamer.fast.receive import CompiledLoop

        started = time.monotonic()
        try:
            self._loop = CompiledLoop.prepare()
        except PtyliveError as error:
            self._announcer.log("info", f"compiled receive loop not used: {error.line()}")
            return False
        self._announcer.log("info", f"compiled receive loop ready after {time.monotonic() - started:.1f} s")
        return True

    @property
    def accelerated(self) -> bool:
        """Whether the compiled receive loop is in use."""
        return self._loop is not None

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop receiving, close the open scan and finish its recording; returns after at most about ``timeout_s``."""
        self._stop_timeout_s = timeout_s
        self._stop.set()
        if self._thread.ident is None:
            self._acquisition.stop(timeout_s)
            self._close_socket()
        else:
            self._thread.join(timeout_s / 2)
            self.ring.close()  # releases a receive thread that waits for a reader that no longer reads
            self._thread.join(timeout_s)
        self.ring.close()

    def status(self) -> StreamStatus:
        """Return the state of the stream; callable from any thread."""
        detector = self._watch or self._connection
        missing = "" if detector is None else detector.missing
        return replace(self._acquisition.status(), recovering=not self._recovered, detector_missing=missing)

    def record(self, wanted: bool) -> None:
        """Set whether scans that begin from now on are recorded, if there is a folder; callable from any thread."""
        self._acquisition.record(wanted)

    def safe_ranges(self, uid: str) -> list[tuple[int, int]]:
        """Half-open ranges [first, last) of frames of a scan that would survive a crash; callable from any thread."""
        return self._acquisition.safe_ranges(uid)

    def end_scan(self, uid: str) -> bool:
        """End an open scan with what has arrived, soon; return whether it is open. Callable from any thread."""
        return self._acquisition.end_scan(uid)

    def _made_inlet(self, settings: ReceiverSettings) -> Inlet:
        """Make the inlet of the sender's protocol, wrapped in the compression where there is one."""
        inlet = make_inlet(settings.protocol, self._warn)
        if settings.detector_arrays or settings.distortion is not None:
            inlet = DescribingInlet(inlet, settings.detector_arrays, self._warn, settings.distortion)
        if settings.compression is None:
            return inlet
        acquisition = self._acquisition
        stored = Stored(
            acquisition.header_of,
            acquisition.open_header,
            lambda: acquisition.hears_a_sender,
            acquisition.undecided.may_be_stored,
        )
        return CompressingInlet(inlet, settings.compression, stored, acquisition.reject, self._warn)

    def _warn(self, text: str) -> None:
        self._announcer.log("warning", text)

    def _opened(self, address: str, *, connects: bool, longest: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.PULL)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        self._queue = SocketQueue(socket, longest)
        socket.setsockopt(zmq.RCVBUF, _SOCKET_BUFFER_BYTES)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
        socket.setsockopt(zmq.RCVTIMEO, _TICK_MS)
        self._gate.protect(socket)
        try:
            if connects:
                socket.connect(address)
                self._queue.connection = Connection(socket, address)
                self._watch = DetectorWatch(self._queue.connection, address, self._warn)
            else:
                socket.bind(address.replace(":0", ":*") if address.endswith(":0") else address)
        except zmq.ZMQError as error:
            self._close_socket()
            hint = "is another server running? choose another address with --data"
            hint = "give the detector's address with --data tcp://HOST:PORT" if connects else hint
            raise PtyliveError(f"cannot receive at {address}: {error.strerror}", hint) from None
        return socket

    def _run(self) -> None:
        """Run the receive thread: nothing a sender does ends it."""
        try:
            self._guarded(self._acquisition.recover)
            self._recovered = True
            looked_at = 0.0
            while not self._stop.is_set():
                self._guarded(self._receive)
                if (now := time.monotonic()) - looked_at > _LOOK_S:
                    looked_at = now
                    self._guarded(self._acquisition.tick)
                    self._guarded(self._queue.tick)
                    if self._watch is not None:
                        self._watch.tick()
            self._guarded(self._finish_inlet)
            self._guarded(lambda: self._acquisition.stop(self._stop_timeout_s))
        finally:
            self._close_socket()

    def _finish_inlet(self) -> None:
        """Process what was held for the masks of a compressed scan, before the scan is closed."""
        if isinstance(self._inlet, CompressingInlet):
            for message in self._inlet.finish():
                self._guarded(partial(self._acquisition.handle, message))

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run one step of the loop: count a refused message, report an internal fault, and go on in either case."""
        try:
            step()
        except WireError as error:
            self._acquisition.reject(error)
        except Exception as error:
            logging.getLogger(__name__).exception("fault in the receive thread")
            self._acquisition.reject(WireError(f"internal error: {error!r}", "internal_error"))

    def _receive(self) -> None:
        """Wait at most one tick for the next message and process it. Raises WireError when it is refused."""
        loop, scan = self._loop, self._acquisition.open_scan
        mixed = scan is not None and self._native and self._acquisition.senders.are_in_question(scan)
        if loop is not None and loop.pending and (scan is None or mixed or not loop.follows(scan)):
            self._take_rest(loop)
            return
        images = None if loop is None or self._native else self._inlet.template()
        fits = self._native or (images is not None and scan is not None and images.uid == scan.header.uid)
        if loop is None or scan is None or not fits or mixed or not loop.suits(scan):
            self._receive_message()
            return
        for message in self._inlet.flush():
            self._hand_on(message, -1)
        if self._acquisition.open_scan is scan:  # what was held may have been the last of it
            loop.follow(scan)
            self._receive_compiled(loop, images)

    def _receive_compiled(self, loop: CompiledLoop, images: ImageTemplate | None) -> None:
        """Receive many messages at once; those that the compiled loop does not handle are processed here."""
        from ptylive.streamer.fast.loop import BROKEN, HEADER

        outcome = loop.receive(self._socket) if images is None else loop.receive_images(self._socket, images)
        messages, nbytes = loop.messages_read()
        if messages:
            self._queue.bound(nbytes / messages, messages)
        if (block := loop.take()) is not None:
            self._inlet.advance(int(block.index.max()))
            self._guarded(partial(self._acquisition.take_block, block))
        for problem in loop.refused():
            self._acquisition.reject(problem, of_open_scan=True)
        if outcome == HEADER:
            self._take_rest(loop)
        elif outcome == BROKEN:
            self._loop = None
            self._announcer.log("warning", "the compiled receive loop failed: the plain one is used")

    def _take_rest(self, loop: CompiledLoop) -> None:
        """Process a message whose first part the compiled loop has read. Raises WireError when it is refused."""
        read, more = loop.left_over()
        parts: list[Buffer] = [*read]
        source = loop.source
        if more:
            rest, source = self._next_message(wait=True, before=len(parts))
            parts += rest
        for message in self._inlet.take(parts):
            self._hand_on(message, source)
            self._note(loop, message, source)

    def _note(self, loop: CompiledLoop, message: Taken, source: int) -> None:
        """Let the compiled loop handle further messages like this one, if they are frames meant for the open scan."""
        scan, senders = self._acquisition.open_scan, self._acquisition.senders
        if isinstance(message, ArmMessage | PingMessage):
            loop.forget_senders()  # it may mean another scan now
        elif isinstance(message, FramesMessage) and scan is not None and message.uid == scan.sent_as:
            meant = senders.of(senders.known(source, message.sender), message.uid)
            if not message.sender or meant == scan.header.uid:
                loop.expect(message.codec, message.sender)

    def _hand_on(self, received: Taken, source: int) -> None:
        """Hand on a message that has been read; ``source``: descriptor of its connection, -1 where unknown."""
        scan = self._acquisition.open_scan
        if isinstance(received, FrameBlock) and scan is not None and scan.lacks(received):
            self._guarded(partial(self._acquisition.take_block, received))
            return
        message = received.decoded() if isinstance(received, FrameBlock) else received
        if not self._native:
            self._guarded(partial(self._acquisition.handle, message))
            return
        senders = self._acquisition.senders
        known = senders.known(source, message.sender)
        if isinstance(message, ArmMessage | PingMessage) or senders.is_news(known, message.uid):
            self._queue.look()  # some connections that mean this scan may be gone, and this one may be new
        self._guarded(partial(self._acquisition.handle, message, senders.known(source, message.sender)))

    def _receive_message(self) -> None:
        """Receive one message through pyzmq."""
        source = -1
        try:
            parts, source = self._next_message(wait=not self._inlet.holding)
        except zmq.Again:
            messages = self._inlet.flush()
        else:
            messages = self._inlet.take(parts)
        for message in messages:
            self._hand_on(message, source)

    def _next_message(self, *, wait: bool, before: int = 0) -> tuple[list[Buffer], int]:
        """Return all parts of one message, or those after the first ``before``; and its connection (`_connection_of`).

        A message with too many parts is read completely and then refused.
        """
        flags = 0 if wait else zmq.NOBLOCK
        if self._connection is not None:
            self._socket.recv(flags)
            return list(self._connection.taken()), -1
        parts: list[Buffer] = []
        nbytes, more, count = 0, True, before
        while more:
            part = self._socket.recv(flags, copy=False)
            more, count = part.more, count + 1
            nbytes += len(part)
            if count <= MAX_PARTS and nbytes <= MAX_MESSAGE_BYTES:
                parts.append(part.buffer)
            else:
                parts.clear()
        self._usual_bytes += (nbytes - self._usual_bytes) / _USUAL_OVER
        self._queue.bound(self._usual_bytes)
        if count > MAX_PARTS or nbytes > MAX_MESSAGE_BYTES:
            raise WireError(f"message of {count} parts and {nbytes} bytes", "oversized")
        return parts, _connection_of(part)

    def _close_socket(self) -> None:
        if self._connection is not None:
            self._connection.stop()
        self._gate.close()
        self._queue.close()
        self._context.destroy(linger=0)


def _connection_of(part: zmq.Frame) -> int:
    """Connection by which a message arrived, as libzmq numbers it (its file descriptor); -1 where there is none."""
    try:
        return int(part.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1
