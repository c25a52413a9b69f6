"""Events that the streamer reports to the rest of the program: scans starting and ending, recordings, its own state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ptylive.schema import FrameBatch, ScanHeader

EndReason = Literal["complete", "incomplete", "aborted"]
"""incomplete: the sender reports having sent everything, yet frames are missing, lost on the way or refused."""
StreamState = Literal["waiting", "armed", "scanning", "finishing", "complete", "incomplete", "aborted", "failed"]
RecordingState = Literal["off", "waiting", "writing", "converting", "complete", "failed"]
"""waiting: the recording folder does not answer, and frames wait for it in memory."""


@dataclass(frozen=True)
class ScanSummary:
    """Counts of one scan. expected: frames announced; placed: acquisition numbers that arrived; refused: frames or
    messages of this scan that were refused; the other fields count frames.
    """

    expected: int
    placed: int
    lost: int
    late: int
    duplicates: int
    seconds: float
    refused: int = 0


@dataclass(frozen=True)
class ArmEvent:
    """A scan starts. ``resumed``: it had started before, and its stored frames follow at once; ``beside``: another scan
    is being received and continues to be shown.
    """

    header: ScanHeader
    resumed: bool = False
    beside: bool = False


@dataclass(frozen=True)
class EndEvent:
    """A scan is over: no batch of this uid follows, unless it is armed again."""

    uid: str
    reason: EndReason
    summary: ScanSummary


@dataclass(frozen=True)
class RecordingEvent:
    """The recording of a scan changed its state. ``path`` is the HDF5 file, which exists once the state is complete;
    ``warning`` is something a person should know even so.
    """

    uid: str
    state: RecordingState
    path: str
    message: str = ""
    warning: str = ""


@dataclass(frozen=True)
class LogEvent:
    """A line for the log."""

    level: Literal["info", "warning", "error"]
    text: str


StreamEvent = ArmEvent | EndEvent | RecordingEvent | LogEvent
RingItem = ArmEvent | FrameBatch | EndEvent
"""What readers of the ring see, in this order: a scan armed, its batches, the scan ended."""


@dataclass(frozen=True)
class StreamStatus:
    """State of the stream, as ``ptylive status`` shows it (docs/protocol.md).

    received: frames that arrived, duplicates included; frames: frames that were placed; lost: frames announced or
    passed over that are not there; refused: frames or messages of this scan that were refused; late: frames placed
    after a higher-numbered one; unchecked: duplicates in another coding, which could not be compared; rejected:
    messages or patterns refused since the start, by reason; frames_per_s: None where unknown; silent_s: how long a scan
    in progress has been without new frames, None while that is ordinary for it; lag_s: age of the oldest item that the
    slowest reader has not taken; why_closed: of a scan without an end message that lacks frames; recovering: what an
    earlier run received is still being read; detector_missing: what to say while a detector to connect to is
    not there; recording: the HDF5 file of this scan.
    """

    state: StreamState = "waiting"
    series: str = ""
    uid: str = ""
    expected: int = 0
    received: int = 0
    frames: int = 0
    lost: int = 0
    refused: int = 0
    late: int = 0
    duplicates: int = 0
    unchecked: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    frames_per_s: float | None = 0.0
    silent_s: float | None = None
    lag_s: float = 0.0
    ring_fill: float = 0.0
    why_closed: str = ""
    recovering: bool = False
    detector_missing: str = ""
    recording: str = ""
    recording_state: RecordingState = "off"
    recording_error: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for a message or JSON."""
        return {**asdict(self), "rejected": dict(self.rejected)}


class Announcer:
    """Hands events to a listener whose faults must not stop the stream."""

    def __init__(self, on_event: Callable[[StreamEvent], None]) -> None:
        self._on_event = on_event

    def emit(self, event: StreamEvent) -> None:
        """Pass an event to the listener; exceptions it raises go to the program's log and no further."""
        try:
            self._on_event(event)
        except Exception:
            logging.getLogger(__name__).exception("a listener failed on %s", type(event).__name__)

    def log(self, level: Literal["info", "warning", "error"], text: str) -> None:
        """Emit a line for the log."""
        self.emit(LogEvent(level, text))
