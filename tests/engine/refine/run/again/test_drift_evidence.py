"""What lattice and refined object say of a drift together."""

import numpy as np
import pytest

from ptylive.engine.refine.run.again.drift_evidence import ENOUGH, FREEDOM, DriftEvidence


@pytest.mark.parametrize(
    ("lattice", "gained", "enough"),
    [
        (1.2, 3.2, False),  # twisted MoS2 without drift, by chance of what the object gains
        (4.2, -0.3, False),  # graphene without drift, by chance of the lattice
        (3.5, 0.5, False),  # platinum without drift
        (3.8, 2.5, True),  # graphene that drifts
        (2.5, 3.1, True),
        (2.1, 5.0, True),
        (6.0, -3.0, False),  # one speaks against the other
    ],
)
def test_two_that_are_not_sure_may_be_enough_together(lattice, gained, enough):
    assert DriftEvidence(lattice, gained).is_enough == enough


def test_one_that_is_very_wrong_does_not_outvote_the_other():
    """Evidence grows as a logarithm: ten times the deviations of a sure one are worth three deviations more."""
    assert DriftEvidence(0.0, 30.0).total < 30.0 < 30.0**2
    assert DriftEvidence(1.0, 50.0).total - DriftEvidence(1.0, 5.0).total < 25


def test_evidence_is_odd_in_the_gain_and_the_lattice_counts_as_two_numbers():
    both = DriftEvidence(2.0, 3.0).total + DriftEvidence(2.0, -3.0).total
    assert both / 2 == pytest.approx((FREEDOM + 2) * np.log1p(4 / FREEDOM))
    assert DriftEvidence(0.0, 3.0).total == pytest.approx((FREEDOM + 1) * np.log1p(9 / FREEDOM))


def test_as_few_scans_without_drift_are_given_one_as_is_said():
    rng, count = np.random.default_rng(0), 200_000
    shared = rng.chisquare(FREEDOM, count) / FREEDOM
    lattice = np.hypot(*rng.normal(size=(2, count))) / np.sqrt(shared)
    gained = rng.standard_t(FREEDOM, count)
    wrong = np.mean([DriftEvidence(*one).is_enough for one in zip(lattice, gained, strict=True)])
    assert wrong == pytest.approx(0.037, abs=0.003)
    assert ENOUGH == 11
