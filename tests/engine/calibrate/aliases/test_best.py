"""Fits among aliases of finer structure are accepted where they leave less of most frequencies unexplained."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptylive.engine.calibrate.aberrations import AberrationFit
from ptylive.engine.calibrate.aliases import best
from ptylive.engine.calibrate.aliases.best import fit_among_aliases
from ptylive.engine.calibrate.criteria import lead
from ptylive.engine.calibrate.scan import _Work
from ptylive.schema import Origin, Quantity
from ptylive.schema.model import DoubleArray

N = 24
SEEN, FINER, MIRRORED = 100.0, 200.0, 300.0
"""C10 of the fit to the scan as it is seen, and of the fits among aliases of either handedness."""


class Scan:
    """Stands for criteria: energy (N,), of 1 per frequency, that is left unexplained at each C10."""

    def __init__(self, left: dict[float, DoubleArray], other: Scan | None = None) -> None:
        self._left, self._other = left, other or self
        self.modulation = SimpleNamespace(q_scan=np.zeros((N, 2)))

    def unexplained(self, parameters: DoubleArray) -> DoubleArray:
        return self._left[float(parameters[0])]

    def evenly_explained(self, parameters: DoubleArray) -> float:
        return -float(np.log(self.unexplained(parameters)).sum())

    def transposed(self) -> Scan:
        return self._other


def fit_of(c10_A: float, explained: float = 0.8) -> AberrationFit:
    return AberrationFit({"C10": c10_A, "C12a": 0.0, "C12b": 0.0}, 0.0, 1.0, 1.0, explained, 0.0)


def found(monkeypatch: pytest.MonkeyPatch, left: DoubleArray, mirrored: DoubleArray | None = None) -> Any:
    """The result where the scan as it is seen leaves half of each frequency unexplained, and its aliases ``left``."""
    other = None if mirrored is None else Scan({MIRRORED: mirrored})
    scan = Scan({SEEN: np.full(N, 0.5), FINER: left}, other)

    def climbed(criteria: Any, _search: Any, least: float) -> tuple[AberrationFit, float] | None:
        fit = fit_of(FINER if criteria is scan else MIRRORED)
        height = criteria.evenly_explained(fit.low)
        return (fit, height) if height > least else None

    monkeypatch.setattr(best, "fit_aliased", climbed)
    any_scan: Any = scan
    return fit_among_aliases(any_scan, None, fit_of(SEEN), mirrored=mirrored is not None)  # type: ignore[arg-type]


def test_most_frequencies_better_explained_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    among = found(monkeypatch, np.full(N, 0.3))
    assert among.fit.aberrations["C10"] == FINER
    assert (among.mirrored, among.sure_of_hand) == (False, None)


def test_a_few_bright_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.full(N, 0.52)
    left[:4] = 1e-3  # as if four frequencies decided
    assert found(monkeypatch, left) is None


def test_a_gain_that_more_parameters_bring_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 24 frequencies, the extra parameters alone explain a 24th of what is explained."""
    assert found(monkeypatch, np.full(N, 0.5 ** (1 + 0.9 / N))) is None
    assert found(monkeypatch, np.full(N, 0.5 ** (1 + 1.1 / N))) is not None


@pytest.mark.parametrize(("own", "other", "mirrored", "sure"), [(0.2, 0.4, False, True), (0.4, 0.2, True, True)])
def test_the_handedness_that_explains_more_is_taken(
    monkeypatch: pytest.MonkeyPatch, own: float, other: float, mirrored: bool, sure: bool
) -> None:
    among = found(monkeypatch, np.full(N, own), np.full(N, other))
    assert (among.mirrored, among.sure_of_hand) == (mirrored, sure)
    assert among.fit.aberrations["C10"] == (MIRRORED if mirrored else FINER)


def test_of_hands_that_explain_as_much_none_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.where(np.arange(N) % 2, 0.1, 0.3)
    assert found(monkeypatch, left, np.roll(left, 1)).sure_of_hand is False


def test_a_hand_that_explains_less_than_what_is_seen_is_no_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, np.full(N, 0.3), np.full(N, 0.9)).sure_of_hand is True


def test_deviations_of_signed_ranks() -> None:
    even = np.array([0.5, 2.0] * 12)  # above as often as below, by the same factor
    assert lead(np.ones(N), even) == pytest.approx(0.0, abs=1e-12)
    assert lead(np.ones(N), np.full(N, 2.0)) == pytest.approx(N * (N + 1) / 2 / math.sqrt(N * (N + 1) * 49 / 6))
    assert lead(np.full(N, 2.0), np.ones(N)) == -lead(np.ones(N), np.full(N, 2.0))
    bright = np.ones(N)
    bright[0] = 1e6
    assert lead(np.ones(N), bright) < 1.0
    drawn = np.exp(np.random.default_rng(0).normal(size=(4000, N)))
    # the standard deviation of 4000 numbers has a standard error of 1 / sqrt(8000); five of these are allowed
    assert np.std([lead(np.ones(N), one) for one in drawn]) == pytest.approx(1.0, abs=5 / math.sqrt(8000))


@pytest.mark.parametrize(("visited", "explained", "asked"), [(0.5, 0.8, False), (0.5, 0.2, True), (1.0, 0.8, True)])
def test_what_explains_much_is_asked_at_the_end_only(
    monkeypatch: pytest.MonkeyPatch, visited: float, explained: float, asked: bool
) -> None:
    store: Any = SimpleNamespace(visited=np.arange(100).reshape(10, 10) < 100 * visited)
    monkeypatch.setattr("ptylive.engine.calibrate.scan.fit_among_aliases", lambda *_args, **_words: None)
    calls: list[bool] = []
    criteria: Any = SimpleNamespace(with_aliases=lambda: calls.append(True) or SimpleNamespace())
    work = _Work({"detector_transform": Quantity("none", Origin.GIVEN)}, store)
    fit, search = fit_of(SEEN, explained), None
    assert work._among_aliases(criteria, search, fit, None) == (criteria, fit)  # type: ignore[arg-type]
    assert bool(calls) == asked
