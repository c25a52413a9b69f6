"""Journals become recordings in a process of their own, one after the other, while the next scan already arrives."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.journal import Journal

_POLL_S = 0.05


@dataclass(frozen=True)
class Job:
    """One journal to convert; ``open_journal`` is closed (synced) first, where it is still being written."""

    uid: str
    journal: Path
    target: Path
    open_journal: Journal | None = None


class Converter:
    """A queue of journals and the thread that sees to them."""

    def __init__(self, on_event: Callable[[RecordingEvent], None]) -> None:
        self._on_event = on_event
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="converter", daemon=True)
        self._thread.start()

    def add(self, job: Job) -> None:
        """Queue a journal."""
        self._jobs.put(job)

    def stop(self, timeout_s: float) -> bool:
        """Finish what is queued; what takes longer is given up (False), its journal stays for the next start."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        finished = not self._thread.is_alive()
        self._give_up.set()
        self._thread.join(2.0)
        return finished

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._give_up.is_set():
                return
            try:
                event = self._convert(job)
            except OSError as error:
                event = RecordingEvent(job.uid, "failed", str(job.target), f"{job.journal}: {error.strerror or error}")
            if event is not None:
                self._on_event(event)

    def _convert(self, job: Job) -> RecordingEvent | None:
        """Run the recorder; None when it was given up. Raises OSError when the journal cannot be synced."""
        if job.open_journal is not None:
            job.open_journal.close()
        command = [sys.executable, "-m", "ptylive.streamer.storage.recorder", str(job.journal), str(job.target)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            while process.poll() is None:
                if self._give_up.is_set():
                    process.kill()
                    return None
                time.sleep(_POLL_S)
            output, errors = process.communicate()
        return _outcome(job, output, errors)


def _outcome(job: Job, output: str, errors: str) -> RecordingEvent:
    """What the recorder's last line says."""
    lines = output.strip().splitlines()
    try:
        result = json.loads(lines[-1]) if lines else {}
    except ValueError:
        result = {}
    if result.get("ok"):
        message = f"{result['placed']} of {result['frames']} frames in {result['seconds']:.1f} s"
        return RecordingEvent(job.uid, "complete", str(job.target), message)
    problem = result.get("error") or (errors.strip().splitlines() or ["the recorder was killed"])[-1]
    return RecordingEvent(job.uid, "failed", str(job.target), f"{problem}; the journal {job.journal} is kept")
