"""NVIDIA's own compiler (from PyPI, needs no GPU) accepts the fused kernel for every window, recorded type and chip."""

import ctypes
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest

from ptylive.engine.backend.multislice.fast_sizes import RADICES
from ptylive.engine.backend.multislice.fused.plan import COUNTS, NVRTC_OPTIONS, Feature, Plan, source

pytestmark = pytest.mark.peers

SPILLED_BYTES = 800
"""Most bytes of a thread's registers that may spill to memory: on an H100, cuts that spill some hundred and run more
blocks per chip were faster; a function that is not inlined, or a wrong cut, spills thousands."""

SPILLED_IN_GENERAL = 3200
"""The same limit for kernels that do more: up to 1250 for a whole window, 2900 for strips of 256 pixels."""


@pytest.fixture(scope="module")
def nvrtc(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("nvrtc")
    command = [sys.executable, "-m", "pip", "-q", "download", "--no-deps", "-d", str(folder), "nvidia-cuda-nvrtc-cu12"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"NVIDIA's compiler cannot be had: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    libraries = folder / "nvidia" / "cuda_nvrtc" / "lib"
    return ctypes.CDLL(str(libraries / "libnvrtc.so.12"))


def compiled(nvrtc: ctypes.CDLL, plan: Plan, counts: str, chip: str) -> str:
    """Output of the compiler; fails if it does not compile."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    options = [*NVRTC_OPTIONS, f"--gpu-architecture={chip}", "--ptxas-options=-v"]
    options += [f"-D{name}={value}" for name, value in plan.defines(counts).items()]
    texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source().encode(), b"kernel.cu", 0, None, None) == 0
    failed = nvrtc.nvrtcCompileProgram(program, len(options), texts)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
    return log.value.decode()


@pytest.mark.parametrize("chip", ["sm_80", "sm_86", "sm_90"])
@pytest.mark.parametrize("window", list(RADICES))
def test_the_kernel_compiles(nvrtc: ctypes.CDLL, window: int, chip: str) -> None:
    log = compiled(nvrtc, Plan.of(window), "uint16", chip)
    print(log)
    spilled = [int(bytes_) for bytes_ in re.findall(r"(\d+) bytes spill", log)]
    assert spilled
    assert max(spilled) <= SPILLED_BYTES


@pytest.mark.parametrize(
    "features",
    [
        Feature.ENTRIES | Feature.EXITS | Feature.OWN_SPACES | Feature.MOMENTS,
        Feature.ABERRATIONS | Feature.OF_APERTURE,
        Feature.VARIED | Feature.PLATES | Feature.OF_APERTURE,
        Feature.NEAR_FIELD | Feature.BANDED | Feature.MOMENTS,
        Feature.BANDED,
        Feature.TO_DETECTOR,
        Feature.FROM_DETECTOR | Feature.SEVERAL_PROBES,
    ],
    ids=str,
)
@pytest.mark.parametrize("window", [64, 128, 256])
def test_a_general_kernel_compiles(nvrtc: ctypes.CDLL, window: int, features: Feature) -> None:
    log = compiled(nvrtc, replace(Plan.of(window), features=features | Feature.ANY), "uint16", "sm_90")
    spilled = [int(bytes_) for bytes_ in re.findall(r"(\d+) bytes spill", log)]
    assert spilled
    assert max(spilled) <= SPILLED_IN_GENERAL


@pytest.mark.parametrize("counts", list(COUNTS))
def test_every_recorded_type_compiles(nvrtc: ctypes.CDLL, counts: str) -> None:
    assert "warning" not in compiled(nvrtc, Plan.of(64), counts, "sm_90")
