"""A cupy whose one or more GPUs are this CPU: the strict device, and the fused kernel compiled by g++.

Stands in for cupy's ``RawModule`` and ``cuda`` as far as ``engine/backend/multislice/fused/cuda.py`` uses them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from emulated_cuda import EmulatedKernels
from strict_device import DeviceArray, device

from ptylive.engine.backend.multislice.fused.plan import COUNTS, NVRTC_OPTIONS, Feature, Plan, source

HOPPER = {
    "MaxSharedMemoryPerBlockOptin": 232_448,
    "MaxSharedMemoryPerMultiprocessor": 233_472,
    "MaxRegistersPerMultiprocessor": 65_536,
    "MaxThreadsPerMultiProcessor": 2048,
    "MultiProcessorCount": 2,
}


class CompileException(Exception):
    """The exception that cupy raises if NVRTC refuses."""


@dataclass
class FakeCards:
    """``module``: to be imported as cupy. refuses: the compiler accepts nothing."""

    attributes: dict[str, int] = field(default_factory=lambda: dict(HOPPER))
    count: int = 1
    refuses: bool = False
    free_bytes: int = 1 << 30
    kept_bytes: int = 0
    """Memory that cupy's pool keeps of arrays that no longer exist."""
    compiled: list[str] = field(default_factory=list)
    """Types of counts for which the kernel was compiled."""
    launches: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, blocks and threads of each launch."""

    pools: list["MemoryPool"] = field(default_factory=list)
    """Pools made for recordings."""
    graphs: list["Graph"] = field(default_factory=list)
    allocators: list[Any] = field(default_factory=list)
    """Allocators of the pools in use, in order of use."""
    capturing: bool = False

    def _free_all_blocks(self) -> None:
        self.free_bytes, self.kept_bytes = self.free_bytes + self.kept_bytes, 0

    @contextmanager
    def _using(self, allocator: Any) -> Iterator[None]:
        self.allocators.append(allocator)
        yield
        self.allocators.pop()

    def module(self) -> ModuleType:
        made = ModuleType("cupy")
        vars(made).update({name: value for name, value in vars(device).items() if not name.startswith("__")})
        cards = self

        class Device:
            attributes = self.attributes
            mem_info = (self.free_bytes, 1 << 31)

            def __init__(self, number: int = 0) -> None:
                assert number < cards.count

            def __enter__(self) -> "Device":
                return self

            def __exit__(self, *_: object) -> None:
                pass

        pool = SimpleNamespace(free_bytes=lambda: self.kept_bytes, free_all_blocks=self._free_all_blocks)
        made.get_default_memory_pool = lambda: pool  # type: ignore[attr-defined]
        made.RawModule = lambda **given: RawModule(self, **given)  # type: ignore[attr-defined]
        made.cuda = SimpleNamespace(  # type: ignore[attr-defined]
            Device=Device,
            runtime=SimpleNamespace(getDeviceCount=lambda: self.count),
            MemoryPool=lambda: MemoryPool(self),
            Stream=lambda *, non_blocking: Stream(self, non_blocking=non_blocking),
            using_allocator=self._using,
            compiler=SimpleNamespace(CompileException=CompileException),
        )
        plans = [("key", SimpleNamespace(plan="plan"))]
        made.fft.config = SimpleNamespace(get_plan_cache=lambda: plans)  # type: ignore[attr-defined]
        return made


class MemoryPool:
    def __init__(self, cards: FakeCards) -> None:
        cards.pools.append(self)
        self.limit, self.given_back = 0, 0

    def set_limit(self, *, size: int) -> None:
        self.limit = size

    def malloc(self, size: int) -> None:
        raise NotImplementedError

    def free_all_blocks(self) -> None:
        self.given_back += 1


class Graph:
    """What was captured; launches are counted, not executed."""

    launches = 0

    def launch(self) -> None:
        self.launches += 1


class Stream:
    def __init__(self, cards: FakeCards, *, non_blocking: bool) -> None:
        assert non_blocking
        self._cards = cards

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        assert not self._cards.capturing

    def begin_capture(self) -> None:
        self._cards.capturing = True

    def end_capture(self) -> Graph:
        assert self._cards.capturing
        self._cards.capturing = False
        self._cards.graphs.append(Graph())
        return self._cards.graphs[-1]


class RawModule:
    def __init__(self, cards: FakeCards, *, code: str, options: tuple[str, ...]) -> None:
        assert code == source()
        assert options[: len(NVRTC_OPTIONS)] == NVRTC_OPTIONS
        given = dict(option.removeprefix("-D").split("=") for option in options[len(NVRTC_OPTIONS) :])
        most, features = cards.attributes["MaxSharedMemoryPerBlockOptin"], Feature(int(given["FEATURES"]))
        plan = Plan.fitting(int(given["WINDOW"]), most, features)
        assert plan is not None
        counts = next(name for name, spelled in COUNTS.items() if spelled == given["COUNTS"])
        assert plan.defines(counts) == given
        self._cards, self._plan = cards, plan
        cards.compiled.append(given["COUNTS"])
        self._kernels = EmulatedKernels(plan, counts)

    def get_function(self, name: str) -> "RawKernel":
        if self._cards.refuses:
            raise CompileException("no such architecture")
        return RawKernel(self._cards, self._plan, self._kernels, name)


class RawKernel:
    num_regs = 128

    def __init__(self, cards: FakeCards, plan: Plan, kernels: EmulatedKernels, name: str) -> None:
        self._cards, self._plan, self._kernels, self._name = cards, plan, kernels, name
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid: tuple[int], block: tuple[int], args: tuple[Any, ...], *, shared_mem: int = 0) -> None:
        assert all(isinstance(value, DeviceArray | np.generic) for value in args)
        assert block == (self._plan.threads,)
        needed = self._plan.shared_bytes if self._name == "loss_and_gradient" else 0
        assert needed <= shared_mem <= self.max_dynamic_shared_size_bytes
        self._cards.launches.append((self._name, grid[0], block[0]))
        self._kernels.launch(self._name, grid[0], tuple(getattr(value, "_host", value) for value in args))
