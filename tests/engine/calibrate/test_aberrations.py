"""Majority votes of frequencies: whether the plane in focus lies below the entrance, and whether there is defocus."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.calibrate.aberrations import (
    AberrationFit,
    Grid,
    Search,
    fit_aberrations,
    in_focus_unless_significant,
    is_below,
)

DEPTH_A, FREQUENCIES = 30.0, 60
ENTRANCE_A = -80.0


def seen(*, there, entrance, above):
    """Share of 60 frequencies left unexplained with the focus at the tested plane, at the entrance and above it."""
    planes = {ENTRANCE_A + DEPTH_A: there, ENTRANCE_A: entrance, ENTRANCE_A - DEPTH_A: above}

    def unexplained(low):
        assert list(low[1:]) == [1.0, 2.0, 0.5], "astigmatism and rotation stay"
        scatter = np.random.default_rng(int(low[0]) % 7).uniform(0.99, 1.01, FREQUENCIES)
        return np.broadcast_to(planes[float(low[0])], FREQUENCIES) * scatter

    return SimpleNamespace(unexplained=unexplained)


IN_FOCUS = np.array([ENTRANCE_A + DEPTH_A, 1.0, 2.0, 0.5])
FEW_BRIGHT = np.where(np.arange(FREQUENCIES) < 4, 0.2, 0.9)
"""Share left where four frequencies, which may hold most of the energy, are explained and the others are not."""


@pytest.mark.parametrize(
    ("planes", "expected"),
    [
        ({"there": 0.3, "entrance": 0.4, "above": 0.7}, True),
        ({"there": 0.8, "entrance": 0.85, "above": 0.9}, True),
        ({"there": 0.8, "entrance": 0.9, "above": 0.8}, False),  # a summit on either side, as for a sheet in focus
        ({"there": FEW_BRIGHT, "entrance": 0.9, "above": 0.9}, False),  # seen by a few spots only
        ({"there": 0.6, "entrance": 0.5, "above": 0.9}, False),  # most frequencies prefer the entrance
    ],
)
def test_a_depth_is_what_most_frequencies_prefer_to_the_entrance_and_to_what_is_above(planes, expected):
    assert is_below(seen(**planes), IN_FOCUS, DEPTH_A) is expected


@pytest.mark.parametrize(("found", "told"), [(0.5, True), (0.9, False), (FEW_BRIGHT, False)])
def test_a_defocus_that_most_frequencies_do_not_prefer_to_none_is_none(found, told):
    fit = AberrationFit({"C10": 29.0, "C12a": 2.0, "C12b": -1.0}, 20.0, 0.4, 0.5, 0.02, 0.9)

    def unexplained(low):
        assert low[3] == pytest.approx(np.radians(20.0)), "the rotation stays"
        return np.broadcast_to(found if low[0] else 0.89, FREQUENCIES) * np.linspace(0.999, 1.001, FREQUENCIES)

    taken = in_focus_unless_significant(SimpleNamespace(unexplained=unexplained), fit)
    if told:
        assert taken is fit
    else:
        assert taken.aberrations == {"C10": 0.0, "C12a": 0.0, "C12b": 0.0}
        assert (taken.uncertainty_A, taken.rotation_deg) == (29.0, 20.0)


def astigmatic_criteria(*, seen_in):
    """J1 and J2 with maxima at 100 Å of C10 and 20 Å of astigmatism, seen in a share of 60 frequencies."""

    def power(low):
        return math.exp(-(((low[0] - 100) / 80) ** 2) - ((low[1] - 20) / 90) ** 2 - (low[2] / 90) ** 2)

    def energy(low):
        return power(low) * (1.0 + 0.2 * math.exp(-(((low[1] - 20) / 9) ** 2) - (low[2] / 9) ** 2))

    def unexplained(low):
        lost, without = (1.0 - 0.3 * energy(one) for one in (low, low * np.array([1.0, 0.0, 0.0, 1.0])))
        unseen = np.arange(FREQUENCIES) >= seen_in * FREQUENCIES
        scatter = np.random.default_rng(3).uniform(0.999, 1.001, FREQUENCIES)
        return np.where(unseen, without**2 / lost, lost) * (scatter if low[1] else 1.0)

    return SimpleNamespace(
        aligned_power=power,
        explained_energy=energy,
        unexplained=unexplained,
        explained_share=lambda low: 0.5,
        modulation=SimpleNamespace(q_scan=np.zeros((FREQUENCIES, 2))),
    )


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("seen_in", "found_A", "doubted"), [(1.0, 20.0, False), (0.9, 20.0, False), (0.57, 20.0, True), (0.1, 0.0, False)]
)
def test_astigmatism_that_not_most_frequencies_ask_for_is_doubted_or_none(sparse, seen_in, found_A, doubted):
    search = Search(largest_defocus_A=300.0, defocus_step_A=30.0, rotation_deg=0.0)
    grid = Grid(starts=[np.array([90.0, 0.0, 0.0, 0.0])], best=1.0, runner_up=0.5)
    fit = fit_aberrations(astigmatic_criteria(seen_in=seen_in), search, grid, sparse=sparse)
    assert fit.aberrations["C12a"] == pytest.approx(found_A, abs=1.0)
    assert fit.aberrations["C10"] == pytest.approx(100.0, abs=3.0)
    found_A = np.hypot(fit.aberrations["C12a"], fit.aberrations["C12b"])
    assert fit.uncertainties_A == (dict.fromkeys(("C12a", "C12b"), pytest.approx(found_A)) if doubted else {})
