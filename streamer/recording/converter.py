"""Convert journals to recordings, one after the other, in one process next to this one, while scans arrive.

Only paths are queued: a journal is closed when its scan ends, and waits on the disk. Failed conversions are retried.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptylive.schema.plain_errors import ctrl_c_held
from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording.journal import Journal

NOTHING_WRITTEN = "this scan is not recorded: send it again when the folder can be written"
PARTLY_WRITTEN = "what was written so far is recorded when there is room again"
"""Remedies for a journal that could not be written, from its beginning or from some record on."""
RETRY_S = 60.0
_LONGEST_RETRY_S = 960.0
_END_S = 2.0
FRAMES_FIRST_S, _LOOK_S = 2.0, 0.05
"""How long a recording gives way to frames that are not reduced yet, and the interval at which its end is checked."""


@dataclass(frozen=True)
class Job:
    """One journal to convert; its scan is recorded as ``uid``, whatever it was called when the journal began."""

    uid: str
    journal: Path
    target: Path


@dataclass(frozen=True)
class Closing:
    """A journal to be closed, and what becomes of it: converted, kept until there is room for it, or removed."""

    uid: str
    journal: Journal
    then: Literal["convert", "keep", "remove"]


def always(_timeout_s: float) -> bool:
    """Return True: nobody reads frames."""
    return True


@dataclass
class _Failed:
    """A journal whose conversion failed, and the time of the next attempt."""

    job: Job
    wait_s: float
    due: float


class Converter:
    """A queue of journals, the thread that closes them, and the thread that has them converted.

    ``frames_are_read``: whether all received frames have been read; called with a time-out in s before each conversion.
    """

    def __init__(
        self, on_event: Callable[[RecordingEvent], None], frames_are_read: Callable[[float], bool] = always
    ) -> None:
        self._on_event, self._frames_are_read = on_event, frames_are_read
        self._closing: queue.SimpleQueue[Job | Closing | None] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[tuple[Job, float] | None] = queue.SimpleQueue()
        """Each with the time by which it is converted even if frames are still unread."""
        self._failed: dict[Path, _Failed] = {}
        self._give_up, self._ending = threading.Event(), threading.Event()
        self._process = RecorderProcess()
        self._threads: list[threading.Thread] = []

    def add(self, item: Job | Closing) -> None:
        """Queue a journal; if it is still being written, it is closed (synced) first. Starts the threads."""
        if not self._threads:
            for name, work in (("journal-close", self._close_all), ("converter", self._convert_all)):
                thread = threading.Thread(target=work, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
        self._closing.put(item)

    def forget(self, journal: Path) -> None:
        """Stop retrying the conversion of a journal that is being written to again."""
        self._failed.pop(journal, None)

    def stop(self, timeout_s: float) -> bool:
        """Finish the queue; journals that take longer are given up (False) and stay for the next start."""
        self._ending.set()
        self._closing.put(None)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        finished = not any(thread.is_alive() for thread in self._threads)
        self._give_up.set()
        self._process.end(kill=not finished)
        for thread in self._threads:
            thread.join(_END_S)
        return finished

    def _close_all(self) -> None:
        while (item := self._closing.get()) is not None:
            if isinstance(item, Job):
                self._queue(item)
            else:
                self._close(item)
        self._jobs.put(None)

    def _close(self, item: Closing) -> None:
        """Close a journal, which may wait for its disk for ever: those behind it are on the same disk."""
        problem = ""
        try:
            item.journal.close(remove=item.then == "remove")
        except OSError as error:
            problem = error.strerror or str(error)
        path = item.journal.path
        if item.then == "keep" and path is not None:
            self._note_failed(Job(item.uid, path, path.with_suffix(".h5")))  # its whole records, once there is room
        if item.then != "convert":
            return
        if path is None:  # it could not even be created
            self._say(RecordingEvent(item.uid, "failed", "", "; ".join(filter(None, (problem, NOTHING_WRITTEN)))))
        elif problem:
            self._fail(Job(item.uid, path, path.with_suffix(".h5")), f"{path}: {problem}; {PARTLY_WRITTEN}")
        else:
            self._queue(Job(item.uid, path, path.with_suffix(".h5")))

    def _queue(self, job: Job) -> None:
        self._jobs.put((job, time.monotonic() + FRAMES_FIRST_S))

    def _convert_all(self) -> None:
        while not self._give_up.is_set():
            try:
                item = self._jobs.get(timeout=self._next_try_s())
            except queue.Empty:
                self._try_again()
                continue
            if item is None:
                return
            job, due = item
            self._wait_for_reduction(due)
            self._say(self._converted(job))

    def _wait_for_reduction(self, due: float) -> None:
        """Wait until frames are reduced: a recording needs a processor, and its data are safe on the disk."""
        while not self._ending.is_set() and time.monotonic() < due:
            if self._frames_are_read(_LOOK_S):
                return

    def _say(self, event: RecordingEvent) -> None:
        if not self._give_up.is_set():
            self._on_event(event)

    def _converted(self, job: Job) -> RecordingEvent:
        """Convert one journal; note a failure."""
        try:
            result = self._process.record(job.journal, job.target, job.uid)
        except (OSError, RuntimeError) as error:
            result = {"error": f"{job.journal}: {error}"}
        if result.get("ok"):
            self._failed.pop(job.journal, None)
            summary, damage = _summary(result), str(result.get("damage", ""))
            return RecordingEvent(job.uid, "complete", str(job.target), summary, damage and f"{job.target}: {damage}")
        problem = f"{result.get('error')}; the journal {job.journal} is kept and will be retried"
        self._note_failed(job)
        return RecordingEvent(job.uid, "failed", str(job.target), problem)

    def _fail(self, job: Job, problem: str) -> None:
        self._note_failed(job)
        self._say(RecordingEvent(job.uid, "failed", str(job.target), problem))

    def _note_failed(self, job: Job) -> None:
        before = self._failed.get(job.journal)
        wait_s = RETRY_S if before is None else min(2 * before.wait_s, _LONGEST_RETRY_S)
        self._failed[job.journal] = _Failed(job, wait_s, time.monotonic() + wait_s)

    def _next_try_s(self) -> float:
        """How long to wait for a new journal before retrying a failed one; others may fail meanwhile."""
        dues = [failed.due for failed in list(self._failed.values())]
        return max(0.0, min(dues) - time.monotonic()) if dues else RETRY_S

    def _try_again(self) -> None:
        """Convert the failed journals that are due, where there is room; only success is reported."""
        for failed in list(self._failed.values()):
            if failed.due > time.monotonic() or self._give_up.is_set():
                continue
            job = failed.job
            if not job.journal.exists():
                self.forget(job.journal)
            elif not _has_room(job):
                self._note_failed(job)
            elif (event := self._converted(job)).state == "complete":
                self._say(event)


class RecorderProcess:
    """The process that makes recordings: started when first needed, and restarted when it has died.

    It ends with this process, from whose pipe it reads, after finishing its current work.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def record(self, journal: Path, target: Path, uid: str) -> dict[str, Any]:
        """Return the recorder's answer: ``ok`` and a report, or ``error``. Raises OSError when it cannot be started."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the recorder has no pipes")
        last = "the recorder was killed"
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps({"journal": str(journal), "target": str(target), "uid": uid}) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if (answer := _answer(line)) is not None:
                    if answer.get("over"):
                        self._dismiss()  # it exits on its own, maybe after the next request has been sent
                    return answer
                last = line.strip() or last
        self._dismiss()
        return {"error": last}

    def _dismiss(self) -> None:
        """End the process, so that the next job gets a new one."""
        self.end(kill=False)
        self._process = None

    def end(self, *, kill: bool) -> None:
        """Let the process end, at once or when it is done."""
        process = self._process
        if process is None:
            return
        if kill:
            process.kill()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel holds it back: its disk hangs
                process.wait(_END_S)
        if process.stdout is not None and not kill:
            process.stdout.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:
            self.end(kill=False)
            self._process = None
        if self._process is None:
            with ctrl_c_held():
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ptylive.streamer.recording.recorder", "--serve"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
        return self._process


def _answer(line: str) -> dict[str, Any] | None:
    """Parse the recorder's answer; None for any other line, such as output of libraries."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "ok" in answer else None


def _summary(result: dict[str, Any]) -> str:
    """Describe a finished recording in one line."""
    torn = (
        f", without a last record that was cut short ({result['torn_bytes']} bytes)" if result.get("torn_bytes") else ""
    )
    return f"{result['placed']} of {result['frames']} frames in {result['seconds']:.1f} s{torn}"


def _has_room(job: Job) -> bool:
    """Whether the disk has room for a recording as large as its journal."""
    try:
        return shutil.disk_usage(job.target.parent).free > job.journal.stat().st_size
    except OSError:
        return False
