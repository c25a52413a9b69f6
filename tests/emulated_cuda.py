"""The fused CUDA kernel compiled for the CPU, so that it can be tested without a GPU.

Blocks run one after the other, the threads of a block in turns between barriers (``emulated/cuda.h``). Skips the test
if there is no C++ compiler.
"""

import ctypes
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ptylive.engine.backend.multislice.fused.plan import PLAIN, Feature, Plan, source

FOLDER = Path(__file__).parent / "emulated"
NO_COMPILER = "no C++ compiler (g++): the CUDA kernel cannot be run on the CPU"


def compile_kernel(plan: Plan, counts: str, *flags: str, main: str = "kernel.cpp", text: str = "") -> Path:
    """Compile the kernel (or ``text`` in its place); flags: for the compiler, including ``-shared`` for a library.

    A general kernel is compiled for all features; each launch says which of them apply.
    """
    plan = plan if plan.features is PLAIN else replace(plan, features=Feature.ANY)
    text = text or source()
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip(NO_COMPILER)
    key = hashlib.sha256(
        repr((text, plan, counts, flags, main, [p.read_text() for p in sorted(FOLDER.iterdir())])).encode()
    )
    # one per user: a file made by somebody else may be unreadable, and should not be run
    built = Path(tempfile.gettempdir()) / f"ptylive-emulated-{os.getuid()}-{key.hexdigest()[:16]}"
    with built.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be compiling: a general kernel takes ten seconds
        if not built.exists():
            with tempfile.TemporaryDirectory() as work:
                (Path(work) / "kernel.cu").write_text(text)
                given = plan.defines(counts)
                if plan.features:
                    given["FEATURES"] = "emulated_features"
                defines = [f"-D{name}={value}" for name, value in given.items()]
                made = Path(work) / "made"
                command = [compiler, "-std=c++17", "-O1", "-pthread", *flags, *defines]
                subprocess.run([*command, f"-I{work}", f"-I{FOLDER}", "-o", made, FOLDER / main], check=True)
                shutil.move(made, built)
    return built


@functools.cache
def _library(plan: Plan, counts: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(compile_kernel(plan, counts, "-shared", "-fPIC")))


class EmulatedKernels:
    """Like ``CudaKernels``, on numpy arrays."""

    xp: ModuleType = np

    def __init__(self, plan: Plan, counts: str, resident: int = 3) -> None:
        self.resident = resident
        self.launched: list[tuple[str, int]] = []
        # one library, hence one compilation, for all features
        self._plan = plan
        self._library = _library(plan if plan.features is PLAIN else replace(plan, features=Feature.ANY), counts)

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Run a kernel and wait for its end."""
        self.launched.append((name, blocks))
        kept = [np.asarray(_address(value) if isinstance(value, np.ndarray) else value) for value in arguments]
        if self._plan.features:
            ctypes.c_int.in_dll(self._library, "emulated_features").value = int(self._plan.features)
        pointers = (ctypes.c_void_p * len(kept))(*(value.ctypes.data for value in kept))
        getattr(self._library, f"run_{name}")(blocks, self._plan.threads, pointers)

    def record(self, *_: Any) -> Any:
        """Refuse: launches cannot be recorded here."""
        raise RuntimeError("no device")

    def free_bytes(self) -> int:
        """Report plenty of memory."""
        return 1 << 30


def _address(array: np.ndarray) -> np.uintp:
    assert array.flags.c_contiguous
    return np.uintp(array.ctypes.data)
