"""Settings left open are chosen by dose and specimen; given values always win."""

from dataclasses import replace

import pytest

from ptylive.engine.dgp.plan import LEAST_BATCH, MOST_BATCH, STEPS_AN_EPOCH, Specimen, planned
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import PriorSettings

SPECIMEN = Specimen(dose_e_per_A2=1e4, slices=1, patterns=2000, non_negative=True)


def test_the_dose_decides_the_size_and_the_noise_of_the_network():
    high, low = (
        planned(PriorSettings(), SPECIMEN, 0),
        planned(PriorSettings(), replace(SPECIMEN, dose_e_per_A2=99.0), 0),
    )
    assert (high.object.levels, high.object.filters, high.object.input_noise) == (3, 16, 0.025)
    assert (low.object.levels, low.object.filters) == (2, 8)
    assert low.object.input_noise > 10 * high.object.input_noise
    assert high.probe is not None
    assert low.probe is None


def test_the_activation_follows_the_bound():
    assert planned(PriorSettings(), SPECIMEN, 0).object.activation == "softplus"
    free = replace(SPECIMEN, non_negative=False)
    assert planned(PriorSettings(), free, 0).object.activation == "identity"
    assert planned(PriorSettings(dgp_activation="sigmoid"), free, 0).object.activation == "sigmoid"
    assert planned(PriorSettings(), SPECIMEN, 0).probe.activation == "identity"


def test_what_is_given_wins():
    given = {
        "dgp_levels": 4, "dgp_filters": 24, "dgp_input_noise": 0.5, "dgp_pretraining": 7, "dgp_pretraining_rate": 0.01,
        "dgp_epochs": 3, "dgp_batch": 77, "dgp_object_rate": 0.02, "dgp_probe_rate": 0.03, "dgp_probe": True,
    }  # fmt: skip
    for dose in (10.0, 1e5):
        found = planned(Preset.from_mapping(given).prior, replace(SPECIMEN, dose_e_per_A2=dose), 5)
        one = found.object
        assert (one.levels, one.filters, one.input_noise, one.pretraining) == (4, 24, 0.5, 7)
        assert (one.pretraining_rate, one.rate, found.probe.rate) == (0.01, 0.02, 0.03)
        assert (found.epochs, found.batch, found.seed) == (3, 77, 5)


def test_a_probe_that_is_not_refined_has_no_network():
    fixed = replace(SPECIMEN, probe_refined=False)
    assert planned(PriorSettings(dgp_probe=True), fixed, 0).probe is None
    assert len(planned(PriorSettings(), fixed, 0).networks) == 1


@pytest.mark.parametrize("patterns", [10, 700, 10_000, 10**6])
def test_batches_make_some_steps_of_an_epoch(patterns):
    plan = planned(PriorSettings(), replace(SPECIMEN, patterns=patterns), 0)
    assert LEAST_BATCH <= plan.batch <= MOST_BATCH
    assert plan.steps(patterns) * plan.batch >= patterns
    if LEAST_BATCH < plan.batch < MOST_BATCH:
        assert plan.steps(patterns) in (STEPS_AN_EPOCH - 1, STEPS_AN_EPOCH)
