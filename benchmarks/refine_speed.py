"""Patterns per CPU second of the refinement's kernel: loss with gradients of object and probe.

    python benchmarks/refine_speed.py [--threads N]

Compilation is excluded. Run it on an idle machine: CPU seconds hide most effects of other processes, but not all.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem

CASES = [
    (64, 1, 1, DataTermKind.AMPLITUDE),
    (64, 1, 1, DataTermKind.POISSON),
    (64, 1, 4, DataTermKind.AMPLITUDE),
    (96, 1, 1, DataTermKind.AMPLITUDE),
    (96, 4, 1, DataTermKind.AMPLITUDE),
    (128, 1, 1, DataTermKind.AMPLITUDE),
    (256, 1, 1, DataTermKind.AMPLITUDE),
]
"""Window, slices, modes, data term."""
REPEATS = 5


def random_problem(window: int, slices: int, kind: DataTermKind, count: int = 0) -> MultisliceProblem:
    """About a third of a second of work for a core, or ``count`` patterns: the speed does not depend on the values."""
    count = count or max(32, 2048 * 64**2 // (slices * window**2))
    rng = np.random.default_rng(0)
    return MultisliceProblem(
        patterns=rng.poisson(3, (count, window, window)).astype(np.uint16).swapaxes(1, 2),
        weights=np.ones((window, window), np.float32),
        corners=rng.integers(0, 40, (count, 2)),
        shifts_px=rng.random((count, 2)) - 0.5,
        object_shape=(slices, window + 40, window + 40),
        propagators=np.ones((slices - 1, window, window), np.complex128),
        data_term=DataTerm(kind, 0.05),
    )


def measure(window: int, slices: int, modes: int, kind: DataTermKind, threads: int) -> tuple[float, float]:
    """Patterns per CPU second and per second of wall-clock time, best of several repeats."""
    problem = random_problem(window, slices, kind)
    backend = open_backend("cpu", problem, threads)
    planes = np.zeros((2, *problem.object_shape), np.float32)
    planes[0] = 1
    probe = np.random.default_rng(1).normal(size=(2, modes, window, window)).astype(np.float32)
    backend.loss_and_gradient(planes, probe)
    best_cpu = best_wall = np.inf
    for _ in range(REPEATS):
        cpu, wall = time.process_time(), time.perf_counter()
        backend.loss_and_gradient(planes, probe)
        best_cpu = min(best_cpu, time.process_time() - cpu)
        best_wall = min(best_wall, time.perf_counter() - wall)
    backend.close()
    return problem.count / best_cpu, problem.count / best_wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    use_persistent_cache()
    print("window  slices  modes  data term   patterns/CPU s   patterns/s")
    for window, slices, modes, kind in CASES:
        per_cpu, per_wall = measure(window, slices, modes, kind, threads)
        print(f"{window:6d}  {slices:6d}  {modes:5d}  {kind.value:9s}  {per_cpu:14.0f}  {per_wall:11.0f}")


if __name__ == "__main__":
    main()
