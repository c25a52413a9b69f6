"""A recording folder full of files with one flipped bit each: the server keeps answering, whatever it reads there.

PTYLIVE_FLIPS_SEED determines the bits.
"""

import os
import random
import threading
import time

import numpy as np
import pytest
from flipped_files import crowd, flipped, journal, preset, recording, results, saved_checkpoint
from running import server

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, CommandError, LiveMap
from ptylive.server.wire.client import ControlClient

FILES = 200
ASK_S, WANTED_S = 0.1, 1.0
SEED = os.environ.get("PTYLIVE_FLIPS_SEED", "12")


def put_flipped_files(folder, originals, chance, numbers):
    """One file per number: recordings, results next to good recordings, journals, checkpoints, presets in turn."""
    for number in numbers:
        good_recording = originals[recording]
        kind = list(originals)[number % len(originals)]
        damaged, _ = flipped(originals[kind], chance)
        name = {
            recording: f"f{number}.h5",
            results: f"f{number}_results.h5",
            journal: f"f{number}.journal",
            saved_checkpoint: f".f{number}_run1.checkpoint",
            preset: f"f{number}.toml",
        }[kind]
        if kind is results:
            (folder / f"f{number}.h5").write_bytes(good_recording)
        (folder / name).write_bytes(damaged)


class Asking(threading.Thread):
    """Requests the status every tenth of a second; ``slowest``: longest wait for an answer, s."""

    def __init__(self, control):
        super().__init__(daemon=True)
        self.control, self.over = control, threading.Event()
        self.slowest, self.answers = 0.0, 0

    def run(self):
        with ControlClient(self.control, timeout_s=60.0) as client:
            while not self.over.wait(ASK_S):
                began = time.monotonic()
                client.call("status")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.answers += 1


def look_at_everything(running, asking):
    """What a user does with past scans: list them all, open each, look at its refinement."""
    opened = refused = 0
    scans, limit = [], 100
    with ControlClient(running.control, timeout_s=120.0) as client:
        for offset in range(0, 2 * FILES, limit):
            while True:
                page = client.call("history", limit=limit, offset=offset)["scans"]
                if not any("being read" in str(scan.get("problem")) for scan in page):
                    break
            scans += page
        for scan in scans:
            try:
                client.call("open", recording=scan["recording"])
                client.call("runs", pictures=["run1"])
                opened += 1
            except CommandError as error:
                assert "internal error" not in str(error)
                refused += 1
            assert asking.is_alive()
    return opened, refused


@pytest.mark.slow
def test_two_hundred_flipped_files(tmp_path):
    print(f"PTYLIVE_FLIPS_SEED={SEED}")
    chance = random.Random(SEED)
    workshop, folder = tmp_path / "workshop", tmp_path / "recordings"
    workshop.mkdir()
    folder.mkdir()
    kinds = (recording, results, journal, saved_checkpoint, preset)
    made = {kind: kind(workshop) for kind in kinds}
    seen = LiveMap("obf", np.ones((4, 4), np.float32), "rad", (1.0, 1.0), 16, "obf")
    write_maps(made[results], [seen], np.ones((4, 4), bool), Calibration(), {})  # with maps, like a server's own
    originals = {kind: path.read_bytes() for kind, path in made.items()}
    put_flipped_files(folder, originals, chance, range(FILES // 2))
    with server(folder) as running:
        asking = Asking(running.control)
        asking.start()
        opened = refused = 0
        for first in (FILES // 2, 0, 0):  # the other half, then all of them again
            put_flipped_files(folder, originals, chance, range(first, FILES))
            more = look_at_everything(running, asking)
            opened, refused = opened + more[0], refused + more[1]
        asking.over.set()
        asking.join(60)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    said = f"slowest of {asking.answers} answers: {asking.slowest:.2f} s at a load of {load}"
    said += f"; {opened} opened, {refused} refused"
    print(said)
    assert opened + refused >= 3 * FILES * 2 // 5
    assert opened > 0
    assert asking.answers > 0
    assert asking.slowest < WANTED_S * crowd(), said
