"""Messages to a running refinement process: stop, updates of its scan, end of the scan."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgpack

from ptylive.schema import Calibration
from ptylive.schema.plain_errors import ORPHANED
from ptylive.server.refinement.refine_job import MAX_JOB_BYTES, RefineJob
from ptylive.server.wire.messages import ANY_TEXT

GRACE_S = 1.0
"""Time left, after the server has gone, for a refinement to begin."""


@dataclass(frozen=True)
class Known:
    """What is known of a running scan."""

    calibration: Calibration
    values: Mapping[str, Any]


class Inbox:
    """Messages on a stream, read in a separate thread.

    The end of the stream (the server is gone) means stop: a run that has begun ends at its next pause and is written;
    if there is nothing to keep yet (reading, compiling, trials), or the job says so, the process ends at once. A run
    that is told to stop ends at its next pause, too; compiling has no pause, and the process ends at once.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._unpacker = msgpack.Unpacker(raw=False, unicode_errors=ANY_TEXT, max_buffer_size=MAX_JOB_BYTES)
        self._changed = threading.Condition()
        self.stop = threading.Event()
        self.begun = threading.Event()
        """Set once the run has produced something worth keeping."""
        self.compiling = False
        """Whether the run begins with compiling, or with live maps, and has produced nothing yet."""
        self._ends_at_once = False
        self.follows = False
        """Whether the scan was still running when the job was given."""
        self.known: Known | None = None
        self.whole: RefineJob | None = None
        """The job of the whole scan, once it has ended."""
        self.problem = ""
        """Why the scan cannot be refined."""
        self._trials: list[Mapping[str, Any]] = []
        """Requested trials that have not begun."""
        self.pruned: set[int] = set()
        """Numbers of trials to be ended early."""

    def first_job(self) -> RefineJob:
        """Return the job that comes first, then listen in the background. Raises EOFError if no job comes."""
        job = RefineJob.from_plain(self._next_message())
        self.follows, self._ends_at_once = job.journal is not None, job.ends_at_once
        threading.Thread(target=self._listen, daemon=True, name="inbox").start()
        return job

    @property
    def settled(self) -> bool:
        """Whether waiting is over: the scan is complete, will never be, or a stop was requested."""
        return self.stop.is_set() or self.whole is not None or bool(self.problem)

    def wait(self, timeout_s: float) -> None:
        """Wait until a message comes or the time is over."""
        with self._changed:
            if not self.settled:
                self._changed.wait(timeout_s)

    def next_trial(self) -> Mapping[str, Any] | None:
        """Wait for the next requested trial and return it; None once stopped."""
        with self._changed:
            while not self._trials and not self.stop.is_set():
                self._changed.wait()
            return None if self.stop.is_set() else self._trials.pop(0)

    def _listen(self) -> None:
        connected = True
        while connected:
            try:
                message = self._next_message()
            except EOFError:
                message, connected = {"stop": True}, False
            with self._changed:
                self._take(message)
                self._changed.notify_all()
            if connected and self.stop.is_set() and self.compiling and not self.begun.wait(GRACE_S) and self.compiling:
                os._exit(ORPHANED)
        if self._ends_at_once or not self.begun.wait(GRACE_S):
            os._exit(ORPHANED)  # whatever it is doing: a compiler does not check for a stop

    def _take(self, message: Mapping[str, Any]) -> None:
        if "whole" in message:
            self.whole = RefineJob.from_plain(message["whole"])
        elif "calibration" in message:
            self.known = Known(Calibration.from_plain(message["calibration"]), message["values"])
        elif "try" in message:
            self._trials.append(message["try"])
        elif "prune" in message:
            self.pruned.add(int(message["prune"]))
        elif "problem" in message:
            self.problem = str(message["problem"])
        else:
            self.stop.set()

    def _next_message(self) -> Any:
        """Return the next object of the stream. Raises EOFError at its end."""
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                chunk = os.read(self._stream.fileno(), 2**20)
                if not chunk:
                    raise EOFError from None
                self._unpacker.feed(chunk)
