import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.larbed.objective import TiltObjective
from tests.larbed_crystals import GRID, crystal, series_of

EVERYTHING = frozenset({"phase", "thickness", "centre", "brightness", "background"})


def objective(**changes):
    """Five tilts, with every parameter away from the fit."""
    series = series_of(crystal()).part(np.array([3, 20, 55, 60, 110]))
    start = crystal(thickness_A=90.0, centre_mrad=(0.4, -0.7), brightness=1.1, background=3.0)
    return TiltObjective(series, GRID, start, EVERYTHING, dtype="complex128", **changes)


@pytest.mark.parametrize("block", sorted(EVERYTHING))
@pytest.mark.parametrize("offset", quick_first([3e4, 0.0]))
def test_gradients_agree_with_central_differences(block, offset):
    """They agree to 1e-6 of the derivative, in double precision.

    Fourth-order differences allow large steps, which keep rounding small where a derivative is small.
    """
    sought = objective(loss_offset=offset)
    vector = sought.vector()
    direction = np.zeros_like(vector)
    part = sought.layout.blocks[block]
    direction[part] = np.random.default_rng(0).normal(size=direction[part].shape)
    step = {"background": 1e-2, "centre": 2e-3}.get(block, 1e-5)
    losses = {n: sought.evaluate(vector + n * step * direction).loss for n in (-2, -1, 1, 2)}
    expected = (8 * (losses[1] - losses[-1]) - losses[2] + losses[-2]) / (12 * step)
    assert sought.evaluate(vector).gradient @ direction == pytest.approx(expected, rel=1e-6)


def test_what_does_not_move_has_no_gradient():
    series, start = series_of(crystal()).part(np.arange(4)), crystal(thickness_A=90.0)
    sought = TiltObjective(series, GRID, start, frozenset({"phase"}))
    gradient = sought.evaluate(sought.vector()).gradient
    assert np.abs(gradient[sought.layout.blocks["phase"]]).max() > 0
    for name in EVERYTHING - {"phase"}:
        assert not gradient[sought.layout.blocks[name]].any()


def test_the_model_of_the_truth_is_the_series():
    truth = crystal(centre_mrad=(1.5, -2.0), brightness=0.9, background=5.0)
    series = series_of(truth)
    sought = TiltObjective(series, GRID, truth, EVERYTHING, dtype="complex128")
    # the series was rounded to single precision: relative errors of 2^-24 in counts give losses of 2^-50 of them
    assert sought.evaluate(sought.vector()).loss < 2**-50 * 4 * series.counts.sum(dtype=np.float64) + 1e-6


def test_backgrounds_and_thickness_stay_above_their_bounds():
    sought = objective()
    vector = sought.project(-np.ones(sought.layout.size))
    assert vector[sought.layout.blocks["background"]].min() == 0
    assert vector[sought.layout.blocks["thickness"]] > 0
    assert sought.at_bound(vector, np.ones_like(vector))[sought.layout.blocks["background"]].all()
    assert (vector[sought.layout.blocks["phase"]] == -1).all()


@pytest.mark.slow
def test_thickness_centre_and_brightness_come_back():
    """The start is 3 % too thin, tilted by 1 mrad and 5 % too dark, and the potential's columns are 5 % too weak."""
    truth = crystal(centre_mrad=(0.8, -0.6), brightness=1.05)
    series = series_of(truth, tilts=7, most_mrad=24.0)
    start = crystal(thickness_A=93.0)
    moving = frozenset({"phase", "thickness", "centre", "brightness"})
    found, loss = TiltObjective(series, GRID, start, moving).minimised(40)
    assert loss < 0.25  # the loss that counting noise would leave
    assert found.thickness_A == pytest.approx(96.0, rel=5e-3)
    assert found.centre_mrad == pytest.approx([0.8, -0.6], abs=0.05)
    assert found.brightness == pytest.approx(1.05, rel=2e-3)


def test_counts_below_nothing_are_none():
    """The ring that is subtracted may hold more than a dark spot."""
    series = series_of(crystal()).part(np.arange(3))
    series.counts[0, 0] = -5.0
    sought = TiltObjective(series, GRID, crystal(), frozenset({"phase"}))
    assert np.isfinite(sought.evaluate(sought.vector()).loss)
