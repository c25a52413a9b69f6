"""Choice of the device for the live maps: a GPU if refinements would use it, too, and if it passes a small test.

Filter bank, transforms and reduction have an implementation for either device; results agree within rounding. Work
that a GPU cannot take, or fails at, is done on the CPU, and the reason is stated.
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
"""Size of a batch from which a GPU reduces it: below, copies and launches cost more than the CPU loops (estimated from
half a millisecond of launches, not measured). A full block of the receiver is about twice as large."""


@dataclass(frozen=True, eq=False)
class MapDevice:
    """Device of the live maps; without ``arrays`` the CPU, with ``why`` if a GPU would have been possible."""

    arrays: ArrayDevice | None = None
    why: str = ""
    least_batch_bytes: int = LEAST_BATCH_BYTES
    on_trial: bool = False
    """Whether it is kept for reducing frames only if it is faster than the CPU."""

    @property
    def words(self) -> str:
        """``gpu``, ``cpu``, or ``cpu (why)``."""
        if self.arrays is not None:
            return "gpu"
        return f"cpu ({self.why})" if self.why else "cpu"

    def given_up(self, error: Exception) -> MapDevice:
        """Return the CPU as replacement, after an error of the device."""
        return MapDevice(why=" ".join(str(error).split())[:200] or type(error).__name__)

    def refuses(self, batch: FrameBatch) -> str:
        """Return why a batch of frames is unsuitable for the GPU, in words; empty if it is suitable."""
        if batch.coded is not None:
            return "coded frames are decoded on the CPU"
        if batch.events is not None:
            return "events are summed on the CPU"
        if batch.frames.nbytes < self.least_batch_bytes:
            return f"batches below {self.least_batch_bytes / 2**20:g} MiB"
        return ""


PROCESSOR = MapDevice()


def open_map_device(name: str, least_batch_bytes: int = LEAST_BATCH_BYTES) -> MapDevice:
    """Open the device ``auto``, ``cpu`` or ``gpu``; the CPU if there is no GPU or it fails, with the reason in ``why``.

    With ``auto`` the first batches of a scan decide which device reduces its frames.

    least_batch_bytes: size of a batch from which a GPU reduces it. Raises ValueError for another name.
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
        log.warning("live maps are made on the CPU: %s", reason)
    return MapDevice(why=reason)


def failing(gpu: ArrayDevice) -> str:
    """Return what goes wrong on a device with a small scan, in words; empty if nothing does.

    This also loads and compiles what the first frames would otherwise wait for.
    """
    try:
        wrong = [part for part, difference in _relative_errors(gpu).items() if not difference < TOLERANCE]
    except Exception as error:  # an incompatible driver, library or compiler: in any case no GPU
        return f"the GPU fails a small test ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    return f"the GPU computes {' and '.join(wrong)} wrongly" if wrong else ""


TOLERANCE = 1e-5
"""Relative to the largest value: single precision rounds to 6e-8, and a few hundred roundings add up."""


def _relative_errors(gpu: ArrayDevice) -> dict[str, float]:
    """Return the errors of reduction, transforms and contraction of a small scan, relative to the largest value."""
    from ptylive.engine.backend.imaging.bank_arrays import ArrayContraction
    from ptylive.engine.backend.imaging.reduction_arrays import ArrayReduction, PixelTables
    from ptylive.engine.backend.imaging.transform_arrays import ArrayTransforms

    rng = np.random.default_rng(0)
    bin_of, region_of = np.array([0, 0, 1, -1, -1, 2, 0, 1]), np.array([0, 0, 1, 2, -1, 1, 1, 3])
    tables = PixelTables.of(bin_of, region_of, 4, np.arange(8.0), np.ones(8))
    differences = {}
    for dtype in (np.uint16, np.float32):
        frames: Array = rng.integers(0, 100, (12, 8)).astype(dtype)
        frames[:2] = 0
        frames[0, 0], frames[1, 4] = 90, 99  # a pixel that is just saturated, and a bad one
        reduced = ArrayReduction(gpu, tables, frames.dtype, 90).reduce(frames, np.arange(12))
        cut = np.minimum(frames, 90).astype(float)
        bins = np.stack([cut[:, bin_of == b].sum(axis=1) for b in range(3)], axis=1)
        differences[f"sums of {np.dtype(dtype).name}"] = max(
            _relative_error(reduced.bins, bins),
            _relative_error(reduced.numbers, cut @ tables.weights),
            _relative_error(reduced.pattern, cut.sum(axis=0)),
            float(abs(reduced.full - np.count_nonzero((frames[:, region_of >= 0] >= 90).any(axis=1)))),
        )
    values = rng.normal(size=(3, 4, 3)).astype(np.float32)
    transforms = ArrayTransforms(gpu, (4, 3, 3), (4, 6))
    transforms.transform(np.arange(3), values)
    planes = transforms.planes(np.zeros(3, np.float32), np.ones((3, 4), np.float32))
    expected = np.fft.rfft2(values, s=(4, 6), axes=(0, 1)).transpose(1, 0, 2).astype(np.complex64)
    differences["transforms"] = _relative_error(gpu.to_host(planes), expected)
    weights, sign = np.ones((5, 3), np.complex64), np.array([1, -1, 1, 1, -1], np.float32)
    contracted = ArrayContraction(gpu).contract(weights, planes.reshape(-1, 3), (np.arange(5), sign), 2.0)
    summed = 2 * expected.reshape(-1, 3)[:5].sum(axis=1)
    differences["filters"] = _relative_error(contracted, np.where(sign < 0, summed.conj(), summed))
    return differences


def _relative_error(computed: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(computed) - expected).max() / np.abs(expected).max())
