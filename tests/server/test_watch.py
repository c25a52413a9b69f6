"""A detector that only writes files: finished files become scans, broken ones a reason, also after a restart."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from odd_files import fill_with_odd_things, put_loop
from replay_tools import native
from running import Server, frame_hashes, server

from ptylive.server.wire.client import EventStream

WATCH = ("--set", "server.watch_settle_s=0.5", "--watch")
PATIENCE_S = 480.0  # 22 files on a busy machine


@contextmanager
def heard(running: Server) -> Iterator[list[str]]:
    """Log lines of the server meanwhile."""
    lines: list[str] = []
    stop = threading.Event()
    with EventStream(running.control, topics=("log",), queue=1000) as events:

        def listen() -> None:
            while not stop.is_set():
                if (event := events.next(0.1)) is not None:
                    lines.append(event[1]["message"])

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield lines
        finally:
            stop.set()
            thread.join()


def until(what, found) -> None:
    """Wait until ``what()`` is true; ``found()`` describes the state if it never is."""
    give_up = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < give_up, found()
        time.sleep(0.1)


def scans_of(running: Server) -> list[str]:
    """Scans of the recordings that have been read."""
    return sorted(scan["series"] for scan in running.call("history", limit=100)["scans"] if "series" in scan)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 17])
def test_good_files_become_scans_and_broken_ones_reasons(tmp_path: Path, count: int) -> None:
    seen, names = tmp_path / "seen", [f"scan{n:02}" for n in range(count)]
    (seen / "today").mkdir(parents=True)
    native(seen / "before.h5")
    with server(tmp_path / "scans", *WATCH, str(seen)) as running, heard(running) as lines:
        for name in names:
            native(seen / "today" / f"{name}.h5")
        (seen / "text.h5").write_text("this is no scan")
        broken = ["text.h5"]
        if count > 1:
            put_loop(seen)
            fill_with_odd_things(seen / "today")  # three of these are files
            broken += ["loop.h5", "today/empty.h5", "today/sparse.h5", "today/text.h5"]
        reasons = {f"{name} is not loaded" for name in broken}
        until(lambda: reasons <= {line.partition(":")[0] for line in lines}, lambda: lines)
        until(lambda: len(scans_of(running)) >= count, lambda: lines)
        assert scans_of(running) == names
        recorded = running.call("history")["scans"][-1]
        sent = frame_hashes(seen / "today" / f"{recorded['series']}.h5")
        assert frame_hashes(tmp_path / "scans" / recorded["recording"]) == sent
    native(seen / "later.h5")
    with server(tmp_path / "scans", *WATCH, str(seen)) as running:
        until(lambda: len(scans_of(running)) > count, lambda: scans_of(running))
        assert scans_of(running) == sorted(["later", *names])
