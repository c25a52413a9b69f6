"""The fused kernel on the current CUDA device, through cupy. Nothing here is needed without one."""

from __future__ import annotations

from dataclasses import dataclass
from traceback import clear_frames
from types import ModuleType
from typing import Any
from weakref import finalize

import numpy as np

from ptylive.engine.backend.device import WORK_SHARE, free_bytes
from ptylive.engine.backend.multislice.fused.plan import NVRTC_OPTIONS, PLAIN, Feature, Plan, source
from ptylive.engine.backend.repeated import Step

NAMES = ("loss_and_gradient", "add_windows")
RESERVED_BYTES = 1024
"""Shared memory that CUDA keeps for itself in every block."""


class CudaKernels:
    """:class:`~ptylive.engine.backend.multislice.fused_backend.Kernels` compiled by NVRTC.

    cupy keeps the machine code on disk.
    """

    def __init__(self, plan: Plan, counts: str) -> None:
        import cupy

        self.xp: ModuleType = cupy
        options = [f"-D{name}={value}" for name, value in plan.defines(counts).items()]
        module = cupy.RawModule(code=source(), options=(*NVRTC_OPTIONS, *options))
        self._functions = {name: module.get_function(name) for name in NAMES}
        main = self._functions["loss_and_gradient"]
        main.max_dynamic_shared_size_bytes = plan.shared_bytes
        self._threads, self._shared_bytes = plan.threads, plan.shared_bytes
        has = cupy.cuda.Device().attributes
        at_a_time = min(
            has["MaxSharedMemoryPerMultiprocessor"] // (plan.shared_bytes + RESERVED_BYTES),
            has["MaxRegistersPerMultiprocessor"] // (main.num_regs * plan.threads),
            has["MaxThreadsPerMultiProcessor"] // plan.threads,
        )
        self.resident = int(has["MultiProcessorCount"] * max(1, at_a_time))

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel; whoever reads its results waits for it."""
        shared = self._shared_bytes if name == "loss_and_gradient" else 0
        self._functions[name]((blocks,), (self._threads,), arguments, shared_mem=shared)

    def free_bytes(self) -> int:
        """Device memory that can be had."""
        return free_bytes()

    def record(self, step: Step, arrays: tuple[Any, ...], uses: tuple[Any, ...]) -> Step:
        """See :class:`~ptylive.engine.backend.multislice.fused_backend.Kernels`."""
        import cupy

        given = tuple(cupy.asarray(array).copy() for array in arrays)
        plans = tuple(node.plan for _, node in cupy.fft.config.get_plan_cache())  # whose work memory is written to
        pool = cupy.cuda.MemoryPool()  # of its own: nobody else is handed memory that repetitions write to
        pool.set_limit(size=int(WORK_SHARE * free_bytes()))
        try:
            graph, made = _captured(step, given, pool)
        except RuntimeError as error:
            clear_frames(error.__traceback__)  # which hold arrays of the pool
            pool.free_all_blocks()
            raise
        recording = Recording(graph, given, made, (plans, uses))
        finalize(recording, pool.free_all_blocks).atexit = False  # a pool that is gone keeps what it has
        return recording


def _captured(step: Step, given: tuple[Any, ...], pool: Any) -> tuple[Any, tuple[Any, ...]]:
    """The graph of a step, and the arrays in which it leaves its results; all others of it are of the pool."""
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)  # the default one cannot record
    with stream:
        stream.begin_capture()
        try:
            with cupy.cuda.using_allocator(pool.malloc):
                found = step(*given)
            made = tuple(each.copy() for each in found)
        finally:
            graph = stream.end_capture()
    return graph, made


@dataclass(frozen=True)
class Recording:
    """Launches of a step, to be repeated."""

    graph: Any
    given: tuple[Any, ...]
    """Arrays that it reads."""
    made: tuple[Any, ...]
    """Arrays that it leaves its results in."""
    uses: tuple[Any, ...]
    """What holds the memory that it writes to meanwhile."""

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """What the step makes of arrays, which may lie on the host."""
        for into, array in zip(self.given, arrays, strict=True):
            if isinstance(array, np.ndarray):
                into.set(array)
            else:
                into[...] = array
        self.graph.launch()
        return tuple(each.copy() for each in self.made)


def fitting_plan(window: int, features: Feature = PLAIN) -> Plan | None:
    """The cut for this window where the current device has the shared memory for it."""
    import cupy

    most = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
    return Plan.fitting(window, most, features)
