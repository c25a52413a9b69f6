"""Statistics of patterns: which counts belong to the dark field."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema import Calibration, Origin, Quantity

SIZE, RADIUS_PX, BRIGHT, DARK = 24, 6.0, 40.0, 0.5
K = np.arange(SIZE) - SIZE // 2


def discs(offsets_px):
    """Noise-free patterns of a disc with an edge one pixel wide, each ``offsets_px`` (n, 2) off the middle."""
    away = [np.hypot(K[:, None] - row, K - col) for row, col in offsets_px]
    patterns = DARK + BRIGHT * np.clip(RADIUS_PX + 0.5 - np.stack(away), 0, 1)
    values = {"detector_pixel_invA": Quantity(0.05, Origin.GIVEN)}
    return Dataset(
        patterns.astype(np.float32),
        np.arange(len(patterns)),
        np.stack([np.arange(len(patterns)), np.zeros(len(patterns))], axis=1),
        np.zeros((SIZE, SIZE), bool),
        np.full(2, SIZE // 2, float),
        (1, len(patterns)),
        Calibration(values),
        offsets_px=np.asarray(offsets_px, dtype=float),
    )


def statistics(dataset):
    probe = Probe.of(0.04, 1e3 * 0.04 * 0.05 * RADIUS_PX, 0.05, {})
    return PatternStatistics.of(dataset, ScanWindow.of(dataset, SIZE), probe)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_rim_that_lies_half_a_pixel_off_is_no_dark_field(axis):
    """If included, such a rim raised the background that a refinement assumes to be flat, by half at a flake's edge."""
    offsets = np.zeros((20, 2))
    offsets[:, axis] = np.linspace(-0.5, 0.5, 20)
    wandering = discs(offsets)
    assert statistics(wandering).dark_counts == pytest.approx(DARK)
    assert statistics(replace(wandering, offsets_px=None)).dark_counts > 1.01 * DARK


def test_what_lies_still_keeps_its_pixels():
    still = discs(np.zeros((20, 2)))
    assert statistics(still).dark_counts == pytest.approx(DARK)
    assert statistics(still) == statistics(replace(still, offsets_px=None))


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 20), (20, 20)])
@pytest.mark.parametrize("turned_deg", [0.0, 30.0])
def test_the_dose_of_a_line_is_that_of_its_points(shape, turned_deg):
    """Regression: a line without width had a thousand million electrons per Å²."""
    still = discs(np.zeros((shape[0] * shape[1], 2)))
    turn = np.radians(turned_deg)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grid = np.stack(np.indices(shape), axis=-1).reshape(-1, 2).astype(float)
    found = statistics(replace(still, positions_A=0.5 * grid @ turned.T))
    assert found.dose_e_per_A2 == pytest.approx(found.counts_per_pattern / 0.25, rel=0.2)
