"""Every forward model on a GPU: patterns/s of the fused kernel, relative to the plain far field and to whole arrays.

    python benchmarks/refine_models_gpu.py --run [--window 64] [--slices 1 4] [--count 4096] [--only WORD] [--no-arrays]

Loss with gradients of object, probe and other refined quantities, by wall-clock time, from arrays on the GPU to the
loss on the host; best of several repeats. Compilation is excluded. Cases are those of ``refine_models.py``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
from refine_models import Case, cases, plain

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.gpu import opened
from ptylive.engine.backend.multislice.problem import HELD, Corrections, MultisliceBackend

REPEATS = 4


def rate(backend: MultisliceBackend, case: Case) -> float:
    """Patterns per second, best of several evaluations."""
    xp: Any = backend.xp
    problem, corrections, probes = case
    planes = xp.zeros((2, *problem.object_shape), np.float32)
    planes[0], planes[1] = 0.9, 0.1
    probe = xp.asarray(np.random.default_rng(1).normal(size=(2, probes, problem.window, problem.window)), np.float32)
    on_device = Corrections(*(None if value is None else xp.asarray(value) for value in vars(corrections).values()))
    best = np.inf
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        float(backend.loss_and_gradient(planes, probe, corrections=on_device).loss)  # waits for the device
        best = min(best, time.perf_counter() - started)
    backend.close()
    return problem.count / best


def measure(given: argparse.Namespace, slices: int) -> None:
    """Rows of the table for one number of slices."""
    import cupy

    base = plain(given.window, slices, given.count)
    yardstick = (replace(base, model=None), HELD, 1)
    reference = rate(opened(yardstick[0]), yardstick)
    print(f"| plain | {slices} | {reference:.0f} | 1 | | |", flush=True)
    for name, case in cases(base):
        if given.only not in name:
            continue
        backend = opened(case[0])
        found = rate(backend, case)
        arrays = ""
        if not given.no_arrays:
            arrays = f"{found / rate(GeneralMultislice(case[0], cupy, 'complex64', 'arrays'), case):.1f}"
        cupy.get_default_memory_pool().free_all_blocks()
        print(f"| {name} | {slices} | {found:.0f} | {reference / found:.2f} | {arrays} | {backend.name} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="measure on the GPU; without it nothing is done")
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-arrays", action="store_true")
    given = parser.parse_args()
    if not given.run:
        parser.error("--run measures on a GPU; there is nothing else")
    import cupy

    card = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    print(time.strftime("%Y-%m-%d %H:%M"), f"{card}, window {given.window}, {given.count} patterns")
    print("| model | slices | patterns/s | plain / this | this / whole arrays | runs on |\n" + "| --- " * 6 + "|")
    for slices in given.slices:
        measure(given, slices)


if __name__ == "__main__":
    main()
