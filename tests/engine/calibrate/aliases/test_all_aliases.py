"""Optics and handedness of undersampled scans from all aliases together, and when they replace the present fit."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.aberrations import AberrationFit, Search
from ptylive.engine.calibrate.aliases import all_aliases
from ptylive.engine.calibrate.aliases.all_aliases import (
    CurrentFit,
    HandednessFit,
    UndersampledScan,
    judged,
    summits,
    verdict_on,
)
from ptylive.engine.calibrate.criteria import Criteria
from ptylive.schema.model import DoubleArray
from tests.engine.calibrate.aliases.test_joint import TRUE, seen

N = 24
WRONG = AberrationFit({"C10": 260.0, "C12a": 40.0, "C12b": 0.0}, 120.0, 5.0, 1.0, 0.05, 0.9)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search over fewer candidates."""
    monkeypatch.setattr(all_aliases, "FEW", 8)
    monkeypatch.setattr(all_aliases, "SUMMITS", 12)
    monkeypatch.setattr(all_aliases, "POLISHED", 1)
    monkeypatch.setattr(all_aliases, "CLIMBED", 1)


def near(criteria: Criteria) -> Search:
    """A search over both signs of the defocus."""
    return replace(Search.of(criteria, None), largest_defocus_A=300.0, defocus_step_A=50.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("transposed", quick_first([True, False]))
def test_defocus_rotation_and_handedness_are_found(transposed: bool) -> None:
    criteria = seen(5, transposed=transposed)
    problem = UndersampledScan(criteria, near(criteria), {False: None, True: None})
    present = CurrentFit(WRONG, mirrored=not transposed, believed=True, hand_is_sure=True)
    verdict = verdict_on(problem, present)
    assert verdict is not None
    assert (verdict.better, verdict.hand_is_sure, verdict.best.mirrored) == (True, True, transposed)
    c10_A, _, _, rotation = verdict.best.fit.low
    half_turn = -1.0 if c10_A > 0 else 1.0  # the half turn is not determined
    assert half_turn * c10_A == pytest.approx(TRUE[0], abs=5.0)
    assert half_turn * math.cos(rotation - TRUE[3]) > math.cos(math.radians(1.0))


@pytest.mark.usefixtures("quick")
def test_noise_says_nothing() -> None:
    criteria = seen(6, noise=60.0)
    problem = UndersampledScan(criteria, near(criteria), {False: None})
    assert verdict_on(problem, CurrentFit(WRONG, mirrored=False, believed=True, hand_is_sure=True)) is None


def test_the_rotation_of_the_centre_of_mass_is_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    criteria = seen(5)
    asked: list[DoubleArray] = []

    def watched(_criterion: Any, _search: Any, starts: list[DoubleArray]) -> DoubleArray:
        asked.extend(starts)
        return starts[0]

    monkeypatch.setattr(all_aliases, "plain_summit", watched)
    monkeypatch.setattr(all_aliases, "fit_from", lambda *_rest: (WRONG, 0.0))
    monkeypatch.setattr(all_aliases, "POLISHED", 0)
    monkeypatch.setattr(all_aliases, "SUMMITS", 1)
    problem = UndersampledScan(criteria, near(criteria), {False: 25.0})
    assert verdict_on(problem, CurrentFit(WRONG, mirrored=False, believed=True, hand_is_sure=True)) is None
    assert asked[0] == pytest.approx([-150.0, 0.0, 0.0, math.radians(25.0)])


class Optics:
    """Stands for criteria of one handedness: the share of each frequency that a fit leaves unexplained."""

    def __init__(self, left: DoubleArray) -> None:
        self._left = left
        self.modulation = SimpleNamespace(q_scan=np.zeros((N, 2)))

    def unexplained(self, _parameters: DoubleArray) -> DoubleArray:
        return self._left

    def evenly_explained(self, _parameters: DoubleArray) -> float:
        return -float(np.log(self._left).sum())


def leaving(left: DoubleArray | float, *, mirrored: bool = False) -> HandednessFit:
    optics: Any = Optics(np.broadcast_to(left, N))
    return HandednessFit(WRONG, optics, mirrored)


def ahead(deviations: float) -> DoubleArray:
    """Unexplained shares over which 0.5 leads by the given number of standard deviations of signed ranks."""
    spread = math.sqrt(N * (N + 1) * (2 * N + 1) / 6)
    left, ranks = np.empty(N), 0.0
    for rank in range(N, 0, -1):  # the largest differences first
        sign = 1 if ranks < deviations * spread else -1
        ranks += sign * rank
        left[rank - 1] = 0.5 * math.exp(sign * 0.01 * rank)
    return left


def believed(*, mirrored: bool = False, hand_is_sure: bool = True) -> CurrentFit:
    return CurrentFit(WRONG, mirrored, believed=True, hand_is_sure=hand_is_sure)


BEHIND = leaving(0.9, mirrored=True)


@pytest.mark.parametrize(("deviations", "better"), [(3.5, False), (4.1, True)])
def test_a_believed_fit_of_the_same_handedness_is_overruled_beyond_doubt_only(deviations: float, better: bool) -> None:
    assert judged(leaving(0.5), BEHIND, leaving(ahead(deviations)), believed()).better == better


def test_and_by_more_than_parameters_bring() -> None:
    """With 24 frequencies, the extra parameters alone explain a 24th of what is explained."""
    assert not judged(leaving(0.5 ** (1 + 0.9 / N)), BEHIND, leaving(0.5), believed()).better
    assert judged(leaving(0.5 ** (1 + 1.1 / N)), BEHIND, leaving(0.5), believed()).better


@pytest.mark.parametrize(("told", "better"), [(True, False), (False, True)])
def test_of_a_handedness_that_was_not_told_two_deviations_are_enough(told: bool, better: bool) -> None:
    own = leaving(ahead(2.5))
    assert judged(leaving(0.5), BEHIND, own, believed(hand_is_sure=told)).better == better


@pytest.mark.parametrize(("rival", "better"), [(1.5, False), (2.5, True)])
def test_another_handedness_has_to_be_ahead_of_all_fits_of_the_present_one(rival: float, better: bool) -> None:
    own = leaving(ahead(2.5))
    verdict = judged(leaving(0.5, mirrored=True), leaving(ahead(rival)), own, believed())
    assert verdict.better == better
    assert verdict.hand_is_sure == better


def test_what_is_not_believed_is_replaced() -> None:
    own = leaving(0.5)
    assert not judged(leaving(0.5), BEHIND, own, believed()).better
    assert judged(
        leaving(0.5), BEHIND, own, CurrentFit(WRONG, mirrored=False, believed=False, hand_is_sure=True)
    ).better


@pytest.mark.parametrize(("rival", "told"), [(0.5, False), (1.5, None), (3.5, True)])
def test_a_handedness_that_is_hardly_ahead_is_in_doubt(rival: float, told: bool | None) -> None:
    verdict = judged(leaving(0.5), leaving(ahead(rival), mirrored=True), leaving(0.5), believed())
    assert (verdict.better, verdict.hand_is_sure) == (False, told)


def test_what_the_aligned_bright_field_told_is_not_doubted_while_it_is_ahead() -> None:
    """It was right for two graphene scans that all aliases together leave open: 0.9 and -0.4 deviations."""
    present = replace(believed(), aligned=True)
    rival = leaving(ahead(0.5), mirrored=True)
    assert judged(leaving(0.5), rival, leaving(0.5), present).hand_is_sure is None
    ahead_of_it = judged(leaving(0.5, mirrored=True), leaving(ahead(0.5)), leaving(ahead(1.0)), present)
    assert (ahead_of_it.better, ahead_of_it.hand_is_sure) == (False, False)


@pytest.mark.parametrize(("deviations", "hands"), [(3.5, [False, True]), (4.1, [False])], ids=["near", "far behind"])
def test_astigmatism_is_looked_for_where_a_handedness_is_within_reach(
    monkeypatch: pytest.MonkeyPatch, deviations: float, hands: list[bool]
) -> None:
    """The result does not depend on which handedness comes first."""
    monkeypatch.setattr(all_aliases, "fit_from", lambda *_rest: (WRONG, 0.0))
    monkeypatch.setattr(all_aliases, "_by_few_frequencies", lambda _joint: None)
    search: Any = None
    for best in (False, True):
        plain: Any = {
            hand: (Optics(np.full(N, 0.5) if hand == best else ahead(deviations)), TRUE) for hand in (False, True)
        }
        found = all_aliases._fits(plain, search)
        assert sorted(hand != best for hand in found) == hands
        assert all(one.mirrored == hand and one.criteria is plain[hand][0] for hand, one in found.items())


def test_summits_are_found_over_the_end_of_half_a_turn() -> None:
    """The defocus reverses there, so that one summit is seen from both sides."""
    values = np.zeros((6, 7))
    values[0, 1], values[5, 5], values[3, 3] = 3.0, 2.9, 1.0
    found = summits(values, wraps=True)
    assert [where for where in found if values[where] > 0] == [(0, 1), (3, 3)]
    assert (5, 5) in summits(values, wraps=False)
    values[5, 5], values[5, 1] = 0.0, 2.9
    assert (5, 1) in summits(values, wraps=True)
    assert (5, 1) not in summits(values, wraps=False)


def test_at_a_known_rotation_summits_are_those_along_the_defocus() -> None:
    values = np.array([[0.0, 2.0, 0.0, 1.0, 0.5]])
    assert summits(values, wraps=True) == [(0, 1), (0, 3)]
