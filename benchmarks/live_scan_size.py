"""Cost of the live engine against scan size: per frame, per refresh, and in memory; 45 + 1 coefficients.

    python benchmarks/live_scan_size.py [--sizes 128 256 512 1024] [--pool 2] [--plot docs/pictures/live-scan-size.png]
    python benchmarks/live_scan_size.py --sizes 2048 --pool 2 --shown-only

Frames are synthetic coefficients; the cost does not depend on their values. A frame's cost is the CPU time of the
thread that adds it, so that other jobs do not count: the median over stretches of the scan, and separately that of the
first frames, for which the system must provide the store's memory. Refreshes are the best of several, in wall time and
in CPU time of the whole pool; the plot shows CPU time, and requires pillow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.update({name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")})

import numpy as np

if TYPE_CHECKING:
    from ptylive.engine.live.engine import LiveEngine
    from ptylive.schema.model import FloatArray

BATCH = 1024
SHOWN = ("obf", "idpc")
REPEATS = 5
STRETCH = 16384
"""Number of frames timed together."""
PASSES = 3
"""Number of times that every frame is sent, once its memory has been written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--pool", type=int, default=1)
    parser.add_argument("--shown-only", action="store_true", help="leave out the refresh of all maps, and its memory")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shown_only and options.plot:
        parser.error("--plot draws the refresh of all maps, which --shown-only leaves out")
    if options.one:
        print(json.dumps(measure(options.one, options.pool, options.shown_only)))
        return
    rows = []
    for size in options.sizes:
        command = [sys.executable, __file__, "--one", str(size), "--pool", str(options.pool)]
        command += ["--shown-only"] if options.shown_only else []
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(completed.stdout.strip().splitlines()[-1]))
        print(json.dumps(rows[-1]))
    if options.plot:
        plot(rows, options.plot)


def measure(size: int, pool: int, shown_only: bool = False) -> dict[str, float]:
    """Costs of one size, in a process of its own."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
    from ptylive.engine.live.engine import LiveEngine
    from ptylive.engine.live.warm_up import warm_up
    from ptylive.server.cli import live_benchmark

    warm_up()
    header, vectors = live_benchmark.compressed(
        live_benchmark.scan_header((size, size)), live_benchmark.disc_frames(BATCH)
    )
    engine = LiveEngine(header, pool=ThreadPool(pool))
    engine.want(SHOWN)
    count = size * size
    add(engine, vectors, 0, BATCH)
    fresh = per_frame(engine, vectors, count)
    known = [cost for _ in range(PASSES) for cost in per_frame(engine, vectors, count)]
    with_filters = best(engine.refresh, 1)

    def tenth() -> None:
        engine.store.frames[: count // 10] += 1  # as if their frames had arrived again
        engine.refresh()

    tenth()
    shown = best(tenth, REPEATS)
    costs = {
        "size": size,
        "pool": pool,
        "us_per_frame": 1e6 * float(np.median(known)),
        "us_per_frame_quickest": 1e6 * min(known),
        "us_per_frame_first_time": 1e6 * float(np.median(fresh)),
        "shown_s": shown[0],
        "shown_cpu_s": shown[1],
        "shown_with_filters_s": with_filters[0],
        **memory(engine),
    }
    if shown_only:
        return costs
    engine.want(None)
    engine.refresh()
    all_maps = best(tenth, REPEATS)
    return {**costs, "all_s": all_maps[0], "all_cpu_s": all_maps[1], **memory(engine)}


def memory(engine: LiveEngine) -> dict[str, float]:
    """Current and peak memory."""
    return {
        "store_MiB": engine.store.bytes / 2**20,
        "transforms_MiB": engine.evaluation.rows.bytes / 2**20,
        "filters_MiB": sum(f.linear_map.weights.nbytes for f in engine.filters.ready.values()) / 2**20,
        "peak_MiB": peak_MiB(),
    }


def add(engine: LiveEngine, vectors: FloatArray, first: int, last: int) -> None:
    """Send frames as batches."""
    from ptylive.schema import FrameBatch

    for start in range(first, last, BATCH):
        index = np.arange(start, min(start + BATCH, last))
        engine.add(FrameBatch("bench", index, vectors[: len(index)]))


def per_frame(engine: LiveEngine, vectors: FloatArray, count: int) -> list[float]:
    """CPU seconds per frame, for every stretch of a scan."""
    costs = []
    for first in range(0, count, STRETCH):
        last = min(first + STRETCH, count)
        started = time.process_time()
        add(engine, vectors, first, last)
        costs.append((time.process_time() - started) / (last - first))
    return costs


def best(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of wall and CPU time, the minimum of several runs each."""
    wall, processor = np.inf, np.inf
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        work()
        wall, processor = min(wall, time.perf_counter() - started), min(processor, time.process_time() - used)
    return wall, processor


def peak_MiB() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plot(rows: list[dict[str, float]], target: Path) -> None:
    """Microseconds per frame, and per scan point for a refresh, against the size of the scan."""
    from PIL import Image, ImageDraw, ImageFont

    width, height, left, bottom, top = 900, 480, 90, 70, 50
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    curves = {
        "frame into the store": ((31, 119, 180), [r["us_per_frame"] for r in rows]),
        "refresh of shown maps, per point": (
            (214, 39, 40),
            [1e6 * r["shown_cpu_s"] / r["size"] ** 2 for r in rows],
        ),
        "refresh of all maps, per point": ((44, 120, 60), [1e6 * r["all_cpu_s"] / r["size"] ** 2 for r in rows]),
    }
    values = np.concatenate([c[1] for c in curves.values()])
    low, high = np.floor(np.log10(values[values > 0].min())), np.ceil(np.log10(values.max()))

    def x_of(size: float) -> float:
        first, last = np.log2(rows[0]["size"]), np.log2(rows[-1]["size"])
        return left + (width - left - 70) * (np.log2(size) - first) / max(last - first, 1)

    def y_of(value: float) -> float:
        return height - bottom - (height - bottom - top) * (np.log10(max(value, 10**low)) - low) / (high - low)

    for exponent in np.arange(low, high + 1):
        y = y_of(10**exponent)
        draw.line([(left, y), (width - 70, y)], fill=(220, 220, 220))
        draw.text((left - 10, y), f"{10**exponent:g}", fill="black", font=font, anchor="rm")
    for row in rows:
        draw.text(
            (x_of(row["size"]), height - bottom + 10),
            f"{row['size']} x {row['size']}",
            fill="black",
            font=font,
            anchor="mt",
        )
    for k, (name, (colour, curve)) in enumerate(curves.items()):
        points = [(x_of(r["size"]), y_of(v)) for r, v in zip(rows, curve, strict=True)]
        draw.line(points, fill=colour, width=3)
        for x, y in points:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
        draw.text((left + 10 + 290 * k, 14), name, fill=colour, font=font)
    draw.text((width / 2, height - 14), "scan points", fill="black", font=font, anchor="mb")
    draw.text((8, top - 12), "us", fill="black", font=font)
    image.save(target, optimize=True)


if __name__ == "__main__":
    main()
