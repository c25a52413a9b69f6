"""What ``ptylive bench`` measures, on data it makes or brings itself; figures with the machine they were taken on."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

LIVE_SCAN, LIVE_FRAME = (256, 256), 64
LIVE_BATCH = 256
REFRESHES = 3
STREAM_LOOPS, FRAMES_OF_LAST = 4, 4096


def machine() -> dict[str, Any]:
    """The machine, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return {"cpu": name, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}


def live() -> dict[str, Any]:
    """Cost per frame of the reduction and of a refresh of all maps: 256 x 256 scan of 64 x 64 frames, one thread."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.live.engine import LiveEngine
    from ptylive.engine.live.warm_up import warm_up
    from ptylive.schema import Arm, Detector, FrameBatch, Optics, Scan

    with threadpool_limits(limits=1):
        warm_up()
        rows, cols = LIVE_SCAN
        arm = Arm(
            uid="bench",
            series="bench",
            frames=rows * cols,
            scan=Scan(shape=LIVE_SCAN, step_A=(0.5, 0.5), rotation_deg=0.0),
            optics=Optics.model_validate({"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "defocus_A": 50.0}),
            detector=Detector(shape=(LIVE_FRAME,) * 2, pixel_mrad=2.0, transform_given=True),
        )
        frames = _disc_frames(LIVE_BATCH)
        engine = LiveEngine(arm)
        engine.add(FrameBatch("bench", np.arange(LIVE_BATCH), frames))
        started = time.perf_counter()
        for first in range(LIVE_BATCH, arm.frames, LIVE_BATCH):
            engine.add(FrameBatch("bench", np.arange(first, first + LIVE_BATCH), frames))
        adding = time.perf_counter() - started
        engine.refresh()  # filters of the last calibration are made here
        started = time.perf_counter()
        for _ in range(REFRESHES):
            engine.refresh()
        refreshing = (time.perf_counter() - started) / REFRESHES
    reduced = arm.frames - LIVE_BATCH
    return {
        "bench": "live",
        "frames": reduced,
        "seconds": adding,
        "frames_per_s": reduced / adding,
        "us_per_frame": 1e6 * adding / reduced,
        "bins": 0 if engine.store is None else engine.store.reduction.basis.count,
        "refresh_s": refreshing,
        **machine(),
    }


def stream() -> dict[str, Any]:
    """Frames/s of a replay through socket and journal, live maps on, until the last frame of four scans is placed."""
    from ptylive.server.client import ControlClient
    from ptylive.server.commands.demo import DATA_SET, free_addresses, wait_for_results
    from ptylive.server.config import ServerConfig
    from ptylive.server.supervisor import Supervisor
    from ptylive.simulators.data import bundled
    from ptylive.simulators.replay import ReplaySettings, replay

    with tempfile.TemporaryDirectory(prefix="ptylive-bench-") as folder:
        data, control = free_addresses()
        supervisor = Supervisor(ServerConfig(data=data, control=control, dashboard=None, record=folder))
        supervisor.start()
        try:
            with ControlClient(control, timeout_s=30.0) as client:
                replay(bundled(DATA_SET), ReplaySettings(to=supervisor.data_address))  # warms everything up
                wait_for_results(client)
                started = time.perf_counter()
                report = replay(bundled(DATA_SET), ReplaySettings(to=supervisor.data_address, loops=STREAM_LOOPS))
                while (status := client.call("status"))["uid"] != report.uids[-1] or status["frames"] < FRAMES_OF_LAST:
                    time.sleep(0.005)
                received = time.perf_counter() - started
                wait_for_results(client)
                finished = time.perf_counter() - started
        finally:
            supervisor.stop()
    return {
        "bench": "stream",
        "frames": report.frames,
        "seconds": received,
        "frames_per_s": report.frames / received,
        "seconds_to_results": finished,
        "lost": status["lost"],
        **machine(),
    }


def refine() -> dict[str, Any]:
    """Seconds per epoch and patterns/s of the default refinement of a bundled scan, one thread."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.refine import refine as run
    from ptylive.schema.preset import Preset
    from ptylive.server.commands.demo import DATA_SET
    from ptylive.server.offline import read_dataset, reconstruct_file
    from ptylive.simulators.data import bundled
    from ptylive.streamer.storage.source import open_source

    path = bundled(DATA_SET)
    with threadpool_limits(limits=1):
        made = reconstruct_file(path, {}, ("bf",))
        with open_source(path) as source:
            dataset = read_dataset(source, made.calibration)
        run(dataset, Preset(epoch_max=2), threads=1)  # compiles
        result = run(dataset, Preset(), threads=1)
    seconds = float(result.seconds.sum())
    return {
        "bench": "refine",
        "frames": len(dataset.patterns),
        "seconds": seconds,
        "frames_per_s": len(dataset.patterns) * result.evaluations / seconds,
        "epochs": len(result.loss),
        "loss": float(result.loss[-1]),
        "seconds_per_epoch": seconds / len(result.loss),
        "modes": int(result.probe.shape[1]),
        "backend": result.backend,
        **machine(),
    }


def _disc_frames(count: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Noisy bright-field discs of 1000 electrons, (count, 64, 64)."""
    y, x = np.indices((LIVE_FRAME, LIVE_FRAME)) - LIVE_FRAME / 2
    disc = (np.hypot(y, x) < 12.5).astype(float)
    rng = np.random.default_rng(0)
    return rng.poisson(1000 * disc / disc.sum(), (count, LIVE_FRAME, LIVE_FRAME)).astype(np.uint16)
