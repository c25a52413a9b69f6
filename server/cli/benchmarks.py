"""Benchmarks of ``ptylive bench``, on generated or bundled data; figures come with the machine they were taken on."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

STREAM_LOOPS, FRAMES_OF_LAST = 4, 4096


def machine() -> dict[str, Any]:
    """Return a description of the machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return {"cpu": name, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}


def live(backend: str = "auto") -> dict[str, Any]:
    """Measure the reduction per frame, a refresh of all maps and new filters: 256 x 256 scan, one thread."""
    from ptylive.server.cli.live_benchmark import measure

    return {"bench": "live", **measure(backend), **machine()}


def stream() -> dict[str, Any]:
    """Measure frames/s of a replay through socket and journal with live maps, until four scans are placed."""
    from ptylive.server.cli.commands.demo import DATA_SET, free_addresses, wait_for_results
    from ptylive.server.process.config import ServerConfig
    from ptylive.server.serve.supervisor import Supervisor
    from ptylive.server.wire.client import ControlClient
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
    """Measure seconds per epoch and patterns/s of the default refinement of a bundled scan, on one thread."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.application.extensions import Preset
    from ptylive.application.offline import MapRequest, read_dataset, reconstruct_file
    from ptylive.engine.refine import refine as run
    from ptylive.server.cli.commands.demo import DATA_SET
    from ptylive.simulators.data import bundled
    from ptylive.streamer.source import open_source

    path = bundled(DATA_SET)
    with threadpool_limits(limits=1):
        mapped = reconstruct_file(path, {}, ("bf",), MapRequest(backend="cpu"))
        with open_source(path) as source:
            dataset = read_dataset(source, mapped.calibration)
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
        "window": int(result.probe.shape[-1]),
        "slices": int(result.object.shape[-3]),
        "backend": result.backend,
        **machine(),
    }
