"""The loss that counting noise leaves, compared with random counts, and its use."""

import math
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.backend.multislice.data_terms import pixel_terms
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.start import columns
from ptylive.engine.refine.tuning.start.goodness_of_fit import (
    counting_noise,
    likelihood_left,
    loss_over_noise,
    mean_losses,
)
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CONTEXT = TrialContext("cpu", 1)
DRAWS = 100_000
SETTINGS = Preset.from_mapping({"num_slices": 2, "total_thickness_A": 20, "probe_modes": 1})


TERMS = [
    DataTerm(DataTermKind.AMPLITUDE, 0.2),
    DataTerm(DataTermKind.POISSON, 0.05),
    DataTerm(DataTermKind.POISSON, 0.0),
]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("mean", quick_first([0.02, 6.0, 2000.0, 0.7, 90.0], 3))
def test_the_mean_loss_of_a_pixel_is_that_of_drawn_counts(term, mean):
    counts = np.random.default_rng(7).poisson(mean, DRAWS).astype(np.float64)
    drawn = pixel_terms(np, term, np.full(DRAWS, mean), counts)[0]
    tabled = np.interp(mean, *mean_losses(term))
    # four deviations of the draws' mean; the table has straight lines (in steps of 6 %), and is flat at its ends
    assert tabled == pytest.approx(drawn.mean(), abs=4 * drawn.std() / DRAWS**0.5 + 2e-3 * drawn.mean())


def refitted(dataset, scale=1.0, **settings):
    """A trial whose patterns are drawn from its model at the start, that start, and its held-out loss."""
    one = Trial.of(dataset, SETTINGS.model_copy(update=TRIAL_SETTINGS | settings), CONTEXT)
    vector = one.problem.start
    physical = one.problem.layout.physical(vector, np)
    with closing(open_backend("cpu", one.problem.multislice)) as backend:
        drawn = np.random.default_rng(3).poisson(scale * backend.intensities(physical.object, physical.probe))
    multislice = replace(one.problem.multislice, patterns=drawn.astype(np.uint16))
    one = replace(one, problem=replace(one.problem, multislice=multislice))
    with closing(open_backend("cpu", multislice)) as backend:
        return one, vector, HeldOutLoss(one.held_out_losses(one.objective(backend), vector))


@pytest.mark.parametrize("algorithm", ["ml", "lsq_sqrt"])
def test_under_the_right_model_counted_electrons_leave_what_noise_does(small, algorithm):
    one, vector, loss = refitted(small.dataset, algorithm=algorithm)
    assert loss_over_noise(one, vector, loss, CONTEXT) == pytest.approx(1, abs=0.03)  # 64 patterns: 1 % by chance


def test_under_a_wrong_model_more_is_left(small):
    one, vector, loss = refitted(small.dataset, scale=1.5, algorithm="ml")
    assert loss_over_noise(one, vector, loss, CONTEXT) > 1.2


@pytest.mark.parametrize("settings", [{"algorithm": "lsq"}, {"algorithm": "ml", "update_probe_pos": True}])
def test_nothing_is_told_of_what_is_no_likelihood_or_refines_more(small, settings):
    one, vector, loss = refitted(small.dataset, **settings)
    assert loss_over_noise(one, vector, loss, CONTEXT) is None


def test_nothing_is_told_on_a_device(small):
    """It would have to wait for the CPU kernel to be compiled."""
    one, vector, loss = refitted(small.dataset, algorithm="ml")
    assert loss_over_noise(one, vector.tolist(), loss, CONTEXT) is None


@pytest.mark.parametrize("algorithm", ["ml", "lsq_sqrt", "lsq"])
@pytest.mark.parametrize("gain", [1, 5])
def test_the_likelihood_compares_what_was_refined_by_any_loss(small, algorithm, gain):
    """A right model leaves about what noise does, a wrong one more, also where an electron has several counts."""
    one, vector, _ = refitted(small.dataset, algorithm=algorithm)
    problem, calibration = one.problem, one.problem.measured.dataset.calibration
    calibration = calibration.having(counts_per_electron=Quantity(float(gain), Origin.GIVEN))
    dataset = replace(problem.measured.dataset, calibration=calibration)
    counts = (problem.multislice.patterns * gain).astype(np.uint16)
    multislice = replace(problem.multislice, patterns=counts)
    measured = replace(problem.measured, dataset=dataset)
    problem = replace(problem, multislice=multislice, forward=replace(problem.forward, measured=measured))
    layout, right = problem.layout, vector.copy()
    right[layout.object_size : layout.object_size + layout.probe_size] *= gain**0.5
    left = likelihood_left(problem, right, CONTEXT)
    # the flat background of the judge, a share of the dark field, is not in the drawn counts
    assert left.over_noise == pytest.approx(1, abs=0.1)
    wrong = right.copy()
    wrong[layout.object_size : layout.object_size + layout.probe_size] *= 1.2
    found = likelihood_left(problem, wrong, CONTEXT)
    assert found.over_noise > left.over_noise + 0.2
    # 44 % more counts m each leave m (0.44 - log 1.44), whatever an electron's number of counts
    share = math.sqrt(2 * (0.44 - math.log(1.44)))
    assert found.model_error == pytest.approx(math.hypot(share, left.model_error), rel=0.15)
    noise_share = math.sqrt((found.model_error**2 - left.model_error**2) / (found.over_noise - left.over_noise))
    assert left.model_error == pytest.approx(noise_share * math.sqrt(max(0.0, left.over_noise - 1)), abs=0.01)


def test_without_independent_pixels_or_with_parameters_of_single_patterns_there_is_no_likelihood(small):
    one, vector, _ = refitted(small.dataset, algorithm="ml")
    assert likelihood_left(one.problem, vector, CONTEXT) is not None
    measured = one.problem.measured
    shared = replace(measured, statistics=replace(measured.statistics, noise_spread=0.5))
    unknown = replace(measured, statistics=replace(measured.statistics, faint_share=None))
    for changed in (shared, unknown, replace(measured, near_field=True)):
        problem = replace(one.problem, forward=replace(one.problem.forward, measured=changed))
        assert likelihood_left(problem, vector, CONTEXT) is None
    for settings, known in (({"update_probe_pos": True}, False), ({"update_thickness": True}, True)):
        one, vector, _ = refitted(small.dataset, algorithm="ml", **settings)
        assert (likelihood_left(one.problem, vector, CONTEXT) is not None) is known


def test_not_finite_is_not_known(small):
    one, vector, _ = refitted(small.dataset, algorithm="ml")
    assert likelihood_left(one.problem, np.full_like(vector, np.nan), CONTEXT) is None


@pytest.mark.parametrize(
    ("over_noise", "tried"),
    quick_first([(0.7, True), (1.1, False), (1.12, True), (None, True), (0.95, False), (20.0, True)], 4),
)
def test_columns_are_tried_where_noise_does_not_explain_the_loss(small, monkeypatch, over_noise, tried):
    looked = []
    monkeypatch.setattr(columns, "loss_over_noise", lambda *_: over_noise)
    monkeypatch.setattr(columns, "_starts", lambda *_: looked.append(1) or [])
    assert columns._best(Tuned(small.dataset, SETTINGS), CONTEXT) == (None, columns.NONE)
    assert bool(looked) == tried


@pytest.mark.parametrize(("over_noise", "looks"), [([1.0], 1), ([1.2, 1.0], 2)])
def test_what_two_sweeps_explain_is_swept_no_further(small, monkeypatch, over_noise, looks):
    made, told = [], iter(over_noise)
    real = Trial.sweep_to

    def continued(self, state, sweeps, most, context):
        made.append(sweeps)
        return real(self, state, sweeps, most, context)

    monkeypatch.setattr(Trial, "sweep_to", continued)
    monkeypatch.setattr(columns, "loss_over_noise", lambda *_: next(told))
    assert columns._best(Tuned(small.dataset, SETTINGS), CONTEXT) == (None, columns.NONE)
    assert len(made) == looks and made[0] == columns.FIRST_LOOK


@pytest.mark.parametrize("kind", [DataTermKind.AMPLITUDE, DataTermKind.POISSON])
def test_noise_of_counted_electrons_is_what_the_right_model_leaves(kind):
    rng = np.random.default_rng(4)
    mean = rng.uniform(2.0, 30.0, (16, 16))
    counts = rng.poisson(np.broadcast_to(mean, (300, 16, 16)))
    weights = np.ones((16, 16), np.float32)
    weights[0] = 0
    term = DataTerm(kind, 0.0)
    problem: Any = SimpleNamespace(patterns=counts, count=len(counts), weights=weights, data_term=term)
    loss = (np.sqrt(mean) - np.sqrt(counts)) ** 2
    if kind is DataTermKind.POISSON:
        loss = mean - counts + counts * np.log(np.maximum(counts, 1) / mean)
    # with 300 patterns the mean of a pixel is 6 % uncertain, its noise far less: 0.5 % over 240 pixels
    assert counting_noise(problem) == pytest.approx(float((loss * weights).sum() / 300), rel=0.02)


def test_of_terms_where_bright_pixels_leave_more_it_is_not_known():
    assert counting_noise(SimpleNamespace(data_term=DataTerm(DataTermKind.INTENSITY, 0.0))) is None
