"""``python -m ptylive.streamer.recording.recorder JOURNAL TARGET``: make a recording in a separate process.

Prints one JSON object, ``{"ok": true, …RecordingReport}`` or ``{"ok": false, "error": line}``; exit status 0 or 1. With
``--serve`` it reads ``{"journal": …, "target": …, "uid": …}`` line by line until its standard input ends, and answers
each line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptylive.schema import PtyliveError
from ptylive.schema.plain_errors import say_unraisable_in_a_line, tell_parent
from ptylive.streamer.recording.recording_writer import record

NICENESS = 10
"""Recorded data are already safe in the journal: frames and live maps have priority."""


def main(arguments: list[str]) -> int:
    """Run the recorder; returns the exit status."""
    say_unraisable_in_a_line("ptylive recorder")
    if arguments == ["--serve"]:
        return _serve()
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m ptylive.streamer.recording.recorder JOURNAL TARGET\n")
        return 2
    return 0 if _recorded(Path(arguments[0]), Path(arguments[1])) else 1


def _serve() -> int:
    """Convert the requested journals; an interrupt from the terminal is left to the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    for line in sys.stdin:
        request = json.loads(line)
        _recorded(Path(request["journal"]), Path(request["target"]), request["uid"])
    return 0


def _recorded(journal: Path, target: Path, uid: str = "") -> bool:
    try:
        result: dict[str, Any] = {"ok": True, **asdict(record(journal, target, uid))}
    except PtyliveError as error:
        result = {"ok": False, "error": error.line()}
    except OSError as error:
        needed = journal.stat().st_size if journal.exists() else 0
        problem = os.strerror(error.errno) if error.errno else str(error)  # HDF5's own text has many lines
        _say({"ok": False, "error": f"{target}: {problem} (about {needed / 1e6:.0f} MB are needed)", "over": True})
        os._exit(1)  # HDF5 crashes when it frees a file that it could not write whole (seen: SIGSEGV)
    _say(result)
    return bool(result["ok"])


def _say(result: dict[str, Any]) -> None:
    tell_parent(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
