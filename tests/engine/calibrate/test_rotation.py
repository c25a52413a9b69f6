"""An angle on which curl and bright field agree is adopted where most frequencies prefer it to the angle of a few."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.calibrate import rotation
from ptylive.engine.calibrate.aberrations import AberrationFit, Search
from ptylive.engine.calibrate.criteria import Criteria
from ptylive.engine.calibrate.rotation import RotationFit, confirmed_by_curl, with_denser_positive
from ptylive.engine.calibrate.sign import LEAST_SKEWNESS, SKEWED, Agreement, Contrast
from ptylive.schema import Origin

FREQUENCIES = 24
BY_FEW_DEG, BY_MOST_DEG = 2.0, 160.0
SEARCH = Search(300.0, 50.0, None)


class Crystal(Criteria):
    """Four bright frequencies are explained at 2° and -200 Å, all others somewhat better at 160° and 250 Å."""

    modulation = SimpleNamespace(q_scan=np.zeros((FREQUENCIES, 2)))

    def __init__(self, by_most: float) -> None:
        self.by_most = by_most

    def _near(self, low, c10_A, rotation_deg):
        aside = (math.degrees(low[3]) - rotation_deg + 90) % 180 - 90
        return math.exp(-(((low[0] - c10_A) / 60) ** 2) - (aside / 8) ** 2 - (math.hypot(low[1], low[2]) / 30) ** 2)

    def unexplained(self, low, frequencies=FREQUENCIES):
        scatter = np.random.default_rng(2).uniform(0.999, 1.001, FREQUENCIES)
        few = np.arange(FREQUENCIES) < 4
        by_few, by_most = self._near(low, -200.0, BY_FEW_DEG), self._near(low, 250.0, BY_MOST_DEG)
        return scatter * (1 - np.where(few, 0.3 * by_few, self.by_most * by_most + 0.05 * by_few))

    def explained_energy(self, low, frequencies=FREQUENCIES):
        weights = np.where(np.arange(FREQUENCIES) < 4, 10.0, 1.0)
        return float(weights @ (1 - self.unexplained(low)))

    def explained_share(self, low):
        return self.explained_energy(low) / 60


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    def power(criteria, c10_A, angle):
        return criteria.explained_energy(np.array([c10_A, 0.0, 0.0, angle]))

    monkeypatch.setattr(Criteria, "quick_power", power)


def fit_of(rotation_deg):
    return AberrationFit({"C10": -200.0, "C12a": 0.0, "C12b": 0.0}, rotation_deg, 13.0, 2.0, 0.14, 0.9)


def test_the_angle_of_the_curl_is_taken_where_most_frequencies_prefer_it():
    crystal, few = Crystal(by_most=0.1), fit_of(BY_FEW_DEG)
    at_most = np.array([250.0, 0.0, 0.0, math.radians(BY_MOST_DEG)])
    assert crystal.explained_energy(few.low) > crystal.explained_energy(at_most), "the bright ones hold more"
    found = confirmed_by_curl(crystal, SEARCH, few, 156.0)
    assert found.rotation_deg == pytest.approx(BY_MOST_DEG, abs=1.0)
    assert found.aberrations["C10"] == pytest.approx(250.0, abs=5.0)


@pytest.mark.parametrize(
    ("by_most", "search", "curl_deg"),
    [
        (0.03, SEARCH, 156.0),  # most frequencies prefer the present fit
        (0.1, SEARCH, None),  # the curl was not evaluated
        (0.1, SEARCH, 90.0),  # nothing is explained near the angle of the curl
        (0.1, Search(300.0, 50.0, BY_FEW_DEG), 156.0),  # the rotation was stated
    ],
)
def test_else_the_fit_stays(by_most, search, curl_deg):
    few = fit_of(BY_FEW_DEG)
    assert confirmed_by_curl(Crystal(by_most), search, few, curl_deg) is few


def test_an_angle_half_a_turn_aside_is_the_same_and_asks_nothing(monkeypatch):
    monkeypatch.setattr(rotation, "climbed_from", None)
    few = fit_of(BY_FEW_DEG)
    assert confirmed_by_curl(Crystal(0.1), SEARCH, few, BY_FEW_DEG + 170.0) is few


LATTICE = 0.6
"""Opposite correlation at another place, for a correlation of 0.5: too strong."""


@pytest.mark.parametrize(
    ("sign", "skewness", "curl", "turned", "origin"),
    [
        (Agreement(0.5), 0.0, None, False, Origin.ESTIMATED),
        (Agreement(-0.5), 0.0, None, True, Origin.ESTIMATED),
        (Agreement(0.0), 0.0, (10.0, 0.0), False, Origin.ESTIMATED),
        (Agreement(0.0), 0.0, (170.0, 0.0), True, Origin.ESTIMATED),
        (Agreement(-0.5, LATTICE), 0.0, (10.0, 0.0), False, Origin.ESTIMATED),  # as the centre of mass
        (Agreement(-0.5, LATTICE), 0.0, (10.0, LATTICE), True, Origin.UNDECIDED),  # that of a lattice, too
        (Agreement(0.5, LATTICE), 0.0, None, False, Origin.UNDECIDED),
        (Agreement(0.5, LATTICE), -1.01 * LEAST_SKEWNESS, None, True, Origin.UNDECIDED),  # holes in place of atoms
        (Agreement(0.5, LATTICE), 1.01 * SKEWED, None, False, Origin.ESTIMATED),  # both agree
        (Agreement(-0.5, LATTICE), -1.01 * SKEWED, None, True, Origin.ESTIMATED),
        (Agreement(0.5, LATTICE), 0.99 * SKEWED, None, False, Origin.UNDECIDED),
        (Agreement(0.09, LATTICE, 400), 1.01 * SKEWED, None, False, Origin.UNDECIDED),  # chance
        (Agreement(-0.09, points=400), 0.99 * LEAST_SKEWNESS, None, True, Origin.UNDECIDED),  # the likelier one
        (Agreement(-0.04, points=400), 0.0, None, False, Origin.UNDECIDED),  # C10 < 0: underfocus, the usual choice
        (Agreement(0.0), -1.01 * LEAST_SKEWNESS, None, True, Origin.UNDECIDED),
        (Agreement(0.0), -0.99 * LEAST_SKEWNESS, None, False, Origin.UNDECIDED),
        (Agreement(0.5), -1.01 * SKEWED, None, False, Origin.UNDECIDED),  # dark field and phase contradict each other
        (Agreement(-0.5), 1.01 * SKEWED, None, True, Origin.UNDECIDED),
        (Agreement(0.0), -1.01 * SKEWED, (10.0, 0.0), False, Origin.UNDECIDED),
        (Agreement(0.5), -0.99 * SKEWED, None, False, Origin.ESTIMATED),
        (Agreement(-0.5), -1.01 * SKEWED, None, True, Origin.ESTIMATED),
    ],
)
def test_denser_matter_is_positive_and_else_the_centre_of_mass_decides(sign, skewness, curl, turned, origin):
    if curl is not None:
        curl_deg, opposite = curl
        curl = RotationFit(curl_deg, transposed=False, curl=0.05, curl_other=0.4, sign=Agreement(0.5, opposite))
    fit, contrast = fit_of(BY_FEW_DEG), Contrast(sign, skewness, resolved=True)
    assert with_denser_positive(fit, contrast, curl) == (fit.turned() if turned else fit, origin)


def test_gaps_of_a_lattice_that_is_not_resolved_contradict_nothing():
    fit, contrast = fit_of(BY_FEW_DEG), Contrast(Agreement(0.5), -9 * SKEWED, resolved=False)
    assert with_denser_positive(fit, contrast, None) == (fit, Origin.ESTIMATED)


@pytest.mark.parametrize(("deconvolved", "turned"), [(-0.5, True), (0.5, False), (-0.02, False)])
def test_the_deconvolved_phase_of_a_strong_specimen_chooses_the_likelier_half_turn(deconvolved, turned):
    """Regression: the weak phase of SrTiO3 and gold, and its skewness, chose the wrong one more often than not."""
    phase = Agreement(deconvolved, points=400)
    contrast = Contrast(Agreement(0.5, opposite=0.5), 2 * LEAST_SKEWNESS, resolved=True, deconvolved=phase)
    fit = fit_of(BY_FEW_DEG)
    assert with_denser_positive(fit, contrast, None) == (fit.turned() if turned else fit, Origin.UNDECIDED)
    curl = RotationFit(BY_FEW_DEG, transposed=False, curl=0.05, curl_other=0.4, sign=Agreement(0.5))
    sure = Origin.UNDECIDED if abs(deconvolved) > 0.1 else Origin.ESTIMATED
    assert with_denser_positive(fit, contrast, curl) == (fit.turned() if turned else fit, sure)


def test_what_the_dark_field_settles_stays_settled_for_a_strong_specimen():
    fit, contrast = fit_of(BY_FEW_DEG), Contrast(Agreement(0.5), deconvolved=Agreement(-0.5))
    assert with_denser_positive(fit, contrast, None) == (fit, Origin.ESTIMATED)
