"""The fused GPU kernel: counted costs of a pattern and, with a GPU, measured rates.

    python benchmarks/refine_gpu.py          the counts, for any machine
    python benchmarks/refine_gpu.py --run    also patterns/s of the fused kernel and of whole arrays with cuFFT

Costs are of one pattern, loss with gradients of object and probe. Fractions of the bound refer to the card's own
figures.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from refine_speed import random_problem

from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.problem import DataTermKind, MultisliceBackend

CASES = [
    *((32, 1, 1), (48, 1, 1), (64, 1, 1), (64, 1, 4), (64, 4, 1), (96, 1, 1), (96, 4, 1), (128, 1, 1), (128, 1, 4)),
    *((128, 8, 1), (144, 8, 1), (192, 1, 1), (256, 1, 1), (256, 1, 4), (256, 8, 1), (384, 1, 1), (512, 1, 1)),
]
"""Window, slices, probe modes."""
COMPLEX_BYTES, PLANE_BYTES, COUNT_BYTES = 8, 4, 2
FLOPS_A_PRODUCT = 6
FLOPS_A_PIXEL = 20
"""Approximate operations of data term and bookkeeping per detector pixel."""
REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of one pattern: floating-point operations, and bytes."""

    operations: float
    shared: float
    """Through shared memory."""
    cached: float
    """To and from the caches and the card's memory."""
    memory: float
    """Those of the cached bytes that no cache holds: waves kept for the backward pass, the pattern."""


def fused_cost(plan: Plan, slices: int, modes: int) -> Cost:
    """Count the passes of ``kernel.cu``."""
    pixels = plan.window**2
    transforms = 2 * (2 * slices)  # there and back: into real space, twice for each propagation, and out again
    butterflies = 5 * pixels * log2(plan.window**2)
    products = 2 * (2 + slices + (slices - 1)) + slices  # ramps, slices, propagators both ways; conj(wave) g
    between = 2 * (len(plan.radices) - 1)
    passes = 2 * slices * (2 * between + 2) + 1
    waves = 2 * slices * pixels * COMPLEX_BYTES
    several = 3 * pixels * COMPLEX_BYTES if modes > 1 else 0
    read_again = (2 * slices + 2 * (slices - 1) + 2) * pixels * COMPLEX_BYTES  # object, propagators, probe
    added = (slices + 1) * pixels * 2 * PLANE_BYTES
    pattern = pixels * COUNT_BYTES
    strips = 8 * slices * plan.kept_pixels * COMPLEX_BYTES  # the window in and out of shared memory
    return Cost(
        modes * (transforms * butterflies + products * FLOPS_A_PRODUCT * pixels) + FLOPS_A_PIXEL * pixels,
        modes * passes * 2 * pixels * COMPLEX_BYTES,
        modes * (waves + several + read_again + added + strips) + pattern + pixels * PLANE_BYTES,
        modes * (waves + several + strips) + pattern,
    )


def show_counts() -> None:
    print("window  slices  modes  MFLOP  shared MB  caches MB  memory MB   a pattern")
    for window, slices, modes in CASES:
        plan = Plan.of(window)
        if plan is None:
            print(f"{window:6d}  {slices:6d}  {modes:5d}  whole arrays and cuFFT: does not fit on a chip")
            continue
        cost = fused_cost(plan, slices, modes)
        values = "  ".join(f"{value / 1e6:9.2f}" for value in (cost.shared, cost.cached, cost.memory))
        print(f"{window:6d}  {slices:6d}  {modes:5d}  {cost.operations / 1e6:5.1f}  {values}")


def rate(backend: MultisliceBackend, slices: int, modes: int, window: int, count: int) -> float:
    """Patterns per second of wall clock, best of some repeats."""
    xp: Any = backend.xp
    planes = xp.zeros((2, slices, window + 40, window + 40), np.float32)
    planes[0] = 1
    probe = xp.asarray(np.random.default_rng(1).normal(size=(2, modes, window, window)).astype(np.float32))
    best = np.inf
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        float(backend.loss_and_gradient(planes, probe).loss)  # waits for the device
        best = min(best, time.perf_counter() - start)
    backend.close()
    return count / best


def measure() -> None:
    import cupy

    from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
    from ptylive.engine.backend.multislice.fused.cuda import CudaKernels, fitting_plan
    from ptylive.engine.backend.multislice.fused_backend import FusedMultislice

    device = cupy.cuda.Device()
    attributes = device.attributes
    chips, clock_Hz = attributes["MultiProcessorCount"], attributes["ClockRate"] * 1e3
    limits = (chips * 128 * 2 * clock_Hz, chips * 128 * clock_Hz)  # fused multiply-adds; bytes of shared memory a tick
    print(cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode())
    print("window  slices  modes  fused/s  cuFFT/s  ratio  share of arithmetic, of shared memory")
    for window, slices, modes in CASES:
        problem = random_problem(
            window, slices, DataTermKind.AMPLITUDE, count=max(1024, min(16384, 2**26 // (slices * window**2)))
        )
        arrays = rate(GeneralMultislice(problem, cupy, "complex64", "gpu"), slices, modes, window, problem.count)
        plan = fitting_plan(window)
        if plan is None:
            print(f"{window:6d}  {slices:6d}  {modes:5d}        -  {arrays:7.0f}")
            continue
        fused = rate(FusedMultislice(problem, plan, CudaKernels(plan, "uint16")), slices, modes, window, problem.count)
        cost = fused_cost(plan, slices, modes)
        shares = (fused * cost.operations / limits[0], fused * cost.shared / limits[1])
        print(
            f"{window:6d}  {slices:6d}  {modes:5d}  {fused:7.0f}  {arrays:7.0f}  {fused / arrays:5.1f}"
            f"  {shares[0]:.2f}, {shares[1]:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="measure on the GPU")
    show_counts()
    if parser.parse_args().run:
        measure()


if __name__ == "__main__":
    main()
