"""The part of a scan on which trials are made."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data import selection
from ptylive.engine.refine.data.selection import central
from ptylive.schema import Calibration

ROWS, COLUMNS, PIXELS = 40, 50, 16


def scanned(strength, *, seed=1, electrons=40.0):
    """Disc of so many electrons a pixel, shifted by a random pixel where ``strength`` (rows, columns) is 1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((ROWS, COLUMNS))
    shifts = rng.normal(0, 1.0, (ROWS, COLUMNS, 2)) * strength[..., None]
    grid = np.indices((PIXELS, PIXELS)) - PIXELS / 2
    distance = np.hypot(grid[0] - shifts[..., :1, None], grid[1] - shifts[..., 1:, None])
    counts = rng.poisson(electrons * (distance < 5)).astype(np.uint16).reshape(-1, PIXELS, PIXELS)
    positions = 0.5 * np.stack([rows, columns], -1).reshape(-1, 2)
    bad = np.zeros((PIXELS, PIXELS), dtype=bool)
    middle = np.array([PIXELS / 2, PIXELS / 2])
    return Dataset(counts, np.arange(len(counts)), positions, bad, middle, (ROWS, COLUMNS), Calibration())


def around(row, column, radius):
    rows, columns = np.indices((ROWS, COLUMNS))
    return (np.hypot(rows - row, columns - column) < radius).astype(float)


def middle_of(dataset, most=400):
    """Mean row and column of the part."""
    return dataset.positions_A[central(dataset, most)].mean(axis=0) / 0.5


def test_the_middle_of_a_scan_is_a_square(simulated):
    chosen = central(simulated.dataset, 16)
    places = simulated.dataset.positions_A[chosen]
    assert np.ptp(places, axis=0) == pytest.approx([np.ptp(places[:, 0])] * 2)


@pytest.mark.parametrize("electrons", quick_first([8.0, 40.0]))
@pytest.mark.parametrize(("row", "column"), [(6, 6), (33, 44), (20, 48)])
def test_trials_are_made_where_the_only_particle_is(row, column, electrons):
    dataset = scanned(around(row, column, 8), electrons=electrons)
    chosen = central(dataset, 400)
    assert around(row, column, 8).ravel()[chosen].sum() > 0.8 * around(row, column, 8).sum()
    turned = replace(dataset, positions_A=dataset.positions_A[:, ::-1].copy())
    assert (np.isin(central(turned, 400), chosen)).mean() > 0.9


@pytest.mark.parametrize(
    "strength", quick_first([around(20, 25, 12), np.ones((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))])
)
def test_a_middle_that_shows_the_specimen_or_as_little_as_the_rest_is_kept(strength):
    assert middle_of(scanned(strength)) == pytest.approx([19.5, 24.5], abs=1)


def test_flashes_lost_frames_and_bad_pixels_are_no_specimen():
    dataset = scanned(np.zeros((ROWS, COLUMNS)))
    dataset.patterns[: 12 * COLUMNS] = 0
    dataset.patterns[1900:1920:4, 3, 3] = 60000
    dataset.patterns[1500:2000:2, 7, 6:8] = 60000
    dataset.bad_pixels[7, 6:8] = True
    assert middle_of(dataset) == pytest.approx([19.5, 24.5], abs=1)


def test_patterns_without_counts_have_a_middle():
    dataset = scanned(np.zeros((ROWS, COLUMNS)))
    dataset.patterns[:] = 0
    assert middle_of(dataset) == pytest.approx([19.5, 24.5], abs=1)


def test_a_beam_that_grows_weaker_is_no_specimen():
    dataset = scanned(np.zeros((ROWS, COLUMNS)))
    weaker = np.linspace(1, 0.5, len(dataset.patterns))[:, None, None]
    patterns = np.random.default_rng(2).binomial(dataset.patterns, weaker).astype(np.uint16)
    assert middle_of(replace(dataset, patterns=patterns)) == pytest.approx([19.5, 24.5], abs=1)


def test_patterns_read_a_few_at_a_time_show_the_same(monkeypatch):
    dataset = scanned(around(6, 6, 8))
    whole = selection._halves(dataset, np.arange(100))
    monkeypatch.setattr(selection, "READ_BYTES", 7 * 4 * PIXELS**2)
    for found, expected in zip(selection._halves(dataset, np.arange(100)), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_patterns_are_read_once(monkeypatch):
    dataset = scanned(around(6, 6, 8))
    first = central(dataset, 400)
    monkeypatch.setattr(selection, "_halves", None)
    np.testing.assert_array_equal(central(replace(dataset, calibration=Calibration()), 400), first)
    with pytest.raises(TypeError):
        central(replace(dataset, patterns=dataset.patterns.copy()), 400)
