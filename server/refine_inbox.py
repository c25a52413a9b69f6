"""What a refinement process is told while it works: to stop, news of its scan, that the scan has ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgpack

from ptylive.schema import Calibration
from ptylive.server.refine_job import MAX_JOB_BYTES, RefineJob


@dataclass(frozen=True)
class Known:
    """What is known of a scan that still runs."""

    calibration: Calibration
    values: Mapping[str, Any]


class Inbox:
    """Messages on a stream, read in a thread of their own. The end of the stream (the server is gone) means stop."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._unpacker = msgpack.Unpacker(raw=False, max_buffer_size=MAX_JOB_BYTES)
        self._changed = threading.Condition()
        self.stop = threading.Event()
        self.known: Known | None = None
        self.whole: RefineJob | None = None
        """The job of the whole scan, once it has ended."""
        self.problem = ""
        """Why the scan cannot be refined."""

    def first_job(self) -> RefineJob:
        """The job that every conversation begins with; listening goes on in the background. EOFError without one."""
        job = RefineJob.from_plain(self._next_message())
        threading.Thread(target=self._listen, daemon=True, name="inbox").start()
        return job

    @property
    def settled(self) -> bool:
        """Whether waiting has an end: the scan is there, will never be, or nobody wants it any more."""
        return self.stop.is_set() or self.whole is not None or bool(self.problem)

    def wait(self, timeout_s: float) -> None:
        """Until something comes, or the time is over."""
        with self._changed:
            if not self.settled:
                self._changed.wait(timeout_s)

    def _listen(self) -> None:
        while not self.stop.is_set():
            try:
                message = self._next_message()
            except EOFError:
                message = {"stop": True}
            with self._changed:
                self._take(message)
                self._changed.notify_all()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "whole" in message:
            self.whole = RefineJob.from_plain(message["whole"])
        elif "calibration" in message:
            self.known = Known(Calibration.from_plain(message["calibration"]), message["values"])
        elif "problem" in message:
            self.problem = str(message["problem"])
        else:
            self.stop.set()

    def _next_message(self) -> Any:
        """The next object of the stream; EOFError at its end."""
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                chunk = os.read(self._stream.fileno(), 2**20)
                if not chunk:
                    raise EOFError from None
                self._unpacker.feed(chunk)
