"""The whole pattern or the bright field, chosen by the likelihood of held-out patterns."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.problem.strategy import Regime
from ptylive.engine.refine.tuning.held_out import Likelihoods, TrialContext
from ptylive.engine.refine.tuning.regime_choice import (
    Candidate,
    RegimeChoice,
    choose_regime,
    with_chosen_regime,
)
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

WEAK, EMPTY, MAP = Candidate(Regime.WEAK, True), Candidate(Regime.THIN, False), Candidate(Regime.THIN, True)
GROUPS = np.array([100.0, 104.0, 98.0, 102.0])
UNEVEN = np.array([1.0, -1.0, 1.0, -1.0])


def judged(everywhere, bright=0.0, *, uneven=0.0):
    """Losses that lie below those of the weak regime by these amounts, with groups that differ."""
    scatter = uneven * UNEVEN
    return Likelihoods(tuple(GROUPS - everywhere + scatter), tuple(GROUPS - bright + scatter))


@pytest.mark.parametrize(
    ("empty", "from_map", "best"),
    [
        (judged(2.0), judged(1.0), EMPTY),
        (judged(2.0), judged(2.5), MAP),
        (judged(2.5, uneven=1.0), judged(2.0), MAP),  # an empty object is not better beyond doubt
        (judged(2.1, uneven=0.01), judged(2.0), MAP),  # better by too little: another seed decides otherwise
        (judged(0.2), judged(0.2), WEAK),  # too little
        (judged(2.0, bright=-1.0), judged(2.0), WEAK),  # only the map contains the bright field
        (judged(1.0, uneven=3.0), judged(-1.0), WEAK),  # the groups disagree
        (judged(-1.0), judged(-2.0), WEAK),
        (judged(20.0, bright=-1.0), judged(1.0), WEAK),  # only the dark field is predicted better
        (judged(-0.5, bright=2.0, uneven=3.0), judged(-1.0), WEAK),
        (Likelihoods(judged(-0.5, uneven=3.0).everywhere, judged(0.0, bright=2.0).bright), judged(-9.0), EMPTY),
    ],
)
def test_all_of_the_pattern_where_it_predicts_better_beyond_doubt(empty, from_map, best):
    choice = RegimeChoice(WEAK, {WEAK: judged(0.0), EMPTY: empty, MAP: from_map})
    assert choice.best == best
    assert choice.reason.startswith(f"{best}:")
    assert ("would not" in choice.reason) == (best == WEAK)


@pytest.fixture(scope="module")
def few_electrons(drifted):
    """2000 e/Å^2 on atoms that scatter beyond the bright field."""
    dataset = drifted((0.0, 0.0), 5)
    thinned = np.random.default_rng(6).binomial(np.where(dataset.bad_pixels, 0, dataset.patterns), 0.3)
    return replace(dataset, patterns=thinned.astype(np.uint16))


@pytest.fixture(scope="module")
def context():
    flat = StartGuess(np.zeros((20, 20), np.float32), (0.8, 0.8), 25.0)
    return TrialContext("cpu", start=flat)


def test_atoms_are_refined_by_all_of_the_pattern(few_electrons, context):
    tuned = with_chosen_regime(Tuned(few_electrons, Preset(num_slices=1, start_from_map=False)), context)
    assert tuned.preset.solver.regime == "thin"
    assert tuned.words[-1].startswith("the whole pattern from an empty object")


@pytest.mark.parametrize(
    "stated",
    [
        {"regime": "weak"},
        {"algorithm": "lsq_sqrt"},
        {"bright_field_only": True},
        {"num_slices": 2},
        {"optimizer": "epie"},
        {"optimizer": "epie"},
    ],
)
def test_nothing_is_tried_where_somebody_said(few_electrons, context, stated):
    preset = Preset(total_thickness_A=20, **{"num_slices": 1, **stated})
    assert choose_regime(few_electrons, preset, context) is None
    assert with_chosen_regime(Tuned(few_electrons, preset), context).preset is preset


def test_more_sweeps_where_starts_are_not_told_apart():
    apart = {WEAK: judged(0.0), EMPTY: judged(4.0), MAP: judged(8.0)}
    assert RegimeChoice(WEAK, apart).settled
    assert not RegimeChoice(WEAK, apart | {EMPTY: judged(8.0, uneven=0.5)}).settled
    assert not RegimeChoice(WEAK, apart | {EMPTY: judged(9.0)}).settled  # low frequencies converge slowly
    assert not RegimeChoice(WEAK, apart | {MAP: judged(-1.0)}).settled


@pytest.mark.slow
def test_what_is_tried_from_nothing_is_kept_for_the_drift(few_electrons, context):
    choice = choose_regime(few_electrons, Preset(num_slices=1), context)
    assert set(choice.losses) == {WEAK, EMPTY, MAP}
    kept = context.kept_trials[str(EMPTY)]
    assert kept.patterns is few_electrons.patterns
    assert kept.fits(kept.trial, few_electrons.patterns)
    assert not kept.fits(replace(kept.trial, batches=1), few_electrons.patterns)


def test_nothing_is_tried_at_a_high_dose_or_under_correlated_noise(few_electrons, context, drifted):
    assert choose_regime(drifted((0.0, 0.0), 5), Preset(num_slices=1), context) is None
    fewer = np.random.default_rng(7).binomial(few_electrons.patterns, 0.3)
    shared = sum(np.roll(fewer, by, axis=(1, 2)) for by in ((0, 0), (1, 0), (0, 1)))  # three counts per electron
    assert (
        choose_regime(replace(few_electrons, patterns=fewer), Preset(num_slices=1, start_from_map=False), context)
        is not None
    )
    assert choose_regime(replace(few_electrons, patterns=shared), Preset(num_slices=1), context) is None
