"""Share of the bright field's variation explained by a phase: all for a weak specimen, little for a strong one."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.strength import linearity
from ptylive.engine.imaging.strength.linearity import KeptStrength, explained_share, strength_of
from ptylive.engine.live.engine import reconstruct
from ptylive.schema import Calibration
from ptylive.schema.maps import Strength
from ptylive.schema.metadata import overlay

PLENTY = 1e5
"""Electrons in a bright pixel of noise-free patterns."""


def seen(strength: float, counts: float = 0.0, **given: object) -> tuple[Store, Calibration]:
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=strength)
    patterns = (counts or PLENTY) * scan.patterns / scan.patterns.mean(axis=0).max()
    if counts:
        patterns = np.random.default_rng(3).poisson(patterns)
    known = {"C10": -60.0, "C12a": 0.0, "C12b": 0.0, "rotation_deg": 0.0, **given}
    header = overlay(scan.header(lies_still=True), known)
    engine, _ = reconstruct(header, lambda: batches(patterns.astype(np.float32)), ["bf"])
    assert engine.store is not None and engine.calibration is not None
    return engine.store, engine.calibration


def share(strength: float, counts: float = 0.0) -> float:
    found = explained_share(*seen(strength, counts))
    assert found is not None
    return found


def test_less_is_explained_of_a_stronger_specimen() -> None:
    weak, middle, strong = (share(strength) for strength in (0.02, 0.5, 1.5))
    assert 0.85 < weak < 1.05, "the taper mixes frequencies a little"
    assert weak > middle > strong


def test_noise_has_no_part_in_it() -> None:
    """At 40 electrons in a bright pixel a third of the power is noise, hardly any of which a phase explains."""
    assert share(0.3, counts=40.0) == pytest.approx(share(0.3), abs=0.1)


def test_what_cannot_be_told_is_none() -> None:
    store, calibration = seen(0.3)
    coarse = calibration.having(scan_step_A=replace(calibration.entries["scan_step_A"], value=(3.0, 3.0)))
    assert explained_share(store, coarse) is None, "frequencies are aliases of others"
    assert explained_share(*seen(0.002, counts=3.0)) is None, "nothing but noise"


def test_the_question_is_asked_where_it_matters() -> None:
    assert strength_of(*seen(0.05)).explained is None
    assert strength_of(*seen(1.5)).explained is not None


def test_it_is_computed_once_for_the_same_frames_and_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Calibration] = []

    def counted(store: Store, calibration: Calibration) -> Strength:
        asked.append(calibration)
        return strength_of(store, calibration)

    monkeypatch.setattr(linearity, "strength_of", counted)
    store, calibration = seen(1.5)
    kept = KeptStrength()
    assert kept.of(store, calibration) == kept.of(store, calibration) == strength_of(store, calibration)
    assert len(asked) == 1
    other = calibration.having()
    kept.of(store, other)
    assert len(asked) == 2, "another calibration explains another share"
    store.total_frames += 1
    kept.of(store, other)
    kept.of(store, other)
    assert len(asked) == 3, "more frames tell more"


def test_the_linear_maps_of_a_scan_that_has_ended_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Store] = []

    def counted(store: Store, calibration: Calibration) -> Strength:
        asked.append(store)
        return Strength(0.7)

    monkeypatch.setattr(linearity, "strength_of", counted)
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.5)
    header = overlay(scan.header(lies_still=True), {"C10": -60.0, "C12a": 0.0, "C12b": 0.0, "rotation_deg": 0.0})
    patterns = (PLENTY * scan.patterns / scan.patterns.mean(axis=0).max()).astype(np.float32)
    made = reconstruct(header, lambda: batches(patterns), ["obf", "ssb"])[1]
    told = [one.name for one in made.maps if one.modulation is not None]
    assert {"obf", "ssb"} <= set(told)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("strength", "strong"),
    [
        (Strength(), False),
        (Strength(0.3, 0.1), False),
        (Strength(0.5, 0.2), True),
        (Strength(0.5, 0.5), False),
        (Strength(0.7, 0.5), False),
        (Strength(0.5), False),
        (Strength(0.6), True),
    ],
)
def test_both_numbers_decide(strength: Strength, strong: bool) -> None:
    assert strength.is_strong is strong
