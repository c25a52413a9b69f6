"""Seconds from a changed value to the maps made with it, on a running server.

    python benchmarks/recompute.py FILE.h5 [--side 256] [--changes 3] [--watch wdd_phase ...]

The patterns of a file are repeated over a square scan and replayed; when its results are there, `configure` is sent
with other defocus values. ``--watch``: maps that a viewer shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from refine_during_scan import wait

from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.wire.client import ControlClient, EventStream
from ptylive.simulators.replay import ReplaySettings, replay

FOLLOWED = ("obf", "tcbf", "wdd_phase")
STEP_A = 20.0
PATIENCE_S = 30.0


def repeated(source: Path, target: Path, side: int) -> None:
    """Write a scan of side x side points that repeats the field of a file."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        old.copy("metadata", new)
        new["metadata"].attrs["scan_shape"] = [side, side]
        field = old["data"][...]
        times = [-(-side // n) for n in field.shape[:2]]
        new["data"] = np.tile(field, (*times, 1, 1))[:side, :side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--changes", type=int, default=3)
    parser.add_argument("--watch", nargs="*")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.h5"
        repeated(given.file, scan, given.side)
        data, control = free_addresses()
        command = [sys.executable, "-m", "ptylive.server.cli.main", "serve", "--headless", "--record", folder]
        server = subprocess.Popen([*command, "--data", data, "--control", control])
        try:
            wait(control, lambda status: True)
            replay(scan, ReplaySettings(to=data))
            wait(control, lambda s: bool(s["results"]) and s["state"] == "complete")
            for change in range(given.changes):
                print(json.dumps({"load": os.getloadavg()[0], **followed(control, (change + 1) * STEP_A, given.watch)}))
        finally:
            server.terminate()
            server.wait(30)


def followed(control: str, defocus_A: float, watch: list[str] | None) -> dict[str, float]:
    """Seconds until each map made with this value arrived; `fitted`: until everything was fitted again."""
    with ControlClient(control, timeout_s=30.0) as client, EventStream(control, topics=("maps",)) as events:
        while events.next(timeout_s=0.5) is not None:
            pass
        if watch is not None:
            client.call("watch", viewer="benchmark", maps=watch)
        began, arrived = time.monotonic(), {}
        client.call("configure", values={"C10": -defocus_A})
        while time.monotonic() < began + PATIENCE_S:
            event = events.next(timeout_s=3.0)
            if event is None:
                break
            name, seconds = event[1]["name"], round(time.monotonic() - began, 2)
            if name in FOLLOWED:
                arrived.setdefault(name, seconds)
                arrived["fitted"] = seconds
    return arrived


if __name__ == "__main__":
    main()
