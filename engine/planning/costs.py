"""Costs of an experiment: time of the scan, bytes on wire and disk, memory of live maps and of a refinement."""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.imaging.imaging_conditions import padded_shape
from ptylive.engine.live.plan import MOST_FILTER_BYTES, filter_bytes, max_bins
from ptylive.engine.memory import SHARE_OF_FREE
from ptylive.engine.planning.depth import slices_for_plan
from ptylive.engine.planning.detector_window import bright_field_pixels, window_of, window_pixels
from ptylive.engine.planning.electrons import CLIPPING_SIGMAS, counts_per_pixel
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import Rating, Row, Verdict, graded, number_text, size_text, time_text
from ptylive.engine.planning.probe_and_step import OPTICS
from ptylive.engine.planning.run_time import refinement_seconds
from ptylive.engine.refine.data.overlap_fit import pixels_fitted
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.validation.run_size import STREAMED_PIXELS, RunSize, kept_bytes
from ptylive.schema import MetadataError, RefinementError
from ptylive.schema.preset import Preset
from ptylive.schema.scan import rotation_matrix

LINE_BYTES_PER_S = 1.25e9
"""Rate of 10-Gbit/s Ethernet, the link of most detectors."""
POINT_BYTES = 64
"""Bytes that live maps keep per point besides coefficients: four regions, three moments and a count, 8 bytes each."""
PROBE_MODES = 4
"""Number of modes that the refinement uses unless there are few counts."""
SCAN = ("scan_shape", "scan_step_A", *OPTICS, "detector_pixel_mrad", "detector_shape")


def store_bytes(points: int, coefficients: float) -> float:
    """Return the bytes that live maps keep for all points of the scan."""
    return points * (POINT_BYTES + 4 * coefficients)


def transform_bytes(scan_shape: tuple[int, int], padded: tuple[int, int], coefficients: float) -> float:
    """Return the bytes of transforms along the rows and over the padded scan, half planes of complex64."""
    return 8 * (scan_shape[0] + padded[0]) * (padded[1] // 2 + 1) * coefficients


def live_bytes(experiment: Experiment) -> float:
    """Return the memory of the live maps: coefficients, their transforms, and filters."""
    header, shape = experiment.header, experiment.scan_shape
    padded = padded_shape(shape, experiment.probe().rim_shift_A / min(experiment.steps_A))
    masks = header.basis.n_bright + header.basis.n_dark
    bins = min(max_bins(header), bright_field_pixels(experiment)) if header.basis.is_raw else masks
    stored_bytes = store_bytes(math.prod(shape), bins) + transform_bytes(shape, padded, bins)
    return stored_bytes + min(filter_bytes(header) * bins, MOST_FILTER_BYTES)


def object_shape(experiment: Experiment) -> tuple[int, int]:
    """Return the pixels (rows, cols) of the refined object. Raises RefinementError if too many for any refinement."""
    rows, cols = experiment.scan_shape
    corners = np.array([(0, 0), (rows - 1, 0), (0, cols - 1), (rows - 1, cols - 1)], dtype=float)
    rotation = rotation_matrix(experiment.header.scan.rotation_deg or 0.0)
    window = window_pixels(experiment)
    return ObjectGrid.of(corners @ experiment.cell_A.T @ rotation.T, window_of(experiment) / window, window).shape


def largest_count(experiment: Experiment) -> float:
    """Return the largest count that a pixel is likely to have; infinite if the beam current is not known."""
    try:
        mean = counts_per_pixel(experiment)
    except MetadataError:
        return math.inf
    return (experiment.header.detector.counts_per_electron or 1.0) * (mean + CLIPPING_SIGMAS * math.sqrt(mean))


def _fitted(experiment: Experiment) -> int:
    """Return pixels times points used in the search for a drift."""
    if not experiment.header.basis.is_raw:
        return 0
    return pixels_fitted(round(bright_field_pixels(experiment)), experiment.scan_shape) * math.prod(
        experiment.scan_shape
    )


def refinement_bytes(experiment: Experiment) -> int:
    """Return the peak memory of a refinement by default settings on one CPU core.

    Raises RefinementError for an object too large for any refinement.
    """
    window, slices = window_pixels(experiment), slices_for_plan(experiment)
    patterns = math.prod(experiment.scan_shape)
    streamed = experiment.header.basis.is_raw and patterns * math.prod(experiment.detector_shape) >= STREAMED_PIXELS
    pixel = kept_bytes(experiment.header.frame_dtype.itemsize, largest_count(experiment))
    in_file = streamed and patterns * window**2 * pixel > SHARE_OF_FREE * experiment.free_bytes
    size = RunSize(
        patterns=patterns,
        recorded_bytes=0 if streamed else patterns * experiment.frame_bytes,
        shown=0 if in_file else patterns if experiment.header.basis.is_raw else 1,
        window_px=window,
        pixel_bytes=pixel,
        object_pixels=slices * math.prod(object_shape(experiment)),
        object_parts=1 if slices == 1 else 2,
        probe_size=2 * PROBE_MODES * window**2,
        fitted=_fitted(experiment),
        descanned=experiment.header.detector.descan_px is not None,
    )
    return size.peak_bytes(Preset().solver.hist_length, threads=1)


def _duration(experiment: Experiment) -> Rating:
    seconds = experiment.header.scan.frames * experiment.frame_time_us * 1e-6
    return Rating(seconds, time_text(seconds))


def _rate(experiment: Experiment) -> Rating:
    frames_per_s = 1e6 / experiment.frame_time_us
    rate = frames_per_s * experiment.frame_bytes
    text = f"{size_text(rate)}/s, {number_text(frames_per_s)} frames/s"
    remedy = "more than 10-Gbit/s Ethernet carries: let the detector compress or bin, or dwell longer"
    return Rating(rate, text, graded(good=rate <= LINE_BYTES_PER_S), remedy)


def _recording(experiment: Experiment) -> Rating:
    size = float(experiment.header.scan.frames) * experiment.frame_bytes
    kind = experiment.header.frame_dtype.name
    return Rating(size, f"{size_text(size)} uncompressed ({kind})")


def _live(experiment: Experiment) -> Rating:
    size = live_bytes(experiment)
    verdict = graded(good=size <= SHARE_OF_FREE * experiment.free_bytes)
    remedy = f"{size_text(experiment.free_bytes)} are free: the rest goes to files in the recording folder"
    return Rating(size, size_text(size), verdict, f"{remedy}, and maps are refreshed slowly")


def _refinement(experiment: Experiment) -> Rating:
    try:
        size = refinement_bytes(experiment)
    except RefinementError as error:
        return Rating(math.inf, "too large", Verdict.BAD, str(error))
    verdict = graded(good=size <= experiment.free_bytes, bad=True)
    remedy = f"{size_text(experiment.free_bytes)} are free: bin or crop (ptylive convert), or refine a part of the scan"
    return Rating(size, size_text(size), verdict, remedy)


def _refining(experiment: Experiment) -> Rating:
    if not experiment.timed:
        remedy = (
            "measure it on this machine with --time, or on a recorded scan with ptylive refine FILE -o OUT --checks"
        )
        return Rating(math.nan, "not known in advance", Verdict.UNKNOWN, remedy)
    lacking = experiment.lacking(SCAN)
    if lacking:
        return Rating(math.nan, "not known", Verdict.UNKNOWN, f"give {', '.join(lacking)}")
    try:
        seconds = refinement_seconds(experiment, PROBE_MODES)
    except (RefinementError, MetadataError) as error:
        return Rating(math.nan, "not measured", Verdict.UNKNOWN, error.line())
    return Rating(seconds, f"{time_text(seconds)} on one core of this machine")


ROWS = (
    Row("scan_s", "time of the scan", "s", ("scan_shape", "dwell_time_us"), _duration),
    Row("data_rate_B_per_s", "data rate", "B/s", ("detector_shape", "dwell_time_us"), _rate),
    Row("recording_bytes", "recording on disk", "B", ("scan_shape", "detector_shape"), _recording),
    Row("live_bytes", "memory of the live maps", "B", SCAN, _live),
    Row("refinement_bytes", "memory of a refinement", "B", SCAN, _refinement),
    Row("refinement_s", "time of a refinement", "s", (), _refining),
)
