"""Which rotation and handedness a calibration adopts from centre of mass, bright field and aliases."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from ptylive.engine.calibrate import scan
from ptylive.engine.calibrate.aberrations import AberrationFit
from ptylive.engine.calibrate.aliases.all_aliases import AliasVerdict, CurrentFit, UndersampledScan
from ptylive.engine.calibrate.rotation import RotationFit, fit_rotation, spread_deg
from ptylive.engine.calibrate.scan import _Work
from ptylive.engine.calibrate.sign import Agreement
from ptylive.schema import Calibration, Origin, Quantity

TRUSTED = RotationFit(102.0, transposed=False, curl=0.09, curl_other=0.42, sign=Agreement(0.4), other_deg=-171.0)
DOUBTFUL = RotationFit(-128.0, transposed=False, curl=0.33, curl_other=0.41, sign=Agreement(0.1), other_deg=-93.0)


def fit_of(rotation_deg: float, explained: float = 0.8) -> AberrationFit:
    return AberrationFit({"C10": -80.0, "C12a": 0.0, "C12b": 0.0}, rotation_deg, 1.0, 1.0, explained, 0.0)


def work(word: str | None = "none", origin: Origin = Origin.ESTIMATED, visited: float = 1.0) -> _Work:
    store: Any = SimpleNamespace(visited=np.arange(100).reshape(10, 10) < 100 * visited)
    entries = {} if word is None else {"detector_transform": Quantity(word, origin)}
    return _Work({**entries, "rotation_deg": Quantity(102.0, Origin.ESTIMATED, 0.8)}, store)


class Optics:
    """Stands for criteria that are certain of whatever they explain."""

    modulation, has_aliases, above_chance = SimpleNamespace(peaked=False), False, 1.5

    def over_chance(self, share: float) -> float:
        return 100 * share


def as_it_is(_criteria: Any, _search: Any, fit: AberrationFit, _angle_deg: float | None) -> AberrationFit:
    """Stands for a curl that confirms no other angle."""
    return fit


def adopted(
    monkeypatch: pytest.MonkeyPatch, by_bright_field_deg: float, curl: RotationFit, confirmed: Any = as_it_is
) -> AberrationFit:
    """The fit that a calibration adopts where the bright field prefers the given angle."""

    def fitted(_criteria: Any, search: scan.Search, _grid: Any, *, sparse: bool) -> AberrationFit:
        return fit_of(by_bright_field_deg if search.rotation_deg is None else search.rotation_deg)

    taken: list[AberrationFit] = []
    monkeypatch.setattr(scan, "fit_aberrations", fitted)
    monkeypatch.setattr(scan, "verdict_on", lambda *_asked: None)
    monkeypatch.setattr(scan, "confirmed_by_curl", confirmed)
    monkeypatch.setattr(scan.Grid, "of", lambda *_asked: None)
    one = work()
    monkeypatch.setattr(one, "_adopt", lambda fit, *_rest: taken.append(fit))
    monkeypatch.setattr(one, "_handed", lambda criteria, grid, _search: (criteria, grid))
    search = scan.Search(100.0, 10.0, None, c12_A=(0.0, 0.0))
    optics: Any = Optics()
    one._search_defocus(optics, search, curl, sparse=True)
    return taken[0]


def test_a_rotation_that_contradicts_a_trusted_centre_of_mass_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 241 Å of SrTiO₃ the bright field preferred 45.8°; the true angle is 101.7°."""
    fit = adopted(monkeypatch, 45.8, TRUSTED)
    assert (fit.rotation_deg, fit.rotation_uncertainty_deg) == (102.0, 0.8)


@pytest.mark.parametrize("angle_deg", [93.0, 110.0, -80.0])
def test_one_that_agrees_is_the_finer_one_be_it_half_a_turn_aside(
    monkeypatch: pytest.MonkeyPatch, angle_deg: float
) -> None:
    assert adopted(monkeypatch, angle_deg, TRUSTED).rotation_deg == angle_deg


def test_nothing_contradicts_a_centre_of_mass_that_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adopted(monkeypatch, 0.6, DOUBTFUL).rotation_deg == 0.6


def test_the_angle_of_the_curl_of_the_same_handedness_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirmed(_criteria: Any, _search: Any, fit: AberrationFit, angle_deg: float | None) -> AberrationFit:
        assert fit.rotation_deg == 0.6 and angle_deg is not None
        return fit_of(angle_deg)

    assert adopted(monkeypatch, 0.6, DOUBTFUL, confirmed).rotation_deg == -128.0
    asked: Any = SimpleNamespace()
    problem = UndersampledScan(asked, asked, DOUBTFUL.angles_deg, "transpose", DOUBTFUL)
    assert (problem.angle_deg("transpose"), problem.angle_deg("none")) == (-128.0, -93.0)


def test_the_handedness_of_a_trusted_centre_of_mass_is_not_asked_again() -> None:
    criteria: Any = Optics()
    search = scan.Search(100.0, 10.0, None)
    assert work()._search_problem(criteria, search, TRUSTED).angles_deg == {False: 102.0}
    assert work()._search_problem(criteria, search, DOUBTFUL).angles_deg == {False: -128.0, True: -93.0}
    given = work(origin=Origin.GIVEN)
    assert given._search_problem(criteria, search, DOUBTFUL).angles_deg == {False: -128.0}
    assert given._search_problem(criteria, search, None).angles_deg == {False: None}


def told(
    monkeypatch: pytest.MonkeyPatch,
    one: _Work,
    base: str,
    *,
    mirrored: bool,
    better: bool,
    hand_is_sure: bool | None,
    curl: RotationFit | None = None,
    explained: float = 0.8,
) -> tuple[AberrationFit, str, Origin, CurrentFit | None]:
    """State after a verdict: fit, handedness and its origin, and the present fit that was passed to the verdict."""
    asked: list[CurrentFit] = []

    def verdict(_search_problem: Any, present: CurrentFit) -> AliasVerdict:
        asked.append(present)
        best: Any = SimpleNamespace(fit=fit_of(10.0), criteria=Optics(), mirrored=mirrored)
        return AliasVerdict(best, better, hand_is_sure)

    monkeypatch.setattr(scan, "verdict_on", verdict)
    optics: Any = Optics()
    problem = UndersampledScan(optics, scan.Search(100.0, 10.0, None), {False: None, True: None}, base, curl)
    _, fit = one._by_all_aliases(problem, (optics, fit_of(99.0, explained)))
    transform = one.entries["detector_transform"]
    return fit, str(transform.value), transform.origin, asked[0] if asked else None


@pytest.mark.parametrize(("base", "mirrored"), [("none", False), ("none", True), ("transpose", True)])
def test_a_better_fit_brings_its_handedness(monkeypatch: pytest.MonkeyPatch, base: str, mirrored: bool) -> None:
    fit, word, origin, _ = told(monkeypatch, work("none"), base, mirrored=mirrored, better=True, hand_is_sure=True)
    assert fit.rotation_deg == 10.0
    assert (word == "transpose") == (mirrored != (base == "transpose"))
    assert origin is Origin.ESTIMATED


def test_a_handedness_in_doubt_stays_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, word, origin, _ = told(monkeypatch, work("none"), "none", mirrored=True, better=False, hand_is_sure=False)
    assert (fit.rotation_deg, word, origin) == (99.0, "none", Origin.UNDECIDED)


def test_without_an_answer_all_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    one = work("transpose", Origin.UNDECIDED)
    fit, word, origin, asked = told(monkeypatch, one, "none", mirrored=True, better=False, hand_is_sure=None)
    assert (fit.rotation_deg, word, origin) == (99.0, "transpose", Origin.UNDECIDED)
    assert asked is not None
    assert (asked.mirrored, asked.believed, asked.hand_is_sure) == (True, True, False)


@pytest.mark.parametrize(
    ("power", "word", "told"),
    [((3.0, 1.0), "none", "none"), ((1.0, 3.0), "transpose", "transpose"), ((1.4, 1.0), "none", "")],
)
def test_what_aligned_the_bright_field_is_told(
    monkeypatch: pytest.MonkeyPatch, power: tuple[float, float], word: str, told: str
) -> None:
    grids = [SimpleNamespace(best=best) for best in power]
    monkeypatch.setattr(scan.Grid, "of", lambda *_asked: grids[1])
    one, criteria = work(None), SimpleNamespace(transposed=lambda: "mirrored")
    given: Any = (criteria, grids[0], scan.Search(100.0, 10.0, None))
    one._handed(*given)
    assert (one.entries["detector_transform"].value, one.aligned) == (word, told)


@pytest.mark.parametrize(("aligned", "as_well"), [("transpose", True), ("none", False), ("", False)])
def test_whether_the_bright_field_is_aligned_best_so_is_said(
    monkeypatch: pytest.MonkeyPatch, aligned: str, as_well: bool
) -> None:
    one = work("transpose")
    one.aligned = aligned
    *_, asked = told(monkeypatch, one, "none", mirrored=True, better=False, hand_is_sure=None)
    assert asked is not None
    assert asked.aligned == as_well


def test_all_aliases_are_asked_at_the_end_of_a_scan_only(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, asked = told(monkeypatch, work(visited=0.5), "none", mirrored=True, better=True, hand_is_sure=True)
    assert asked is None


@pytest.mark.parametrize(
    ("curl", "explained", "is_asked"),
    [
        (TRUSTED, 0.8, False),
        (TRUSTED, 0.02, True),
        (replace(DOUBTFUL, rotation_deg=102.0), 0.8, True),
        (replace(TRUSTED, rotation_deg=50), 0.8, True),
    ],
    ids=["agreed", "not believed", "centre of mass not trusted", "contradicted"],
)
def test_a_fit_that_the_centre_of_mass_confirms_is_not_asked_about(
    monkeypatch: pytest.MonkeyPatch, curl: RotationFit, explained: float, is_asked: bool
) -> None:
    *_, asked = told(
        monkeypatch, work(), "none", mirrored=False, better=True, hand_is_sure=True, curl=curl, explained=explained
    )
    assert (asked is not None) == is_asked


def test_the_angle_of_the_other_handedness_is_kept() -> None:
    com = np.random.default_rng(0).normal(size=(2, 12, 12))
    dark, visited = np.ones((12, 12)), np.ones((12, 12), bool)
    one, other = (fit_rotation(com, dark, visited, (1.0, 1.0), 9.0, transposed=t) for t in (False, True))
    assert one.other_deg == pytest.approx(other.rotation_deg % 180)
    assert one.angles_deg == {False: one.rotation_deg, True: one.other_deg}
    assert one.curl_other == pytest.approx(other.curl)


def test_halves_of_a_scan_that_disagree_spread() -> None:
    visited = np.ones((10, 4), bool)
    seen: list[int] = []

    def fitted(half: Any) -> RotationFit:
        seen.append(int(half.sum()))
        return RotationFit(175.0 if half[0, 0] else -1.0, transposed=False, curl=0.1, curl_other=0.4, sign=Agreement(0))

    assert spread_deg(fitted, visited) == pytest.approx(2.0)  # half a turn apart is the same line
    assert seen == [20, 20]
    assert spread_deg(fitted, visited[:7]) is None


def test_small_matrices_are_multiplied_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, threads that wait for each other made a calibration of 15 s last more than 500 s."""
    counts = []

    def count(_work: _Work) -> None:
        counts.extend(library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info())
        raise ZeroDivisionError

    monkeypatch.setattr(_Work, "from_moments", count)
    with ThreadpoolController().limit(limits=2, user_api="blas"), pytest.raises(ZeroDivisionError):
        scan.calibrate_scan(Calibration(), work().store)
    assert set(counts) == {1}
