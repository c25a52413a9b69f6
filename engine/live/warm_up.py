"""Compile the live engine's loops before the first frame needs them, in pieces independent of one another."""

from __future__ import annotations

import numpy as np

from ptylive.engine.imaging.accumulation.accumulators import VectorAccumulator
from ptylive.engine.imaging.accumulation.reduced_numbers import MOMENTS, REGIONS, Numbers
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.band import Band, ScanGrid
from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.live.plan import ReductionPlan
from ptylive.schema import CodedFrames, Detector, EventBatch, EventFrames, FrameBatch, Optics, Scan, ScanHeader
from ptylive.schema.model import DoubleArray

COMMON_TYPES = ("<u2", "|u1", "<u4", "<f4")
"""Pixel types of detectors, the commonest first."""


def warm_up() -> None:
    """Compile everything: tens of seconds on a slow machine, a second if it was compiled before."""
    for dtype in COMMON_TYPES:
        warm_up_frames(dtype)
        warm_up_coded(dtype)
        warm_up_events(dtype)
    warm_up_vectors()
    warm_up_maps()


def warm_up_frames(dtype: str) -> None:
    """Compile the reduction of patterns with pixels of this type (numpy's spelling)."""
    header = _header(dtype)
    frames = np.broadcast_to(_pattern(), (header.frames, *header.detector_shape)).astype(dtype)
    _store(header).add(FrameBatch(header.uid, np.arange(header.frames), frames))


def warm_up_coded(dtype: str) -> None:
    """Compile the reduction of patterns of this type that arrive encoded: as bytes wherever their counts allow it."""
    header = _header(dtype)
    surplus, nowhere, none = np.array([header.frames]), 1, np.zeros(1, dtype=np.uint8)
    coded = CodedFrames(none, np.zeros(1, dtype=np.int64), nowhere, work_bytes=1, in_bytes=nowhere)
    _store(header).add(FrameBatch(header.uid, surplus, none, coded))  # no frame of the scan: nothing is decoded


def warm_up_events(dtype: str) -> None:
    """Compile the reduction of patterns that arrive as events, with counts of this type."""
    header = _header(dtype)
    events = EventFrames(np.ones(1, dtype=np.int64), np.zeros(1, np.uint32), np.ones(1, dtype), header.detector_shape)
    _store(header).add(EventBatch(header.uid, np.zeros(1, dtype=np.int64), events))


def warm_up_vectors() -> None:
    """Compile the intake of vectors of coefficients."""
    vector = FrameBatch("warm-up", np.zeros(1, dtype=np.int64), np.zeros((1, 2), dtype=np.float32))
    accumulator = VectorAccumulator(np.zeros((len(REGIONS) + len(MOMENTS), 2)), None)
    accumulator.add(vector, slice(0, 1), vector.index, Numbers.zeros(1, 1), repeats=False)


def warm_up_maps() -> None:
    """Compile the loops that make maps of coefficients from any source, using a store filled by hand."""
    header = _header(COMMON_TYPES[0])
    engine, plan = LiveEngine(header), ReductionPlan.of(header, _pattern())
    store = Store(header, plan.reduction)
    store.bins[:] = store.regions[:, :1] = 1.0
    store.frames[:] = 1
    store.total_frames = header.frames
    engine.store, engine.calibration = store, plan.calibration
    engine.conclude(plan.calibration)
    _warm_up_interpolation()


def _warm_up_interpolation() -> None:
    """Compile the interpolation of filters of large scans: a kernel of half an ångström is narrower than any scan."""
    band = Band(ScanGrid((32, 32), (0.5, 0.5), 0.0), limit_invA=1.0, reach_A=0.5, half=True)
    band.evaluate(lambda q: np.ones((1, len(q)), np.complex64))


def _store(header: ScanHeader) -> Store:
    return Store(header, ReductionPlan.of(header, _pattern()).reduction)


def _pattern() -> DoubleArray:
    rows, cols = np.indices((24, 24)) - 11.5
    return np.asarray(100.0 * (np.hypot(rows, cols) < 6), dtype=float)


def _header(dtype: str) -> ScanHeader:
    return ScanHeader(
        uid="warm-up",
        series="warm-up",
        frames=64,
        scan=Scan(shape=(8, 8), step_A=(0.5, 0.5), rotation_deg=0.0),
        optics=Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0),
        detector=Detector(shape=(24, 24), dtype=dtype, pixel_mrad=4.0, transform_given=True),
    )
