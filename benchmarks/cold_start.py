"""``ptylive demo`` with an empty compile cache: time to the first map, replies meanwhile, repeated compilation.

    python benchmarks/cold_start.py [--rounds 3] [--busy 0]

``--busy N``: next to that many processes that compute. The second start of each round uses the filled cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptylive.schema import PtyliveError
from ptylive.server.wire.client import ControlClient, EventStream

PATIENCE_S = 300.0
BUSY = "while True: sum(range(10**6))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0)
    given = parser.parse_args()
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(given.busy)]
    try:
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    print(json.dumps({"start": kind, "busy": given.busy, **measure(Path(cache))}), flush=True)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(cache: Path) -> dict[str, Any]:
    """Seconds from the command to the first answer, frame, map and results; the slowest answer; what was compiled."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "ptylive", "demo", "--no-browser", "--exit-when-done", "--port", "0"]
    kept, started = Kept(cache), time.monotonic()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as demo:
        output: list[str] = []
        threading.Thread(target=lambda: output.extend(demo.stdout or ()), daemon=True).start()
        times: dict[str, float] = {}
        try:
            follow(address(output, demo), started, times)
        finally:
            demo.wait(PATIENCE_S)
            kept.close()
    return {
        "load": os.getloadavg()[0],
        **{name: round(value, 2) for name, value in times.items()},
        "end_s": round(time.monotonic() - started, 2),
        "compiled": len(kept.written),
        "twice": sorted(path.name for path, times in kept.written.items() if times > 1),
    }


class Kept(threading.Thread):
    """Watches compiled functions appear in the cache; one that is compiled again is written again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder, self._ended = folder, threading.Event()
        self._stamps = self._files()
        self.written: Counter[Path] = Counter()
        self.start()

    def _files(self) -> dict[Path, int]:
        found = {}
        for path in self._folder.rglob("*.nbc"):
            with suppress(OSError):
                found[path] = path.stat().st_mtime_ns
        return found

    def run(self) -> None:
        """Look twice a second until closed, which is faster than anything is compiled."""
        while not self._ended.wait(0.25):
            self._scan_files()

    def _scan_files(self) -> None:
        stamps = self._files()
        self.written.update(path for path, stamp in stamps.items() if self._stamps.get(path) != stamp)
        self._stamps = stamps

    def close(self) -> None:
        """Look once more."""
        self._ended.set()
        self.join()
        self._scan_files()


def address(output: list[str], demo: subprocess.Popen[str]) -> str:
    """Control address of the server, from the demo's output."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up and demo.poll() is None:
        for line in output:
            if found := re.search(r"commands at (\S+)", line):
                return found[1]
        time.sleep(0.01)
    raise SystemExit("the demo did not say where it takes commands:\n" + "".join(output))


def follow(control: str, started: float, times: dict[str, float]) -> None:
    """Request the status repeatedly until the scan has its results, and listen for maps."""
    slowest, give_up = 0.0, time.monotonic() + PATIENCE_S
    with ControlClient(control, timeout_s=60.0) as client, EventStream(control, topics=("maps",)) as events:
        while time.monotonic() < give_up:
            request_time = time.monotonic()
            try:
                status = client.call("status")
            except PtyliveError:
                continue
            now = time.monotonic()
            if "first_answer_s" in times:
                slowest = max(slowest, now - request_time)
                times["slowest_answer_s"] = slowest
            times.setdefault("first_answer_s", now - started)
            if status["frames"]:
                times.setdefault("first_frame_s", now - started)
            if events.next(timeout_s=0.05) is not None:
                times.setdefault("first_map_s", time.monotonic() - started)
            if status["results"]:
                times["results_s"] = now - started
                return


if __name__ == "__main__":
    main()
