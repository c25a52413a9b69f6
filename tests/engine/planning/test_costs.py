"""Planned costs, compared with what the program needs for the same scan, and the limits of the verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from planning import experiment

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.live.plan import MOST_FILTER_BYTES, filter_bytes, max_bins
from ptylive.engine.planning.costs import live_bytes, object_shape, refinement_bytes, store_bytes, transform_bytes
from ptylive.engine.planning.detector_window import bright_field_pixels, window_of
from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import Plan
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.schema.basis import Basis


def test_live_maps_keep_what_is_planned():
    made = experiment((32, 32), scan_shape=(6, 8), detector_pixel_mrad=4.0)
    grid = DetectorGrid.of((32, 32), (16.0, 16.0), "none", 1.0)
    reduction = PixelReduction.of(grid, 21.4 / 4.0, np.zeros((32, 32), bool), max_bins(made.header))
    store, count = Store(made.header, reduction), reduction.basis.count
    pattern = 8 * 32 * 32  # the sum of all frames, stored once for the whole scan
    assert store.bytes - pattern == store_bytes(48, count)
    store.frames[:] = 1
    transforms = RowTransforms()
    transforms.update(store, (20, 24))
    transforms.planes(np.zeros(count), np.ones((6, 8), np.float32))
    assert transforms.bytes == transform_bytes((6, 8), (20, 24), count)
    rim = 2 * np.pi * 21.4 / 4.0
    assert count == pytest.approx(bright_field_pixels(made), abs=rim)


def test_filters_are_bounded_as_in_a_scan():
    many = experiment(detector_pixel_mrad=0.1)
    bins = max_bins(many.header)
    assert live_bytes(many) > filter_bytes(many.header) * bins
    assert live_bytes(many) == live_bytes(experiment(detector_pixel_mrad=0.05))  # the number of bins is limited


def test_filters_of_a_very_large_scan_take_no_more_than_is_kept():
    large, larger = (experiment(scan_shape=(side, side)) for side in (4096, 8192))
    assert filter_bytes(large.header) * max_bins(large.header) > MOST_FILTER_BYTES
    # four times the points with the same filters; unbounded filters would be four times as large as well
    assert live_bytes(larger) - MOST_FILTER_BYTES == pytest.approx(
        4 * (live_bytes(large) - MOST_FILTER_BYTES), rel=0.01
    )


def test_of_a_compressed_scan_the_masks_count():
    compressed = experiment((64, 64))
    header = replace(
        compressed.header,
        basis=Basis(kind="zernike", n_bright=15, n_dark=1, extra=("sum",)),
        detector=compressed.header.detector.model_copy(update={"dtype": "<f4"}),
    )
    masks = replace(compressed, header=header)
    assert masks.frame_bytes == 17 * 4
    assert live_bytes(masks) < live_bytes(compressed)
    assert refinement_bytes(masks) < refinement_bytes(compressed)


def test_the_object_is_that_of_all_positions():
    for values in ({}, {"rotation_deg": 30.0}, {"scan_step_A": None, "scan_matrix": [0.5, 0.1, -0.2, 0.6]}):
        made = experiment((64, 64), scan_shape=(12, 9), **values)
        positions = made.header.scan.positions_A(made.header.scan.rotation_deg or 0.0)
        grid = ObjectGrid.of(positions, window_of(made) / 64, 64)
        assert object_shape(made) == grid.shape


def test_thicker_specimens_take_more_memory():
    """A complex object of 7 slices against a phase of 1 slice: 14 times the parameters."""
    window = {"pixels": (64, 64), "scan_shape": (16, 16)}
    thin, thick = (refinement_bytes(experiment(**window, thickness_A=t)) for t in (None, 200.0))
    pixels = np.prod(object_shape(experiment(**window)))
    planes = 7 * 2 - 3  # a complex object is its own transmission; a phase is not
    assert thick - thin == 13 * pixels * 4 * (2 * 10 + 9) + planes * pixels * 8


def test_an_object_that_no_refinement_takes_is_bad():
    figure = Plan.of(experiment(scan_step_A=5e3, scan_shape=(4000, 4000)))["refinement_bytes"]
    assert (figure.verdict, figure.text) == (Verdict.BAD, "too large")
    assert "check scan_step_A" not in figure.text
    assert "the object would have" in figure.remedy


@pytest.mark.parametrize(("free", "verdict"), [(1e12, Verdict.GOOD), (1e8, Verdict.BAD)])
def test_memory_that_is_free(free, verdict):
    assert Plan.of(experiment(free_bytes=free))["refinement_bytes"].verdict is verdict
    live = Plan.of(experiment(free_bytes=free))["live_bytes"].verdict
    assert live is (Verdict.GOOD if verdict is Verdict.GOOD else Verdict.QUESTIONED)


def test_time_and_bytes_of_the_scan():
    figures = Plan.of(experiment())
    assert figures["scan_s"].value == pytest.approx(65536 * 1e-4)
    assert figures["recording_bytes"].value == 65536 * 65536 * 2
    assert figures["data_rate_B_per_s"].value == pytest.approx(65536 * 2 * 1e4)
    back = Plan.of(experiment(flyback_frames=4, repeats=2))
    assert back["scan_s"].value == pytest.approx(256 * 260 * 2 * 1e-4)
    assert back["recording_bytes"].value == 256 * 260 * 2 * 65536 * 2


@pytest.mark.parametrize(("dwell_us", "verdict"), [(104.9, Verdict.GOOD), (104.8, Verdict.QUESTIONED)])
def test_a_line_of_10_gbit_per_s(dwell_us, verdict):
    """131072 bytes a pattern at 1.25e9 a second: 104.86 µs."""
    assert Plan.of(experiment(dwell_time_us=dwell_us))["data_rate_B_per_s"].verdict is verdict


def test_the_time_of_a_refinement_is_not_invented():
    figure = Plan.of(experiment())["refinement_s"]
    assert (figure.verdict, figure.text) == (Verdict.UNKNOWN, "not known in advance")
    assert "--checks" in figure.remedy


def test_patterns_that_memory_does_not_hold_do_not_count():
    """They are kept in a file during a refinement; as for every large array, the limit is half of the free memory."""
    scan = {"scan_shape": (128, 128), "pixels": (256, 256)}
    patterns = 128**2 * 256**2  # few counts: one byte each
    whole = refinement_bytes(experiment(**scan, free_bytes=2.01 * patterns))
    assert whole - refinement_bytes(experiment(**scan, free_bytes=1.99 * patterns)) == patterns
