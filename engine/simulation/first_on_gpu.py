"""Warm-up of the GPU with a refinement of a made-up scan, so that the first real one does not wait for compilers.

cupy compiles each of its kernels at first use, and keeps it on disk: about a hundred for a refinement, a quarter of a
minute in all, whatever its size. A small refinement uses most of them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from ptylive.engine.backend import device
from ptylive.engine.backend.multislice import gpu
from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.calibrate.detector import given_quantities
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import Calibration, PtyliveError
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings

SETTINGS = {"scan_shape": (12, 12), "detector_shape": (64, 64), "defocus_A": 60.0}
"""Small, however large the detector is: kernels are the same for arrays of all sizes."""


def warm_up_gpu(pixels: int) -> None:
    """Compile what a refinement of patterns of n x n pixels requires of a GPU; do nothing if there is none.

    Takes half a minute the first time. A failure is not reported: the refinement itself will report it.
    """
    if device.missing():
        return
    gpu.warm_up(padded_size(pixels))
    with suppress(PtyliveError, *device.current_gpu().failures):
        refine(made_up_scan(), Preset(), backend="gpu")


def made_up_scan() -> Dataset:
    """A scan of 144 patterns of 64 x 64 pixels."""
    scan = SimulatedScan.of(SimulationSettings.of(SETTINGS), Path())
    index = np.arange(scan.header.frames)
    return Dataset.of(scan.header, Calibration(given_quantities(scan.header)), index, scan.frames(index))
