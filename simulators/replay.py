"""Replay a recorded scan as a microscope, a DECTRIS, Merlin or Timepix3 detector would send it (docs/protocol.md).

With a control address nothing is lost even when the server is killed and restarted: frames that are not yet safe on its
disk are sent again until all are, or until there is no more progress.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptylive.engine.compression import CompressedSource
from ptylive.schema import MetadataError, ScanHeader, ServerGoneError
from ptylive.schema.model import BoolArray
from ptylive.simulators.dectris import DectrisDetector
from ptylive.simulators.faults import Faults
from ptylive.simulators.kept_frames import SafeFrames
from ptylive.simulators.merlin import MerlinDetector, MerlinMode
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.packing import packed
from ptylive.simulators.sender import Sender
from ptylive.simulators.timepix3 import RawTimepix3
from ptylive.simulators.tpx3 import Tpx3Detector
from ptylive.streamer.protocols.inlet import ProtocolName
from ptylive.streamer.sockets.security import client_keys
from ptylive.streamer.source import FileSource, open_source
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage, runs_of
from ptylive.streamer.wire.limits import DEFAULT_DATA, MAX_BATCH

_MAX_BATCH_BYTES = 2**20
_RAW_BATCH, _COMPRESSED_BATCH = 64, 32
_MESSAGES_PER_S = 20
_ASK_INTERVAL_S = 0.2


@dataclass(frozen=True)
class ReplaySettings:
    """How to replay. to: the server's data address, or the one a detector binds; protocol: what is spoken; rate:
    frames/s, or as fast as possible, or as recorded (dwell_time_us); batch: frames in a message, None for a
    sensible number; loops: how often, each time as a new scan; control: address to query for safe frames; codec: of
    native frames (DECTRIS images are always bslz4, Merlin's and Timepix3's never); patterns that the file does not
    store in this form are compressed here; mode: how a Merlin detector packs its pixels.

    timeout_s: how long no server may be there; safe_timeout_s: how long it may be away during a scan, or report no
    further safe frames, when ``control`` is given; stall_timeout_s: how long a server that is there may take nothing;
    uid: identity of the (first) scan, a new one by default; faults: transmission faults (first pass only); keys: key
    folder, for a server that requires keys; values: metadata that override the file's.
    """

    to: str = DEFAULT_DATA
    protocol: ProtocolName = "native"
    rate: Literal["max", "recorded"] | float = "max"
    batch: int | None = None
    loops: int = 1
    control: str | None = None
    codec: Literal["none", "bslz4"] = "none"
    timeout_s: float = 10.0
    safe_timeout_s: float = 30.0
    stall_timeout_s: float = 120.0
    uid: str | None = None
    series: str | None = None
    faults: Faults | None = None
    keys: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    mode: MerlinMode = "processed"


@dataclass(frozen=True)
class ReplayReport:
    """What was sent: frames of all loops, each counted once; resent: frames sent again; uids: one for each loop;
    doubts: what of the file may have been taken in another way than it is meant, or is missing for maps.
    """

    frames: int
    seconds: float
    frames_per_s: float
    resent: int
    uids: tuple[str, ...]
    doubts: tuple[str, ...] = ()


AnySender = Sender | DectrisDetector | MerlinDetector | Tpx3Detector | RawTimepix3
Progress = Callable[[int, int], None]
"""Called with (frames sent so far, frames of all loops)."""
Scan = FileSource | CompressedSource
SeenAs = Callable[[FileSource], Scan]
"""Converts a file before it is sent, for example by compressing it."""


def replay(
    source: Path, settings: ReplaySettings, on_progress: Progress | None = None, seen_as: SeenAs | None = None
) -> ReplayReport:
    """Send a scan file to a server, as it is or as converted by ``seen_as``.

    Raises InputFileError (the file), MetadataError (rate ``recorded`` without dwell_time_us), ServerGoneError (nobody
    takes the data, or, with ``control``, frames do not become safe). Never waits longer than the settings' time-outs.
    """
    started = time.monotonic()
    with open_source(Path(source), settings.values) as file:
        scan_source = file if seen_as is None else seen_as(file)
        scans = [_Replay(scan_source, settings, loop) for loop in range(settings.loops)]
        total = sum(scan.total for scan in scans)
        sent = resent = 0
        with _sender(settings) as sender:
            for scan in scans:
                for count in scan.run(sender):
                    sent += count
                    if on_progress is not None:
                        on_progress(sent, total)
                resent += scan.resent
        seconds = time.monotonic() - started
        uids = tuple(scan.header.uid for scan in scans)
        return ReplayReport(total, seconds, total / seconds, resent, uids, (*file.doubts, *_lacking(file.header)))


def _lacking(header: ScanHeader) -> list[str]:
    """Return what the server needs for maps and a scan does not say, as a sentence."""
    if header.scan.shape is not None or "positions_A" in header.arrays:
        return []
    return [
        f"scan {header.series} has no scan_shape, so a server that is not told it makes no maps: replay it with"
        " --set scan_shape=ROWS,COLUMNS"
    ]


def _sender(settings: ReplaySettings) -> AnySender:
    """Make the sending end. ServerGoneError for an impossible address, MetadataError for contradictory settings."""
    away_s = settings.timeout_s if settings.control is None else max(settings.timeout_s, settings.safe_timeout_s)
    patience = SendPatience(settings.timeout_s, away_s, settings.stall_timeout_s)
    if settings.protocol == "native":
        return Sender(settings.to, patience, client_keys(settings.keys))
    if settings.control is not None or settings.keys is not None:
        raise MetadataError("detector protocols support neither keys nor resending", "leave out --control and --keys")
    if settings.protocol == "merlin":
        return MerlinDetector(settings.to, patience, settings.mode)
    if settings.protocol == "tpx3-raw":
        return RawTimepix3(settings.to, patience)
    if settings.protocol == "tpx3":
        return Tpx3Detector(settings.to, patience)
    return DectrisDetector(settings.to, patience, settings.protocol)


class _Replay:
    """One scan being replayed."""

    def __init__(self, file: Scan, settings: ReplaySettings, loop: int) -> None:
        uid = settings.uid if settings.uid is not None and loop == 0 else str(uuid.uuid4())
        self.header = file.header.renamed(uid, settings.series or file.header.series)
        self.total = int(np.count_nonzero(file.received))
        self.resent = 0
        self._file = file
        self._settings = settings
        own: dict[ProtocolName, Literal["none", "bslz4"]] = {"native": settings.codec, "merlin": "none"}
        own |= {"tpx3": "none", "tpx3-raw": "none"}
        self._codec = own.get(settings.protocol, "bslz4")
        self._fps = _frames_per_s(self.header, settings, file.path)
        self._batch = _batch_size(self.header, settings, self._fps)

    def run(self, sender: AnySender) -> Iterator[int]:
        """Send the scan; yields the number of frames just sent."""
        settings, faults = self._settings, self._settings.faults
        sender.arm(self.header)
        messages: Iterable[FramesMessage] = self._messages(self._file.received)
        if faults is not None:
            messages = faults.apply(messages, sender.pause)
        yield from self._paced(sender, messages)
        if settings.control is not None:
            self._make_safe(sender, settings.control)
        if faults is None or not faults.aborts:
            sender.end(EndMessage(self.header.uid, self.header.frames, "complete"))

    def _paced(self, sender: AnySender, messages: Iterable[FramesMessage]) -> Iterator[int]:
        """Send messages no faster than the rate."""
        started, sent = time.monotonic(), 0
        for message in messages:
            if self._fps is not None:
                sender.pause(started + sent / self._fps - time.monotonic())
            sender.frames(message)
            sent += message.count
            yield message.count

    def _make_safe(self, sender: AnySender, control: str) -> None:
        """Resend frames that the server lacks, until all of them are on its disk. Raises ServerGoneError."""
        wanted = self._file.received
        missing, moved_at, resent_at = self.total, time.monotonic(), time.monotonic()
        with SafeFrames(control, client_keys(self._settings.keys)) as server:
            while True:
                safe = server.ask(self.header)
                unsafe = wanted if safe is None else wanted & ~safe
                now, count = time.monotonic(), int(np.count_nonzero(unsafe))
                if count == 0:
                    return
                if count < missing:
                    missing, moved_at = count, now
                if now - moved_at > self._settings.safe_timeout_s:
                    why = "" if safe is None else server.trouble(self.header)
                    self._give_up(count, why, answered=safe is not None, control=control)
                if safe is not None and now - max(moved_at, resent_at) > 5 * _ASK_INTERVAL_S:
                    for message in self._messages(unsafe):
                        sender.frames(message)
                        self.resent += message.count
                    resent_at = time.monotonic()
                sender.pause(_ASK_INTERVAL_S)

    def _give_up(self, count: int, why: str, *, answered: bool, control: str) -> None:
        waited = f"within {self._settings.safe_timeout_s:g} s"
        if answered:
            text = f"{count} of {self.total} frames did not become safe {waited} (control {control})"
            raise ServerGoneError(f"{text}: {why}" if why else text, "" if why else "is the server's disk full?")
        raise ServerGoneError(f"no server answers at {control} {waited}", "start one with ptylive serve")

    def _messages(self, wanted: BoolArray) -> Iterator[FramesMessage]:
        """Yield the wanted frames in acquisition order, in messages of at most a batch."""
        seq = 0
        for first, last in runs_of(wanted):
            for start in range(first, last, self._batch):
                yield self._message(start, min(last, start + self._batch), seq)
                seq += 1

    def _message(self, start: int, stop: int, seq: int) -> FramesMessage:
        if self._codec == "bslz4" and isinstance(self._file, FileSource) and self._file.stores_bslz4:
            stored = tuple(self._file.stored_pattern(number) for number in range(start, stop))
            return FramesMessage(self.header.uid, start, stop - start, "bslz4", stored, seq)
        frames = self._file.frames(np.arange(start, stop)).astype(FrameLayout.of(self.header).dtype, copy=False)
        parts = packed(frames) if self._codec == "bslz4" else (frames.data.cast("B"),)
        return FramesMessage(self.header.uid, start, stop - start, self._codec, parts, seq)


def _frames_per_s(header: ScanHeader, settings: ReplaySettings, path: Path) -> float | None:
    """Frames per second to maintain; None for as fast as possible."""
    if settings.rate == "max":
        return None
    if settings.rate == "recorded":
        if header.scan.dwell_time_us is None:
            raise MetadataError(f"{path} does not say dwell_time_us", "give the rate in frames per second")
        return 1e6 / header.scan.dwell_time_us
    if not (math.isfinite(settings.rate) and settings.rate > 0):
        raise MetadataError(f"rate {settings.rate} is impossible", "give max, recorded, or frames per second")
    return settings.rate


def _batch_size(header: ScanHeader, settings: ReplaySettings, fps: float | None) -> int:
    """Frames in a message: about 1 MB, and several messages a second when the rate is low."""
    if settings.batch is not None:
        if not 1 <= settings.batch <= MAX_BATCH:
            raise MetadataError(f"batch of {settings.batch} frames is impossible", f"give 1 to {MAX_BATCH}")
        return settings.batch
    if settings.codec == "bslz4" or settings.protocol != "native":
        batch = _COMPRESSED_BATCH
    else:
        batch = max(1, min(_RAW_BATCH, _MAX_BATCH_BYTES // FrameLayout.of(header).nbytes))
    return batch if fps is None else max(1, min(batch, int(fps / _MESSAGES_PER_S)))
