"""Trials of settings: judged on data they were not fitted to, reproducible, and refused where impossible."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.held_out import held_out_loss
from ptylive.engine.refine.validation.settings_trial import Judge, disagreement, settings_trial
from ptylive.schema import Origin, Quantity, RefinementError
from ptylive.schema.preset import Preset

ODD = {"window_px": 32, "probe_modes": 1, "algorithm": "lsq_sqrt", "refine_drift": False}
PRESET = Preset.from_mapping(ODD)
CPU = TrialContext(backend="cpu")
SWEEPS = 4


def tried(dataset, preset=PRESET, sweeps=SWEEPS, *, judge=Judge.HELD_OUT, split=0):
    found = {}
    settings_trial(dataset, preset, sweeps, CPU, found.__setitem__, judge=judge, split=split)
    return found


def defocused(dataset, value):
    return replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-value, Origin.GIVEN)))


def test_the_right_defocus_predicts_patterns_better_than_wrong_ones(small):
    """The small scan has 60 Å."""
    means = [np.mean(tried(defocused(small.dataset, d))[SWEEPS]) for d in (10.0, 60.0, 110.0)]
    assert means[1] < min(means[0], means[2])


def test_halves_agree_less_where_patterns_are_explained_badly(small):
    """This does not judge defocus: with more of it neighbours overlap more, and agree for that alone (docs/tune.md)."""
    right, wrong = (np.mean(tried(defocused(small.dataset, d), judge=Judge.HALVES)[SWEEPS]) for d in (60.0, 10.0))
    assert 0 < right < wrong < 1


def test_every_sweep_is_told_of_and_the_numbers_are_the_same_again(simulated):
    first = tried(simulated.dataset)
    assert list(first) == [1, 2, 3, 4]
    assert {len(groups) for groups in first.values()} == {16}
    assert tried(simulated.dataset) == first
    assert tried(simulated.dataset, split=1) != first


def test_held_out_patterns_are_those_of_the_scans_of_values(simulated):
    """``held_out_loss`` sweeps until there are enough batches; the same number of sweeps ends at the same loss."""
    known = held_out_loss(simulated.dataset, PRESET, 7, CPU)
    assert tried(simulated.dataset, sweeps=7)[7] == pytest.approx(known.groups, rel=1e-6)


def test_penalties_are_no_part_of_the_judgement(simulated):
    """Scans of values include them: they give the same trial, plus the penalty."""
    preset = Preset.from_mapping({**ODD, "phase_norm_weight": 1.0})
    assert held_out_loss(simulated.dataset, preset, 7, CPU).mean > 1.001 * np.mean(
        tried(simulated.dataset, preset, 7)[7]
    )


def test_whoever_listens_may_end_a_trial(small):
    class Enough(Exception):
        pass

    heard = []

    def on_sweep(sweep, groups):
        heard.append(sweep)
        if sweep == 2:
            raise Enough

    with pytest.raises(Enough):
        settings_trial(small.dataset, PRESET, 9, CPU, on_sweep, judge=Judge.HELD_OUT, split=0)
    assert heard == [1, 2]


def test_tiles_of_two_pictures_add_up_to_their_correlation():
    rng = np.random.default_rng(0)
    common = rng.normal(size=(40, 52))
    first, second = common + 0.3 * rng.normal(size=(2, 40, 52))
    tiles = disagreement(first, second)
    assert len(tiles) == 16
    assert 0.03 < np.mean(tiles) < 0.15  # 1 - 1 / 1.09 = 0.083
    assert np.mean(disagreement(first, first)) == pytest.approx(0.0, abs=1e-12)
    assert np.mean(disagreement(first, -first)) == pytest.approx(2.0)
    assert disagreement(0 * first, first) == (1.0,) * 16


def test_few_patterns_are_refused(small):
    with pytest.raises(RefinementError, match="9 patterns are too few for trials"):
        tried(small.dataset.part(np.arange(9)))
