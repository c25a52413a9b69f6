"""Time from the last frame to a refined object, when the refinement begins with the first rows.

    python benchmarks/refine_during_scan.py FILE.h5 [--rate 200] [--after] [--streams RATE]

Replays a recording to a separate server. ``--after``: refine after the scan instead, for comparison. ``--streams``: a
second test, frames/s of a stream of small patterns that arrives during a long refinement, to see whether any are lost.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ptylive.schema import ServerGoneError
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.wire.client import ControlClient
from ptylive.simulators.replay import ReplaySettings, replay

ENDED = ("done", "stopped", "failed")
PATIENCE_S = 200.0
STREAM_S = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--streams", type=float)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, control = free_addresses()
        option = "false" if given.after or given.streams else "true"
        command = [sys.executable, "-m", "ptylive.server.cli.main", "serve", "--headless", "--record", folder]
        command += ["--data", data, "--control", control, "--metrics", "127.0.0.1:0"]
        command += ["--set", f"refine_during_scan={option}"]
        server = subprocess.Popen(command)
        try:
            wait(control, lambda status: True)
            found = streams(given, data, control) if given.streams else refined(given, data, control)
        finally:
            server.terminate()
            server.wait(30)
    print(json.dumps({"load": os.getloadavg()[0], **found}))


def refined(given: argparse.Namespace, data: str, control: str) -> dict[str, Any]:
    """Seconds from the last frame to the maps and to the refined object."""
    replay(given.file, ReplaySettings(to=data, rate=given.rate))
    ended = time.monotonic()
    status = wait(control, lambda s: bool(s["results"]) and s["state"] == "complete")
    maps = time.monotonic() - ended
    if given.after:
        with ControlClient(control, timeout_s=10.0) as client:
            client.call("refine")
    status = wait(control, lambda s: s["refinement"]["state"] in ENDED)
    seconds = time.monotonic() - ended
    return {"maps_s": round(maps, 2), "object_s": round(seconds, 2), "refinement": status["refinement"]["message"]}


def streams(given: argparse.Namespace, data: str, control: str) -> dict[str, Any]:
    """Frames lost when a refinement runs during a stream."""
    replay(given.file, ReplaySettings(to=data))
    status = wait(control, lambda s: bool(s["results"]) and s["state"] == "complete")
    with ControlClient(control, timeout_s=10.0) as client:
        client.call("refine", preset={"sweeps": 1000, "epoch_max": 1000})
    wait(control, lambda s: s["refinement"]["epoch"] >= 1)
    before = wait(control, lambda s: True)["refinement"]["epoch"]
    began = time.monotonic()
    loops = math.ceil(STREAM_S * given.streams / status["expected"])
    replay(given.file, ReplaySettings(to=data, rate=given.streams, loops=loops))
    seconds = time.monotonic() - began
    status = wait(control, lambda s: s["state"] not in ("scanning", "armed"))
    counted = totals(status["metrics"])
    epochs = status["refinement"]["epoch"] - before
    with ControlClient(control, timeout_s=10.0) as client:
        client.call("refine_stop")
    sent = loops * status["expected"]
    return {"frames_per_s": round(sent / seconds), "sent": sent, "epochs_meanwhile": epochs, **counted}


def totals(url: str) -> dict[str, int]:
    """Totals of the server over all scans, including the one before the stream."""
    with urlopen(url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    values = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: int(float(values[f"ptylive_frames_{name}_total"])) for name in ("placed", "lost", "late")}


def wait(control: str, condition: Any) -> dict[str, Any]:
    """The first status that fulfils a condition."""
    give_up = time.monotonic() + PATIENCE_S
    status: dict[str, Any] = {}
    while time.monotonic() < give_up:
        try:
            with ControlClient(control, timeout_s=0.5) as client:
                status = client.call("status")
            if condition(status):
                return status
        except ServerGoneError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"not within {PATIENCE_S} s: {status}")


if __name__ == "__main__":
    main()
