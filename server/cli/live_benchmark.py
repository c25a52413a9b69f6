"""``ptylive bench live``: computing cost of the live engine, for a generated scan, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ptylive.engine.backend.imaging.open import MapDevice
from ptylive.schema import Detector, FrameBatch, Optics, Scan, ScanHeader
from ptylive.schema.model import Array, FloatArray

SCAN, FRAME, RADIUS_PX = (256, 256), 64, 12.5
BATCH = 256
REPEATS = 5
COEFFICIENTS = "zernike:45+1"
BASIS_PATTERNS = 64


def measure(backend: str = "auto") -> dict[str, Any]:
    """Measure the cost of a 256 x 256 scan of raw 64 x 64 frames, and of the same scan as 45 + 1 Zernike coefficients.

    The batches of frames are smaller than those sent to a GPU by default; here they are sent to it anyway.
    """
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.backend.imaging.open import open_map_device

    use_persistent_cache()
    device = open_map_device(backend, least_batch_bytes=0)
    from ptylive.engine.live.warm_up import warm_up

    with threadpool_limits(limits=1):
        warm_up()
        frames = disc_frames(BATCH)
        header = scan_header(SCAN)
        raw = _engine_costs(header, frames, device)
        coefficients_header, vectors = compressed(header, frames)
        _engine_costs(
            scan_header((32, 32), coefficients_header), vectors, device
        )  # compiles the code used only for coefficients
        coefficients = _engine_costs(coefficients_header, vectors, device)
    return {**raw, **{f"coefficients_{name}": value for name, value in coefficients.items()}}


def scan_header(shape: tuple[int, int], like: ScanHeader | None = None) -> ScanHeader:
    """Return the header of a scan of discs, 50 Å underfocus; with the basis of the header ``like``, if given."""
    scan = Scan(shape=shape, step_A=(0.5, 0.5), rotation_deg=0.0)
    if like is not None:
        return ScanHeader("bench", "bench", scan.frames, scan, like.optics, like.detector, like.basis, like.arrays)
    return ScanHeader(
        uid="bench",
        series="bench",
        frames=scan.frames,
        scan=scan,
        optics=Optics.model_validate({"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "defocus_A": 50.0}),
        detector=Detector(shape=(FRAME, FRAME), pixel_mrad=2.0, transform_given=True),
    )


def compressed(header: ScanHeader, frames: Array) -> tuple[ScanHeader, FloatArray]:
    """Return the header and frames of the same scan as coefficients with extras."""
    from ptylive.engine.bases.choice import make_basis, parse_basis
    from ptylive.engine.bases.compressor import Compressor
    from ptylive.engine.bases.field import DetectorField

    middle = (FRAME / 2, FRAME / 2)
    field = DetectorField(middle, RADIUS_PX, np.ones((FRAME, FRAME), dtype=bool))
    choice = parse_basis(COEFFICIENTS)
    compressor = Compressor(make_basis(choice, field, frames[:BASIS_PATTERNS]), field, choice.square_root)
    return compressor.described(header), compressor.vectors(frames)


def _engine_costs(header: ScanHeader, frames: Array, device: MapDevice) -> dict[str, Any]:
    """Time adding frames, refreshing all maps with every row new and with a tenth of the rows new, and new filters."""
    from ptylive.engine.imaging.filters import BUILDERS, Filter
    from ptylive.engine.live.engine import LiveEngine

    engine = LiveEngine(header, device=device)
    rows, cols = header.scan.require_shape()
    batch = len(frames)

    def add(first: int, last: int) -> None:
        for start in range(first, last, batch):
            index = np.arange(start, min(start + batch, last))
            engine.add(FrameBatch("bench", index, frames[: len(index)]))

    add(0, batch)
    adding = _seconds(lambda: add(batch, rows * cols), 1)
    engine.refresh()  # makes the filters of the last calibration
    spectra_rows = engine.evaluation.rows

    def all_rows() -> None:
        spectra_rows.forget()
        engine.refresh()

    assert engine.store is not None and engine.calibration is not None  # noqa: S101
    store = engine.store
    refresh_all = _seconds(all_rows, REPEATS)

    def some_rows() -> None:
        store.frames[: rows * cols // 10] += 1  # as if their frames had arrived again
        engine.refresh()

    refresh_some = _seconds(some_rows, REPEATS)
    order = engine.filter_order
    assert order is not None  # noqa: S101
    building = {name: _seconds(partial(Filter.build, name, *order), 1) for name in BUILDERS}
    return {
        "frames": rows * cols - batch,
        "seconds": adding,
        "frames_per_s": (rows * cols - batch) / adding,
        "us_per_frame": 1e6 * adding / (rows * cols - batch),
        "bins": store.reduction.basis.count,
        **{f"{part}_on": words for part, words in engine.computed_on.items()},
        "refresh_s": refresh_all,
        "refresh_tenth_s": refresh_some,
        "filters_s": sum(building.values()),
        **{f"filter_{name}_s": seconds for name, seconds in building.items()},
    }


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the time of the quickest of several runs."""
    best = np.inf
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return float(best)


def disc_frames(count: int) -> Array:
    """Return noisy bright-field discs of 1000 electrons, shape (count, 64, 64)."""
    y, x = np.indices((FRAME, FRAME)) - FRAME / 2
    disc = (np.hypot(y, x) < RADIUS_PX).astype(float)
    return np.random.default_rng(0).poisson(1000 * disc / disc.sum(), (count, FRAME, FRAME)).astype(np.uint16)
