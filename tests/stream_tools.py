"""Shared by the streamer's tests: small scans, an encoder, a receiver whose frames are collected."""

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import zmq

from ptylive.schema import Detector, FrameBatch, Optics, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.streamer.events import ArmEvent, EndEvent, RecordingEvent, StreamEvent
from ptylive.streamer.patience import Patience
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.recording.recording_writer import created_scan
from ptylive.streamer.source import open_source
from ptylive.streamer.wire import FramesMessage, Message, encode

LOOPBACK = "tcp://127.0.0.1:0"
PATIENCE_S = 90.0
"""Allows for a machine that is busy with ten other things; no result depends on it."""


def make_header(scan: tuple[int, int] = (6, 7), pixels: tuple[int, int] = (8, 8), **scan_keys: Any) -> ScanHeader:
    """A small scan with all metadata that a sender may know."""
    geometry = Scan(shape=scan, step_A=0.5, rotation_deg=10.0, **scan_keys)
    optics = Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0, defocus_A=100.0)
    return ScanHeader(str(uuid.uuid4()), "test", geometry.frames, geometry, optics, Detector(shape=pixels))


def make_frames(header: ScanHeader, seed: int = 0) -> Array:
    """Poisson patterns (frames, Qy, Qx) for a scan."""
    shape = (header.frames, *header.detector_shape)
    return poisson_quantiles()[np.random.default_rng(seed).integers(2**16, size=shape, dtype=np.uint16)].astype(
        header.frame_dtype, copy=False
    )


@cache
def poisson_quantiles() -> Array:
    """Counts of mean 3, each as often as it is likely: looking up one takes a tenth of the time of drawing it."""
    chances = np.exp(-3.0) * np.cumprod([1.0, *(3.0 / k for k in range(1, 30))])
    return np.searchsorted(np.cumsum(chances), (np.arange(2**16) + 0.5) / 2**16).astype(np.uint16)


def messages_of(header: ScanHeader, frames: Array, batch: int = 5) -> list[FramesMessage]:
    """Uncompressed frames messages of a whole scan."""
    starts = range(0, len(frames), batch)
    return [
        FramesMessage(header.uid, k, len(part), "none", (part.tobytes(),), seq)
        for seq, k in enumerate(starts)
        if len(part := frames[k : k + batch])
    ]


def compressed(pattern: Array, codec: str = "bslz4") -> bytes:
    """One pattern in the framing of the HDF5 filters, written by the filter itself."""
    options = hdf5plugin.Bitshuffle(cname="lz4") if codec == "bslz4" else hdf5plugin.LZ4()
    stored = file_in_memory().create_dataset(None, pattern.shape, pattern.dtype, chunks=pattern.shape, **options)
    stored[...] = pattern
    return bytes(stored.id.read_direct_chunk((0,) * pattern.ndim)[1])


@cache
def file_in_memory() -> h5py.File:
    """One for all patterns; data sets without a name vanish from it."""
    return h5py.File("patterns", "w", driver="core", backing_store=False)


def digest(frame: Array) -> bytes:
    """SHA-256 of a pattern's bytes."""
    return hashlib.sha256(np.ascontiguousarray(frame)).digest()


def digests_of_file(path: Path) -> dict[int, bytes]:
    """Acquisition number -> SHA-256 of every pattern in a native file."""
    with open_source(path) as source:
        return {
            int(number): digest(frame)
            for batch in source.batches(64)
            for number, frame in zip(batch.index, batch.frames, strict=True)
        }


@dataclass
class Running:
    """A running receiver, the content that its ring passed on, and its messages."""

    receiver: Receiver
    items: list[Any] = field(default_factory=list)
    events: list[StreamEvent] = field(default_factory=list)
    frames: dict[str, dict[int, bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.receiver.address

    def wait(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain: {self.receiver.status()} {self.events[-5:]}"
            time.sleep(0.005)

    def wait_for_state(self, *states: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for a state; for the end of a scan, also until the ring's reader has reached it."""
        self.wait(lambda: self.receiver.status().state in states and self._caught_up(), timeout_s)

    def wait_for_whole(self, uid: str) -> None:
        """Wait until a certain scan is complete and all of it has been read."""
        self.wait(lambda: any(end.uid == uid and end.reason == "complete" for end in self.ends()))

    def wait_for_ends(self, count: int = 1) -> list[EndEvent]:
        self.wait(lambda: len(self.ends()) >= count)
        return self.ends()

    def _caught_up(self) -> bool:
        """Whether the reader, which lags behind the receiver, has seen the end that the status reports.

        A scan known only from its recording was never in the ring.
        """
        status = self.receiver.status()
        was_announced = any(event.header.uid == status.uid for event in self.announced())
        over = status.state in ("complete", "incomplete", "aborted")
        return not (over and was_announced) or any(end.uid == status.uid for end in self.ends())

    def ends(self) -> list[EndEvent]:
        return [item for item in list(self.items) if isinstance(item, EndEvent)]

    def arms(self) -> list[ArmEvent]:
        return [item for item in list(self.items) if isinstance(item, ArmEvent)]

    def announced(self) -> list[ArmEvent]:
        """Scans announced by the receiver to its listener; the ring passes them on later."""
        return [event for event in list(self.events) if isinstance(event, ArmEvent)]

    def recordings(self) -> list[RecordingEvent]:
        return [event for event in list(self.events) if isinstance(event, RecordingEvent)]

    def collect(self, reader: Any) -> None:
        for item in reader:
            if isinstance(item, FrameBatch):
                seen = self.frames.setdefault(item.uid, {})
                for number, frame in zip(item.index, item.frames, strict=True):
                    assert int(number) not in seen, "the ring handed a frame over twice"
                    seen[int(number)] = digest(frame)
            else:
                if isinstance(item, ArmEvent):
                    self.frames[item.header.uid] = {}
                self.items.append(item)


@contextmanager
def running(
    folder: Path | None = None,
    *,
    idle_timeout_s: float = 60.0,
    recovery_grace_s: float = 10.0,
    data: str = LOOPBACK,
    protocol: ProtocolSettings | None = None,
) -> Iterator[Running]:
    """A receiver on a free port, stopped at the end."""
    settings = ReceiverSettings(
        data, folder, Patience(idle_timeout_s, recovery_grace_s), protocol=protocol or ProtocolSettings()
    )
    events: list[StreamEvent] = []
    receiver = Receiver(settings, on_event=events.append)
    run = Running(receiver, events=events)
    thread = threading.Thread(target=run.collect, args=(receiver.ring.reader(),), daemon=True)
    thread.start()
    receiver.start()
    try:
        yield run
    finally:
        receiver.stop()
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def connected(address: str) -> Iterator["zmq.Socket[bytes]"]:
    """A bare PUSH socket, for sending arbitrary bytes."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 3000)
    socket.setsockopt(zmq.SNDTIMEO, 5000)
    socket.connect(address)
    try:
        yield socket
    finally:
        socket.close()
        context.term()


def send(socket: "zmq.Socket[bytes]", *messages: Message) -> None:
    """Send messages as the protocol encodes them."""
    for message in messages:
        socket.send_multipart(encode(message))


def stored_recording(folder: Path, header: ScanHeader, frames: Array, missing: slice = slice(0)) -> Path:
    """A recording made as the server makes it; ``missing``: frames that never arrived."""
    keep = np.ones(header.frames, dtype=bool)
    keep[missing] = False
    path = folder / f"{header.uid}.h5"
    with created_scan(path, header) as writer:
        writer.add_frames(np.flatnonzero(keep), frames[keep])
        writer.finish()
    return path
