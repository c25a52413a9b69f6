"""What the data reveal on their own, whatever values were given."""

from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan, batches

from ptylive.engine.calibrate import independent
from ptylive.engine.calibrate.independent import (
    contradicts_half_turn,
    half_turn_given_by,
    independent_defocus,
    orientations,
    with_transposition,
)
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.detector import undo_transform
from ptylive.schema.maps import TOO_THICK


def reconstructed(scan: WeakPhaseScan, patterns: np.ndarray, maps: Iterable[str] = ("bf",)) -> LiveEngine:
    return reconstruct(scan.header(), lambda: batches(patterns.astype(np.float32)), tuple(maps))[0]


def wrong_about(engine: LiveEngine, **given: object) -> Calibration:
    assert engine.calibration is not None
    return engine.calibration.having(**{name: Quantity(value, Origin.GIVEN) for name, value in given.items()})


@pytest.mark.parametrize(
    ("done", "rotation_deg", "said"),
    quick_first(
        [
            ("none", -127.0, "transpose"),
            ("transpose", 30.0, "none"),
            ("flip_cols", 180.0, "transpose+flip_rows"),
            ("none", 0.0, "none"),
            ("none", 90.0, "none"),
            ("flip_rows", 0.0, "none"),
        ],
        3,
    ),
)
def test_the_first_of_eight_orientations_is_the_one_that_the_data_have(
    done: str, rotation_deg: float, said: str
) -> None:
    """Patterns of a scan with rotation 0 are transformed afterwards; the calibration says something else."""
    scan = WeakPhaseScan.make({}, n=16, strength=0.1)
    recorded = np.array(undo_transform(scan.patterns, done))  # each of these transforms is its own inverse
    engine = reconstructed(scan, recorded)
    assert engine.store is not None
    found = orientations(wrong_about(engine, rotation_deg=rotation_deg, detector_transform=said), engine.store)
    assert len(found) == 8
    assert len({(one.transform, round(one.rotation_deg / 90)) for one in found}) == 8
    assert sum(one.in_use for one in found) == 1
    best = found[0]
    assert best.curl < 0.1 < 0.9 < found[-1].curl
    right = orientations(wrong_about(engine, rotation_deg=0.0, detector_transform=done), engine.store)[0]
    assert right.in_use
    assert abs(right.rotation_deg) < 5
    assert np.corrcoef(best.phase.ravel(), right.phase.ravel())[0, 1] > 0.99, "the same picture, however it is called"
    assert np.corrcoef(best.phase.ravel(), scan.phase.ravel())[0, 1] > 0.8


def test_a_scan_that_is_too_small_has_no_orientations() -> None:
    engine = reconstructed(scan := WeakPhaseScan.make({}, n=6, strength=0.1), scan.patterns)
    assert engine.store is not None
    assert engine.calibration is not None
    assert orientations(engine.calibration, engine.store) == []


@pytest.mark.parametrize("claimed", quick_first([300.0, -60.0]))
def test_a_defocus_that_was_given_is_measured_all_the_same(claimed: float) -> None:
    scan = WeakPhaseScan.make({"C10": -60.0}, n=32, strength=0.1)
    engine = reconstructed(scan, scan.patterns)
    assert engine.store is not None
    found = independent_defocus(wrong_about(engine, C10=claimed), engine.store)
    assert found is not None
    assert found.uncertainty is not None
    assert abs(found.value + 60.0) < max(3 * found.uncertainty, 10.0), "Å; a tenth of a depth of focus"


def test_transposing_twice_changes_nothing() -> None:
    for words in ("none", "transpose", "flip_rows", "transpose+flip_cols"):
        assert with_transposition(with_transposition(words)) == words


@pytest.fixture(scope="module")
def overfocused() -> LiveEngine:
    """Atoms at random, seen 120 Å out of focus, with a dark field of their own."""
    scan = WeakPhaseScan.make({"C10": 120.0}, n=32, strength=0.3)
    return reconstructed(scan, scan.patterns)


def lit(engine: LiveEngine, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The engine's store, with a dark field that is bright at its atoms."""
    assert engine.store is not None
    phase = WeakPhaseScan.make({"C10": 120.0}, n=32, strength=0.3).phase
    monkeypatch.setattr(independent, "_dark_field", lambda _: phase)
    return engine.store


def test_a_given_defocus_of_the_other_sign_is_contradicted(overfocused, monkeypatch) -> None:
    """Regression: with the wrong sign of the defocus every map had dark atoms, without a word."""
    store = lit(overfocused, monkeypatch)
    right, wrong = (wrong_about(overfocused, C10=sign * 120.0, rotation_deg=turn) for sign, turn in ((1, 0), (-1, 180)))
    assert not contradicts_half_turn(right, store, ())
    assert contradicts_half_turn(wrong, store, ())
    c10, turn = Quantity(-120.0, Origin.ESTIMATED), Quantity(180.0, Origin.ESTIMATED)
    assert contradicts_half_turn(wrong.having(C10=c10), store, ()), "the rotation was stated"
    assert contradicts_half_turn(wrong.having(rotation_deg=turn), store, ()), "the defocus was stated"
    assert not contradicts_half_turn(wrong.having(C10=c10, rotation_deg=turn), store, ()), "nothing was stated"


def test_a_given_focus_determines_no_half_turn(overfocused) -> None:
    given = wrong_about(overfocused, C10=0.0).having(rotation_deg=Quantity(0.0, Origin.ESTIMATED))
    assert half_turn_given_by(given) == ()
    assert half_turn_given_by(given.having(C10=Quantity(5.0, Origin.GIVEN))) == ("C10",)
    assert half_turn_given_by(wrong_about(overfocused, C10=5.0, rotation_deg=3.0)) == ("C10", "rotation_deg")


def test_a_scan_whose_spectra_would_take_much_memory_contradicts_nothing(overfocused, monkeypatch) -> None:
    store, wrong = lit(overfocused, monkeypatch), wrong_about(overfocused, C10=-120.0, rotation_deg=180.0)
    monkeypatch.setattr(independent, "MOST_COEFFICIENTS", store.bins.size - 1)
    assert not contradicts_half_turn(wrong, store, ())


def test_a_thick_specimen_or_an_incomplete_one_contradicts_nothing(overfocused, monkeypatch) -> None:
    store, wrong = lit(overfocused, monkeypatch), wrong_about(overfocused, C10=-120.0, rotation_deg=180.0)
    thick = SimpleNamespace(caveat=f"{TOO_THICK}: ...")
    assert not contradicts_half_turn(wrong, store, (thick,))  # type: ignore[arg-type]
    without = Calibration({name: one for name, one in wrong.entries.items() if name != "convergence_semiangle_mrad"})
    assert not contradicts_half_turn(without, store, ())
    monkeypatch.setattr(independent, "MOST_OF_IT", 1.1)
    assert not contradicts_half_turn(wrong, store, ())
