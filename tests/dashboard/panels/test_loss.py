"""Points of the loss curve."""

import math
from itertools import pairwise

import pytest
from bokeh.models import ColumnDataSource

from ptylive.dashboard.client.state import RefinementState
from ptylive.dashboard.panels.loss import MOST_POINTS, LossCurve, log_ticks, split_by_phase


def test_phases_are_told_apart_and_joined() -> None:
    points = split_by_phase([4.0, 3.0, 2.0], ["sweep", "sweep", "lbfgs"])
    assert points["sweep"] == [(1, 4.0), (2, 3.0)]
    assert points["lbfgs"] == [(2, 3.0), (3, 2.0)]


def test_values_without_a_logarithm_are_left_out() -> None:
    points = split_by_phase([1.0, -1.0, math.nan, 0.5], ["sweep"] * 4)
    assert points["sweep"] == [(1, 1.0), (4, 0.5)]


def test_long_runs_keep_their_end() -> None:
    points = split_by_phase([1.0] * (MOST_POINTS + 5), [])
    assert len(points["lbfgs"]) == MOST_POINTS
    assert points["lbfgs"][-1] == (MOST_POINTS + 5, 1.0)


def test_the_curve_is_drawn_once_per_change() -> None:
    curve = LossCurve(ColumnDataSource(data={"epoch": [], "loss": []}))
    curve.show(RefinementState(run="r", losses=[3.0, 2.0], phases=["sweep", "lbfgs"]))
    drawn = curve.sources["sweep"].data
    curve.show(RefinementState(run="r", losses=[3.0, 2.0], phases=["sweep", "lbfgs"]))
    assert curve.sources["sweep"].data is drawn
    assert curve.range.start < 2.0 < 3.0 < curve.range.end


def test_a_line_stands_where_a_stage_began() -> None:
    """Between the epochs; the start of the run has no such point."""
    curve = LossCurve(ColumnDataSource(data={"epoch": [], "loss": []}))
    losses = [3.0, 2.0, 1.5]
    curve.show(RefinementState(run="r", losses=losses, phases=["sweep"] * 3, stages=[0, 2]))
    assert curve.stages.data == {"epoch": [2.5]}
    curve.show(RefinementState(run="r", losses=losses, phases=["sweep"] * 3, stages=[0, 2, 3]))
    assert curve.stages.data == {"epoch": [2.5, 3.5]}
    curve.show(RefinementState(run="s", losses=losses, phases=["sweep"] * 3))
    assert curve.stages.data == {"epoch": []}


def test_ticks_are_round_and_few_in_narrow_and_wide_ranges() -> None:
    assert log_ticks(270.0, 333.0, 3) == [300.0]
    assert log_ticks(270.0, 333.0, 8) == [270.0, 280.0, 290.0, 300.0, 310.0, 320.0, 330.0]
    assert log_ticks(0.9, 1.2e4, 8) == [1.0, 10.0, 100.0, 1000.0, 10000.0]
    assert log_ticks(0.9, 1.2e8, 3) == [1.0, 1e3, 1e6]
    assert log_ticks(1e-6, 1.02e-6, 3)


@pytest.mark.parametrize("most", [3, 8])
@pytest.mark.parametrize("ratio", [1.02, 1.5, 2.3, 3.9, 4.1, 9.0, 15.0, 29.0, 100.0, 1e7])
@pytest.mark.parametrize("low", [0.3, 1.0, 37.0, 9e4])
def test_labels_do_not_overlap(low: float, ratio: float, most: int) -> None:
    """Regression: equal steps over more than a factor of four crowd at the upper end of a logarithmic axis."""
    ticks = log_ticks(low, low * ratio, most)
    assert all(low * 0.999 <= tick <= low * ratio * 1.001 for tick in ticks)
    assert all(b / a >= ratio ** (1 / most) * (1 - 1e-9) for a, b in pairwise(ticks))
    assert len(ticks) >= (2 if most == 8 else 1)
