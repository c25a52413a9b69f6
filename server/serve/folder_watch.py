"""``serve --watch DIR``: take up scans that other programs write as files as if a microscope had sent them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from ptylive.schema import PtyliveError
from ptylive.server.serve.send_file import SendSettings, Sent
from ptylive.server.serve.watched_folder import WatchedFile, WatchedFolder

POLL_S = 1.0
FIRST_LOOK_S = 5.0
END_S = 3.0
MOST_SAID = 2**20
MOST_TRIES = 3
"""Number of tries per file, since the failure may be temporary; after that the file is left until it changes."""
Log = Callable[[str, str], None]
"""Function that takes level and text of a line for the log."""


class Sending(Protocol):
    """Sender of files, one after the other."""

    def __call__(self, file: WatchedFile) -> Sent:
        """Send a file; return when it has been sent, or with the reason why it was not."""
        ...

    def close(self) -> None:
        """Abort the transfer in progress."""
        ...


class FolderWatch:
    """A thread that watches a folder and sends each finished file, one after the other."""

    def __init__(
        self, folder: WatchedFolder, send: Sending, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._send, self._log, self._clock = folder, send, log, clock
        self._tries: Counter[str] = Counter()
        self._reported_earlier = False
        self._reported_unseen: set[str] = set()
        self._stop, self._looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder watch", daemon=True)

    def start(self) -> None:
        """Start watching; return when the files already present are known, or after a time limit on a slow folder."""
        self._thread.start()
        self._looked.wait(FIRST_LOOK_S)

    def stop(self) -> None:
        """Stop watching and abort the transfer in progress, which the next start continues."""
        self._stop.set()
        self._send.close()

    def look(self) -> None:
        """Take up finished files one at a time: while one is being sent, others may change."""
        while finished := self._folder.finished(self._clock()):
            file = finished[0]
            sent = self._send(file)
            if self._stop.is_set():  # it may have been cut off
                return
            self._settle(file, sent)
        for why in sorted(self._folder.unseen - self._reported_unseen):
            self._log("warning", f"{self._folder.folder}: not every file is seen: {why}")
        self._reported_unseen = set(self._folder.unseen)
        if (earlier := self._folder.left_alone) and not self._reported_earlier:
            subject = "1 scan was" if earlier == 1 else f"{earlier} scans were"
            self._log("info", f"{subject} in {self._folder.folder} before the start: not loaded")
            self._reported_earlier = True

    def _settle(self, file: WatchedFile, sent: Sent) -> None:
        if not sent.error:
            self._folder.take(file)
            self._log("info", f"{file.name}: {sent.frames} frames loaded")
            return
        if sent.of_file and not file.path.exists():  # perhaps together with its folder, which may come back
            self._folder.forget(file)
            self._log("warning", f"{file.name} is not loaded: it has disappeared")
            return
        self._tries[file.uid] += 1
        if sent.of_file or self._tries[file.uid] >= MOST_TRIES:
            self._folder.refuse(file)
            self._log("warning", f"{file.name} is not loaded: {sent.error}")
        else:
            self._folder.postpone(file, self._clock())

    def _run(self) -> None:
        reported = ""
        while not self._stop.is_set():
            try:
                self.look()
                reported = ""
            except (OSError, PtyliveError) as error:  # folder or list unreachable: try again
                why = error.line() if isinstance(error, PtyliveError) else error.strerror or str(error)
                if why != reported:
                    self._log("warning", f"{self._folder.folder} cannot be watched at the moment: {why}")
                    reported = why
            self._looked.set()
            self._stop.wait(POLL_S)


@dataclass
class FileSender:
    """Sender of files to the server at ``data``, each in a separate process.

    ``control``: address where the server reports which frames are safe; ``recorded``: whether it currently records.
    """

    data: str
    control: str
    recorded: Callable[[], bool]
    keys: Path | None = None
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __call__(self, file: WatchedFile, uid: str = "") -> Sent:
        """Send a file; return once it is safe, or with the reason why not. ``uid``: of the scan, default the file's."""
        settings = SendSettings(
            file=str(file.path),
            data=self.data,
            control=self.control if self.recorded() else None,
            uid=uid or file.uid,
            series=Path(file.name).stem,
            keys=None if self.keys is None else str(self.keys),
        )
        command = [sys.executable, "-m", "ptylive.server.serve.send_file", settings.model_dump_json()]
        with self._lock:
            if self._closed:
                return Sent(error="the server is stopping")
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None  # noqa: S101  (we asked for the pipe)
        with self._process as process:  # its standard input stays open meanwhile: it ends with this process
            output = self._process.stdout.read(MOST_SAID).splitlines()
            status = process.wait()
        try:
            return Sent.model_validate_json(output[-1] if output else "")
        except ValidationError:
            return Sent(error=f"its reader ended with status {status}")

    def close(self) -> None:
        """Abort the transfer in progress; the next start continues it."""
        with self._lock:
            self._closed = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(END_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
