"""Combined evidence of lattice and refined object for a drift."""

import math

import numpy as np
import pytest

from ptylive.engine.refine.run.again.drift_evidence import FREEDOM, WRONG, WRONG_OF_SEVERAL, DriftEvidence, missed_by
from ptylive.engine.refine.run.again.strained_scan import Slopes

DRIFT = np.array([0.5, 0.0])


def gained_by(gain, unsure, even=0.0):
    """Slopes of an object that gains so much by ``DRIFT``; ``even``: gain by an even stretch of that size."""
    deviations = even / unsure if unsure else 0.0
    return Slopes(np.array([gain / 0.5, 7.0]), np.diag([(unsure / 0.5) ** 2, 9.0]), deviations)


@pytest.mark.parametrize(
    ("lattice", "gained", "enough"),
    [
        (1.2, 3.2, False),  # twisted MoS2 without drift, where the object gains by chance
        (4.2, -0.3, False),  # graphene without drift, where the lattice errs by chance
        (4.5, 1.2, False),  # SrTiO3, 77 angstrom, whose lattice indicates another drift than its own
        (12.0, 1.2, False),
        (3.8, 2.5, True),  # graphene that drifts
        (2.5, 3.1, True),
        (2.1, 5.0, True),
        (6.0, -3.0, False),  # one contradicts the other
    ],
)
def test_two_that_are_not_sure_may_be_enough_together(lattice, gained, enough):
    assert DriftEvidence(lattice, gained).is_enough == enough


def test_a_lattice_counts_as_a_normal_law_until_it_may_be_wrong():
    def shown(deviations):
        return DriftEvidence(deviations, 0.0).total

    assert shown(1.0) == pytest.approx(1.0, abs=0.05)
    assert shown(0.0) == pytest.approx(0.0)
    assert shown(20.0) == pytest.approx(-2 * math.log(WRONG))


@pytest.mark.parametrize(
    ("lattice", "gained", "enough"),
    [
        (4.3, 1.7, False),  # SrTiO3, 77 angstrom, under a better start
        (1.3, 5.0, True),  # silicon that drifts
        (1.9, 6.5, True),
    ],
)
def test_a_lattice_of_several_slices_counts_for_less(lattice, gained, enough):
    assert DriftEvidence(lattice, gained, several=True).is_enough == enough
    assert DriftEvidence(lattice, gained).is_enough
    assert DriftEvidence(20.0, 0.0, several=True).total == pytest.approx(-2 * math.log(WRONG_OF_SEVERAL))


def test_what_the_object_loses_counts_as_what_it_gains():
    assert DriftEvidence(0.0, 3.0).total == pytest.approx((FREEDOM + 1) * np.log1p(9 / FREEDOM))
    assert DriftEvidence(0.0, -3.0).total == pytest.approx(-DriftEvidence(0.0, 3.0).total)


@pytest.mark.slow
def test_as_few_scans_without_drift_are_given_one_as_is_said():
    rng, count = np.random.default_rng(0), 200_000
    lattice = np.where(rng.random(count) < WRONG, 10.0, np.sqrt(rng.chisquare(2, count)))
    gained = rng.standard_t(FREEDOM, count)
    wrong = np.mean([DriftEvidence(*one).is_enough for one in zip(lattice, gained, strict=True)])
    assert wrong == pytest.approx(0.0121, abs=0.001)  # four standard deviations for this number of scans


@pytest.mark.parametrize(
    ("before", "after", "missed"),
    [
        (gained_by(737, 388, 0), gained_by(-4220, 244, 0), 7.6),  # 0.4 of the 1.7 Å of platinum are real
        (gained_by(187, 85, 0), gained_by(-73, 67, 0), None),  # platinum: all of it is real
        (gained_by(61, 24, 0), gained_by(-58, 25, 0), None),  # graphene: half of it is real
        (gained_by(100, 10, 0), gained_by(-145, 10, 0), 3.2),
        (gained_by(100, 10, 0), gained_by(-140, 10, 0), None),
        (gained_by(100, 10, 0), gained_by(-145, 10, 400), None),  # a uniform stretch makes it uncertain
        (gained_by(0, 0, 0), gained_by(0, 0, 0), None),
    ],
)
def test_a_drift_is_missed_where_both_slopes_say_that_most_of_it_is_not_there(before, after, missed):
    assert missed_by(before, after, DRIFT) == (None if missed is None else pytest.approx(missed, abs=0.05))


@pytest.mark.parametrize(
    ("lattice", "gained", "several", "loss_over_noise", "tried"),
    [
        (3.8, 2.5, False, 3.0, True),  # enough, whatever is left
        (3.1, 1.8, False, 1.0, True),  # graphene that drifts
        (3.1, 1.8, False, 1.2, False),  # a model that errs
        (3.1, 1.8, False, None, False),
        (3.1, 1.8, True, 1.0, False),
        (2.6, 2.5, True, 3.0, True),  # several slices with evidence of 8.8
        (2.6, 1.9, True, 1.0, False),
        (1.2, 1.5, False, 1.0, False),
    ],
)
def test_a_possible_drift_is_tried_where_one_slice_explains_the_patterns(
    lattice, gained, several, loss_over_noise, tried
):
    assert DriftEvidence(lattice, gained, several=several).is_worth_trying(loss_over_noise) == tried


def test_a_drift_that_is_only_possible_is_missed_sooner():
    before, after = gained_by(100, 10, 0), gained_by(-116, 10, 0)  # -1.1 deviations together
    assert missed_by(before, after, DRIFT) is None
    assert missed_by(before, after, DRIFT, sure=False) == pytest.approx(1.1, abs=0.05)
    assert missed_by(before, gained_by(-112, 10, 0), DRIFT, sure=False) is None
