from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.larbed.inversion import (
    InversionResult,
    LarbedSettings,
    Start,
    grid_of,
    invert,
    random_start,
    resliced,
)
from ptylive.engine.larbed.structure_factors import coefficients
from ptylive.schema.errors import RefinementError
from tests.larbed_crystals import ENERGY_EV, GRID, crystal, series_of

QUICK = LarbedSettings((80.0, 120.0), starts=2, first_iterations=30, last_iterations=20)


@pytest.mark.slow
def test_thickness_is_found_from_no_start_and_runs_repeat():
    """A cell of 49 reflections. Potentials are judged on crystals of another program in benchmarks/larbed.py."""
    series, told = series_of(crystal(), seed=1), []
    found = invert(series, QUICK, lambda done, total, text: told.append((done, total)))
    assert found.explained > 0.9
    assert found.crystal.thickness_A == pytest.approx(96.0, rel=0.05)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] <= told[-1][1]
    assert np.array_equal(invert(series, QUICK).crystal.phase, found.crystal.phase)


@pytest.mark.slow
def test_shuffled_tilts_are_warned_of():
    series = series_of(crystal(), seed=1).shuffled(np.random.default_rng(0))
    found = invert(series, QUICK)
    assert found.explained < 0.5
    assert "mean nothing" in found.warning()


def test_few_tilts_are_refused():
    with pytest.raises(RefinementError, match="9 tilts"):
        invert(series_of(crystal(), tilts=3), QUICK)


def test_the_grid_holds_all_reflections():
    series = series_of(crystal(), tilts=3)
    assert grid_of(series).pixels == 8
    beyond = replace(series, hk=series.hk * 3)
    assert grid_of(beyond).holds(beyond.hk)
    assert grid_of(beyond).pixels == 20


def test_slices_are_cut_anew_without_changing_the_potential():
    found = resliced(crystal(96.0, 24), 5.0)
    assert (found.slices, found.thickness_A) == (20, 96.0)
    assert coefficients(found, ENERGY_EV) == pytest.approx(coefficients(crystal(), ENERGY_EV))
    thicker = resliced(crystal(96.0, 24), 4.0, 120.0)
    assert thicker.slices == 30
    assert coefficients(thicker, ENERGY_EV) == pytest.approx(coefficients(crystal(), ENERGY_EV))


def test_starts_are_weak_and_depend_on_their_seed():
    series = series_of(crystal(), tilts=3)
    one, other = (random_start(series, GRID, 100.0, 4.0, seed) for seed in (0, 1))
    assert (one.phase * one.slices).std() == pytest.approx(1.0)
    assert not np.allclose(one.phase, other.phase)
    assert np.array_equal(one.phase, random_start(series, GRID, 100.0, 4.0, 0).phase)


def outcome(**changes):
    """The result of an inversion that found the truth itself."""
    series = series_of(crystal(), tilts=5)
    starts = tuple(Start(n, 90.0, 96.0, 1.0, alike) for n, alike in enumerate((0.99, 0.95, 0.2)))
    told = {"model": series.counts, "loss": 0.3, "explained": 0.99, "starts": starts, "curve": np.zeros((1, 2))}
    return InversionResult(crystal(), GRID, series, **{**told, **changes})


def test_doubtful_inversions_are_warned_of():
    assert outcome().warning() == ""
    assert outcome().agreeing == 2
    assert outcome().residual.max() == 0
    assert "mean nothing" in outcome(explained=0.3).warning()
    assert "mean nothing" in outcome(explained=float("nan")).warning()
    assert "right minimum" in outcome(model=1.2 * outcome().model).warning()
    alone = (Start(0, 90.0, 96.0, 1.0, 0.99), Start(1, 90.0, 120.0, 1.0, 0.5))
    assert "1 of 2 starts" in outcome(starts=alone).warning()
