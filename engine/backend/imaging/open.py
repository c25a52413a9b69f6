"""Which device evaluates the live maps: a GPU where refinements would take it too, and where it passes a small test.

Filter bank, transforms and reduction have a form for either; results agree within rounding. Whatever a GPU cannot take,
or fails at, the processor does, and it is said why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine.backend import device
from ptylive.schema.model import Array
from ptylive.schema.scan_header import FrameBatch

if TYPE_CHECKING:
    from ptylive.engine.backend.device import ArrayDevice

log = logging.getLogger(__name__)

LEAST_BATCH_BYTES = 2 * 2**20
"""Frames of a batch from which a GPU reduces it: below, copies and launches cost more than the processor's loops
(reckoned from half a millisecond of launches, not measured). A full block of the receiver is about twice as large."""


@dataclass(frozen=True, eq=False)
class MapDevice:
    """The device of the live maps; without ``arrays`` the processor, and ``why``, where something else was possible."""

    arrays: ArrayDevice | None = None
    why: str = ""
    least_batch_bytes: int = LEAST_BATCH_BYTES
    on_trial: bool = False
    """Whether it keeps reducing frames only where it does so faster than the processor."""

    @property
    def words(self) -> str:
        """``gpu``, ``cpu``, or ``cpu (why)``."""
        if self.arrays is not None:
            return "gpu"
        return f"cpu ({self.why})" if self.why else "cpu"

    def given_up(self, error: Exception) -> MapDevice:
        """The processor in its place, after an error that is the device's."""
        return MapDevice(why=" ".join(str(error).split())[:200] or type(error).__name__)

    def refuses(self, batch: FrameBatch) -> str:
        """Why a batch of frames is not for the GPU, in words; the empty string where it is."""
        if batch.coded is not None:
            return "coded frames are decoded there"
        if batch.events is not None:
            return "events are added up there"
        if batch.frames.nbytes < self.least_batch_bytes:
            return f"batches below {self.least_batch_bytes / 2**20:g} MiB"
        return ""


PROCESSOR = MapDevice()


def open_map_device(name: str, least_batch_bytes: int = LEAST_BATCH_BYTES) -> MapDevice:
    """The device ``auto``, ``cpu`` or ``gpu``; the processor where there is no GPU, or one that fails: ``why`` says so.

    With ``auto`` the first batches of a scan tell who reduces its frames.

    least_batch_bytes: frames of a batch from which a GPU reduces it. ValueError for another name.
    """
    if name not in device.NAMES:
        raise ValueError(f"unknown backend {name!r}: use {', '.join(device.NAMES)}")
    if name == "cpu":
        return PROCESSOR
    reason = device.missing()
    if not reason:
        gpu = device.current_gpu()
        reason = failing(gpu)
        if not reason:
            return MapDevice(gpu, "", least_batch_bytes, on_trial=name == "auto")
        log.warning("live maps are made on the processor: %s", reason)
    return MapDevice(why=reason)


def failing(gpu: ArrayDevice) -> str:
    """What goes wrong on a device with a small scan, in words; the empty string where nothing does.

    It also loads and compiles what the first frames would wait for.
    """
    try:
        wrong = [part for part, off in _tried(gpu).items() if not off < TOLERANCE]
    except Exception as error:  # a driver, a library or a compiler that does not fit: whatever it is, no GPU
        return f"the GPU fails a small test ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    return f"the GPU computes {' and '.join(wrong)} wrongly" if wrong else ""


TOLERANCE = 1e-5
"""Of the largest value: single precision rounds to 6e-8, and a few hundred of its roundings add up."""


def _tried(gpu: ArrayDevice) -> dict[str, float]:
    """How far reduction, transforms and contraction of a small scan are off, relative to the largest value."""
    from ptylive.engine.backend.imaging.bank_arrays import ArrayContraction
    from ptylive.engine.backend.imaging.reduction_arrays import ArrayReduction, PixelTables
    from ptylive.engine.backend.imaging.transform_arrays import ArrayTransforms

    rng = np.random.default_rng(0)
    bin_of, region_of = np.array([0, 0, 1, -1, -1, 2, 0, 1]), np.array([0, 0, 1, 2, -1, 1, 1, 3])
    tables = PixelTables.of(bin_of, region_of, 4, np.arange(8.0), np.ones(8))
    off = {}
    for dtype in (np.uint16, np.float32):
        frames: Array = rng.integers(0, 100, (12, 8)).astype(dtype)
        frames[:2] = 0
        frames[0, 0], frames[1, 4] = 90, 99  # a pixel that is just full, and a bad one
        reduced = ArrayReduction(gpu, tables, frames.dtype, 90).reduce(frames, np.arange(12))
        cut = np.minimum(frames, 90).astype(float)
        bins = np.stack([cut[:, bin_of == b].sum(axis=1) for b in range(3)], axis=1)
        off[f"sums of {np.dtype(dtype).name}"] = max(
            _off(reduced.bins, bins),
            _off(reduced.numbers, cut @ tables.weights),
            _off(reduced.pattern, cut.sum(axis=0)),
            float(abs(reduced.full - np.count_nonzero((frames[:, region_of >= 0] >= 90).any(axis=1)))),
        )
    values = rng.normal(size=(3, 4, 3)).astype(np.float32)
    transforms = ArrayTransforms(gpu, (4, 3, 3), (4, 6))
    transforms.transform(np.arange(3), values)
    planes = transforms.planes(np.zeros(3, np.float32), np.ones((3, 4), np.float32))
    expected = np.fft.rfft2(values, s=(4, 6), axes=(0, 1)).transpose(1, 0, 2).astype(np.complex64)
    off["transforms"] = _off(gpu.to_host(planes), expected)
    weights, sign = np.ones((5, 3), np.complex64), np.array([1, -1, 1, 1, -1], np.float32)
    found = ArrayContraction(gpu).contract(weights, planes.reshape(-1, 3), (np.arange(5), sign), 2.0)
    summed = 2 * expected.reshape(-1, 3)[:5].sum(axis=1)
    off["filters"] = _off(found, np.where(sign < 0, summed.conj(), summed))
    return off


def _off(found: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())
