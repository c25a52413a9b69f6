"""Compile the live engine's loops before the first frame needs them."""

from __future__ import annotations

import numpy as np

from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.live.reduction import MOMENTS, REGIONS, Numbers
from ptylive.engine.live.summers import VectorSummer
from ptylive.schema import Arm, Detector, FrameBatch, Optics, Scan

COMMON_TYPES = ("|u1", "<u2", "<u4", "<f4")


def warm_up() -> None:
    """Run a tiny synthetic scan of every common pixel type, and a vector of coefficients, through what reduces them.

    A second or so, less when cached.
    """
    rows, cols = np.indices((24, 24)) - 11.5
    pattern = 100.0 * (np.hypot(rows, cols) < 6)
    for dtype in COMMON_TYPES:
        scan = Scan(shape=(8, 8), step_A=(0.5, 0.5), rotation_deg=0.0)
        arm = Arm(
            uid="warm-up",
            series="warm-up",
            frames=64,
            scan=scan,
            optics=Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0),
            detector=Detector(shape=(24, 24), dtype=dtype, pixel_mrad=4.0, transform_given=True),
        )
        engine = LiveEngine(arm)
        frames = np.broadcast_to(pattern, (64, 24, 24)).astype(dtype)
        engine.add(FrameBatch("warm-up", np.arange(64), frames))
        engine.finish()
    vector = FrameBatch("warm-up", np.zeros(1, dtype=np.int64), np.zeros((1, 2), dtype=np.float32))
    summer = VectorSummer(np.zeros((len(REGIONS) + len(MOMENTS), 2)), None)
    summer.add(vector, slice(0, 1), vector.index, Numbers.zeros(1, 1), repeats=False)
