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
"""Shared memory that CUDA reserves in every block."""


class CudaKernels:
    """:class:`~ptylive.engine.backend.multislice.fused_backend.Kernels` compiled by NVRTC.

    cupy caches the machine code on disk.
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
        attributes = cupy.cuda.Device().attributes
        concurrent_blocks = min(
            attributes["MaxSharedMemoryPerMultiprocessor"] // (plan.shared_bytes + RESERVED_BYTES),
            attributes["MaxRegistersPerMultiprocessor"] // (main.num_regs * plan.threads),
            attributes["MaxThreadsPerMultiProcessor"] // plan.threads,
        )
        self.resident = int(attributes["MultiProcessorCount"] * max(1, concurrent_blocks))

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel; reading its results waits for it."""
        shared = self._shared_bytes if name == "loss_and_gradient" else 0
        self._functions[name]((blocks,), (self._threads,), arguments, shared_mem=shared)

    def free_bytes(self) -> int:
        """Device memory that can be allocated."""
        return free_bytes()

    def record(self, step: Step, arrays: tuple[Any, ...], uses: tuple[Any, ...]) -> Step:
        """See :class:`~ptylive.engine.backend.multislice.fused_backend.Kernels`."""
        import cupy

        inputs = tuple(cupy.asarray(array).copy() for array in arrays)
        plans = tuple(node.plan for _, node in cupy.fft.config.get_plan_cache())  # their work memory is written to
        pool = cupy.cuda.MemoryPool()  # a separate one: repetitions write to this memory
        pool.set_limit(size=int(WORK_SHARE * free_bytes()))
        try:
            graph, outputs = _captured(step, inputs, pool)
        except RuntimeError as error:
            clear_frames(error.__traceback__)  # they hold arrays of the pool
            pool.free_all_blocks()
            raise
        recording = Recording(graph, inputs, outputs, (plans, uses))
        finalize(recording, pool.free_all_blocks).atexit = False  # a pool that is deleted keeps its memory
        return recording


def _captured(step: Step, inputs: tuple[Any, ...], pool: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the graph of a step, and the arrays of its results; the step's other arrays belong to the pool."""
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)  # the default stream cannot record
    with stream:
        stream.begin_capture()
        try:
            with cupy.cuda.using_allocator(pool.malloc):
                results = step(*inputs)
            outputs = tuple(each.copy() for each in results)
        finally:
            graph = stream.end_capture()
    return graph, outputs


@dataclass(frozen=True)
class Recording:
    """Recorded launches of a step, which can be repeated."""

    graph: Any
    inputs: tuple[Any, ...]
    """Arrays that the step reads."""
    outputs: tuple[Any, ...]
    """Arrays that hold the step's results."""
    uses: tuple[Any, ...]
    """Objects that own the memory which the step writes to."""

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Run the step on arrays, which may be on the host, and return its results."""
        for target, array in zip(self.inputs, arrays, strict=True):
            if isinstance(array, np.ndarray):
                target.set(array)
            else:
                target[...] = array
        self.graph.launch()
        return tuple(each.copy() for each in self.outputs)


def fitting_plan(window: int, features: Feature = PLAIN) -> Plan | None:
    """The configuration for this window that fits the current device's shared memory; None if there is none."""
    import cupy

    limit_bytes = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
    return Plan.fitting(window, limit_bytes, features)
