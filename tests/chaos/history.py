"""Log of a chaos run, one JSON line per event, with times of the monotonic clock, which all processes share."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class History:
    """Appends to a file; several processes and threads may append to the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._lock = threading.Lock()

    def note(self, kind: str, **facts: Any) -> None:
        """Write one line: the kind of event, its time, and its details."""
        line = json.dumps({"t": round(time.monotonic(), 4), "kind": kind, **facts}, default=str) + "\n"
        with self._lock:
            os.write(self._fd, line.encode())


def read(path: Path) -> Iterator[dict[str, Any]]:
    """All entries; a line that a killed writer left unfinished is skipped."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue
