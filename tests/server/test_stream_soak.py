"""Scan after scan through a real server with a dashboard and two viewers: no frame lost, no memory lost.

Recordings are compared with the source frame by frame and deleted. There is a short form and a long one.
"""

import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import hdf5plugin
import numpy as np
import psutil
import pytest
from running import Server, frame_hashes, server
from viewers import staring

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

HALF = 0.5
SETTLED_SHARE = 0.25
"""Fraction of the time in which caches fill, threads make their arenas, and viewers their documents."""


def tiled(path: Path, times: int) -> Path:
    """A bundled scan repeated side by side, with times² as many frames, one bslz4 chunk each."""
    with h5py.File(bundled("mos2_svac_80kV_focus")) as file:
        data, known = file["data"][()], dict(file["metadata"].attrs)
    large = np.tile(data, (times, times, 1, 1))
    with h5py.File(path, "w") as out:
        chunks = (1, 1, *data.shape[2:])
        out.create_dataset("data", data=large, chunks=chunks, **hdf5plugin.Bitshuffle(cname="lz4"))
        out.create_group("metadata").attrs.update(
            {name: value for name, value in known.items() if name != "scan_shape"}
        )
    return path


@dataclass
class Soak:
    """Recordings verified and deleted as they appear, and the memory of the server's processes meanwhile."""

    running: Server
    wanted: list[str]
    verified: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def verify(self) -> None:
        """Compare and delete every recording whose results have been written."""
        for results in sorted(self.running.folder.glob("*_results.h5")):
            recording = results.with_name(results.name.replace("_results", ""))
            if recording.exists():
                assert frame_hashes(recording) == self.wanted
                recording.unlink()
                results.unlink()
                self.verified += 1

    def watch(self, until: int, seconds: float) -> None:
        """Verify until n recordings are done; memory is recorded twice a second."""
        give_up = time.monotonic() + seconds
        processes = self._processes()
        while self.verified < until:
            assert time.monotonic() < give_up, f"{self.verified} of {until} recordings: {self.running.status()}"
            self.verify()
            used = sum(process.memory_info().rss for process in processes) / 1e6
            self.memory.append((time.monotonic() - self.started, used))
            time.sleep(0.5)

    def _processes(self) -> list[psutil.Process]:
        """Acquisition and dashboard, which live as long as the server; recorders come and go."""
        children = psutil.Process(self.running.process.pid).children()
        return [child for child in children if any("ptylive" in word for word in child.cmdline())]

    def slope(self, parts: int = 20) -> float:
        """MB per minute: the median of the slopes between the medians of parts of the time."""
        time_s, used = np.array(self.memory).T
        settled = time_s > time_s[0] + SETTLED_SHARE * (time_s[-1] - time_s[0])
        pieces = np.array_split(np.stack([time_s[settled], used[settled]]), parts, axis=1)
        middle = np.array([np.median(piece, axis=1) for piece in pieces if piece.size])
        first, last = np.triu_indices(len(middle), 1)
        rise = (middle[last, 1] - middle[first, 1]) / (middle[last, 0] - middle[first, 0])
        return float(np.median(rise)) * 60


def shown(running: Server) -> str:
    """The dashboard's address, once it answers."""
    url = running.status()["dashboard"]
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex((urlsplit(url).hostname, urlsplit(url).port)) == 0:
                return url
        time.sleep(0.1)
    raise AssertionError("the dashboard did not come up")


def soak(folder: Path, times: int, scans: int | None, seconds: float) -> tuple[Soak, float]:
    """Send scans at half of the rate that the server sustains; return the observations, and that rate.

    The sustained rate is that of one scan over the time until its results have been written.
    """
    scan = tiled(folder / "scan.h5", times)
    wanted = frame_hashes(scan)
    with server(folder / "recordings", "--dashboard", "127.0.0.1:0") as running:
        watched = Soak(running, wanted)
        with staring(shown(running), 2):
            replay(scan, ReplaySettings(to=running.data, codec="bslz4"))  # loads and compiles everything needed first
            watched.watch(1, 240)
            began = time.monotonic()
            replay(scan, ReplaySettings(to=running.data, codec="bslz4"))
            watched.watch(2, 240)
            most = len(wanted) / (time.monotonic() - began)
            rate = HALF * most
            loops = scans or max(2, round(seconds * rate / len(wanted)))
            settings = ReplaySettings(to=running.data, codec="bslz4", rate=rate, loops=loops)
            stream = threading.Thread(target=replay, args=(scan, settings), daemon=True)
            stream.start()
            watched.memory.clear()
            watched.watch(2 + loops, 2 * loops * len(wanted) / rate + 240)
            stream.join(60)
        status = running.status()
        assert (status["state"], status["lost"], status["rejected"]) == ("complete", 0, {})
        assert list(running.folder.glob("*")) == []
    return watched, most


@pytest.mark.slow
def test_a_short_soak_loses_no_frame(tmp_path: Path) -> None:
    watched, _ = soak(tmp_path, times=1, scans=2, seconds=0)
    assert watched.verified == 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_minutes_at_half_of_the_maximum(tmp_path: Path) -> None:
    seconds = float(os.environ.get("PTYLIVE_SOAK_S", "600"))
    watched, most = soak(tmp_path, times=2, scans=None, seconds=seconds)
    rose = watched.slope()
    used = [mb for _, mb in watched.memory]
    print(f"{watched.verified} recordings of {len(watched.wanted)} frames at {HALF * most:.0f} of {most:.0f} frames/s,")
    print(f"memory {min(used):.0f} to {max(used):.0f} MB, {rose:+.2f} MB/min")
    assert rose < 1.0
