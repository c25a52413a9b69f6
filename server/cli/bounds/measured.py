"""Limits of a machine: memory, caches, multiply-adds, decoding, loopback, disk. What cannot be measured is reported."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema.model import Array

REPEATS = 15
"""Runs of some milliseconds each, of which the quickest counts: on a busy machine, one that was not interrupted."""
MEMORY_BYTES, L1_BYTES, L2_BYTES = 128 << 20, 16 << 10, 192 << 10
"""Sizes of the blocks read: beyond any cache that one core can fill, within L1, and within the L2 of most machines."""
MESSAGE_BYTES, MESSAGES, DISK_BYTES = 1 << 20, 100, 64 << 20
CODED_FRAMES = 64


def threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure() -> tuple[dict[str, float], dict[str, str]]:
    """Return bounds by name (``UNITS``), and why others could not be measured."""
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    for names, part in PARTS.items():
        try:
            found |= part()
        except Exception as error:  # an unusual machine may lack anything
            missing[names] = f"{type(error).__name__}: {error}"
    return found, missing


def seconds(work: Callable[[], Any]) -> float:
    """Return the wall time of the quickest of several runs."""
    best = np.inf
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return max(float(best), 1e-9)


def _at_once(work: Callable[[int], Any], count: int) -> Callable[[], Any]:
    """Return a function that runs ``work`` on several threads at once, each with its number."""

    def run() -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(work, range(count)))

    return run


def _memory() -> dict[str, float]:
    from ptylive.engine.backend.machine_numba import read

    values, copies = np.ones(MEMORY_BYTES // 4, np.float32), np.empty(MEMORY_BYTES // 4, np.float32)
    copies.fill(0)
    read(values[:16], 1)
    found = {}
    for name, count in (("", 1), ("_all_threads", threads())):
        sources, targets = np.array_split(values, count), np.array_split(copies, count)
        reading = seconds(_at_once(partial(_read_part, read, sources), count))
        copying = seconds(_at_once(partial(_copy_part, sources, targets), count))
        found[f"memory_read{name}"] = values.nbytes / reading
        found[f"memory_copy{name}"] = values.nbytes / copying
    return found


def _read_part(read: Callable[[Array, int], float], parts: list[Array], number: int) -> None:
    read(parts[number], 1)


def _copy_part(source: list[Array], target: list[Array], number: int) -> None:
    np.copyto(target[number], source[number])


def _caches() -> dict[str, float]:
    from ptylive.engine.backend.machine_numba import read

    found = {}
    for name, size in (("l1_read", L1_BYTES), ("l2_read", L2_BYTES)):
        values = np.zeros(size // 4, np.float32)
        rounds = (256 << 20) // size
        read(values, 1)
        found[name] = size * rounds / seconds(partial(read, values, rounds))
    return found


def _multiply_adds() -> dict[str, float]:
    from ptylive.engine.backend.machine_numba import CHAINS, lanes, multiply_adds

    rounds, count = 1_000_000, threads()
    multiply_adds(1)
    each = rounds * CHAINS * lanes()
    together = seconds(_at_once(lambda _: multiply_adds(rounds), count))
    return {"fma": each / seconds(lambda: multiply_adds(rounds)), "fma_all_threads": each * count / together}


def _clock() -> dict[str, float]:
    from ptylive.engine.backend.machine_numba import ticks

    ticks(1)
    return {"clock": 2 * 5_000_000 / seconds(lambda: ticks(5_000_000))}


def _decoding() -> dict[str, float]:
    """Measure decoding by the reference library, hdf5plugin, through HDF5 from memory, in decoded bytes."""
    import h5py
    import hdf5plugin

    frames = np.random.default_rng(0).poisson(0.2, (CODED_FRAMES, 256, 256)).astype(np.uint16)
    filters = {"bitshuffle_lz4": hdf5plugin.Bitshuffle(cname="lz4"), "lz4": hdf5plugin.LZ4()}
    found = {}
    for name, way in filters.items():
        with h5py.File("bounds.h5", "w", driver="core", backing_store=False) as file:
            stored = file.create_dataset("data", data=frames, chunks=(1, 256, 256), **way)
            out = np.empty_like(frames)
            found[f"decode_{name}"] = frames.nbytes / seconds(partial(stored.read_direct, out))
            if not np.array_equal(out, frames):
                raise ValueError(f"{name} does not give back what was put in")
    return found


def _loopback() -> dict[str, float]:
    """Measure TCP transfer from one sender thread to one receiver thread, in messages of 1 MiB."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.setsockopt(zmq.RCVTIMEO, 20_000)
        push.setsockopt(zmq.SNDTIMEO, 20_000)
        push.setsockopt(zmq.LINGER, 0)
        push.connect(f"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}")
        message = bytes(MESSAGE_BYTES)

        def run() -> None:
            sending = threading.Thread(target=lambda: [push.send(message, copy=False) for _ in range(MESSAGES)])
            sending.start()
            for _ in range(MESSAGES):
                pull.recv(copy=False)
            sending.join()

        return {"loopback": MESSAGE_BYTES * MESSAGES / seconds(run)}


def _disk() -> dict[str, float]:
    """Measure writing and syncing in the folder where ``bench stream`` keeps its journal."""
    block = np.random.default_rng(0).integers(0, 256, DISK_BYTES, np.uint8)  # incompressible data

    with tempfile.TemporaryDirectory(prefix="ptylive-bench-") as folder:

        def write() -> None:
            with (Path(folder) / "block").open("wb", buffering=0) as file:
                file.write(block.data)
                os.fsync(file.fileno())

        return {"disk_write": DISK_BYTES / seconds(write)}


PARTS: dict[str, Callable[[], dict[str, float]]] = {
    "clock": _clock,
    "memory_read, memory_copy": _memory,
    "l1_read, l2_read": _caches,
    "fma": _multiply_adds,
    "decode_bitshuffle_lz4, decode_lz4": _decoding,
    "loopback": _loopback,
    "disk_write": _disk,
}
UNITS = {
    "clock": ("GHz", 1e9),
    "fma": ("10⁹ multiply-adds/s", 1e9),
    "fma_all_threads": ("10⁹ multiply-adds/s", 1e9),
}
"""Unit of a bound and its size; all other bounds are in GB/s."""
