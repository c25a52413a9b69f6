"""Step, angle and shear recovered from positions made with them; scans without full rows give no grid."""

import numpy as np
import pytest

from ptylive.engine.analysis.refined_grid import refined_grid

ROWS, COLUMNS, SEED = 8, 11, 3


def positions(steps=(0.7, 0.5), degrees=0.0, shear=0.0):
    row, col = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    slow, fast = np.radians(degrees), np.radians(degrees + 90 + shear)
    slow, fast = steps[0] * np.array([np.cos(slow), np.sin(slow)]), steps[1] * np.array([np.cos(fast), np.sin(fast)])
    return np.outer(row, slow) + np.outer(col, fast) + [3.0, -8.0]


@pytest.mark.parametrize("degrees", [0.0, -15.0, 170.0])
@pytest.mark.parametrize("shear", [0.0, 4.0, -7.0])
def test_a_grid_is_what_it_was_made_of(degrees, shear):
    found = refined_grid(positions(degrees=degrees, shear=shear))
    assert found.shape == (ROWS, COLUMNS)
    np.testing.assert_allclose(found.step_A, (0.7, 0.5))
    assert (found.rotation_deg, found.shear_deg) == (pytest.approx(degrees), pytest.approx(shear, abs=1e-9))
    assert found.away_A < 1e-12


def test_scatter_is_how_far_positions_lie_away():
    """88 points scattered by 0.02 Å in each direction lie 0.028 Å away, within a tenth."""
    scattered = positions() + np.random.default_rng(SEED).normal(0, 0.02, (ROWS * COLUMNS, 2))
    found = refined_grid(scattered)
    assert found.away_A == pytest.approx(0.02 * np.sqrt(2), rel=0.1)
    np.testing.assert_allclose(found.step_A, (0.7, 0.5), atol=0.003)  # standard error: 0.02 / sqrt(88 * 5) = 0.001


@pytest.mark.parametrize(
    "points",
    [positions()[:-3], positions()[:2], np.zeros((20, 2)), np.random.default_rng(SEED).uniform(0, 9, (60, 2))],
)
def test_what_is_no_grid_of_full_rows_has_none(points):
    assert refined_grid(points) is None
