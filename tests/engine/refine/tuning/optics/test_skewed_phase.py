"""The half turn of a single slice, settled by requiring atoms to be peaks of the phase."""

import math
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.sign import Skewness
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.half_turn import half_turned
from ptylive.engine.refine.tuning.optics import skewed_phase
from ptylive.engine.refine.tuning.optics.skewed_phase import (
    BEYOND_CHANCE,
    BEYOND_DOUBT,
    combined,
    with_atoms_as_peaks,
)
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
PRESET = Preset.from_mapping({"window_px": 32})
SIZE = 64


def blind(dataset: Dataset, **entries: Quantity) -> Dataset:
    names = ("rotation_deg", "C10")
    found = {name: replace(dataset.calibration.entries[name], origin=Origin.ESTIMATED) for name in names}
    return replace(dataset, calibration=dataset.calibration.having(**found | entries))


@pytest.fixture(scope="module")
def still(drifted) -> Dataset:
    """Gaussian atoms under 60 Å of underfocus, at 80 kV and 25 mrad: resolved below 0.84 Å."""
    return blind(drifted((0.0, 0.0), 4))


@pytest.fixture(scope="module")
def phases() -> dict:
    """Phases that trials have shown, by what they depend on here."""
    return {}


@pytest.fixture(autouse=True)
def each_trial_once(monkeypatch, phases) -> None:
    """Most tests make the same trial, and prescribe what is asked of its phase."""
    shown = skewed_phase._phase

    def phase(tuned, context):
        given = tuned.dataset.calibration.aberrations["C10"], tuned.preset.object.slices
        key = (*given, tuned.dataset.positions_A.tobytes())
        if key not in phases:
            phases[key] = shown(tuned, context)
        return phases[key]

    monkeypatch.setattr(skewed_phase, "_phase", phase)


def given_skewness(monkeypatch, *deviations: float) -> None:
    """Prescribe the skewness of successive phases, in deviations."""
    left = [Skewness(one, 1.0) for one in deviations]
    monkeypatch.setattr(skewed_phase.Skewness, "of", lambda phase: left.pop(0))


def unresolved(monkeypatch, *, random: bool = False) -> None:
    """Atoms that neither the bright field resolves nor the phase, on a lattice or not."""
    monkeypatch.setattr(skewed_phase, "RESOLVED_A", 0.1)
    monkeypatch.setattr(skewed_phase, "finest_period_A", lambda *picture: math.inf)
    monkeypatch.setattr(skewed_phase, "is_random", lambda *picture: random)


@pytest.mark.parametrize("origin", quick_first([Origin.ESTIMATED, Origin.UNDECIDED]))
@pytest.mark.parametrize("resolved", [True, False], ids=["atoms", "particles"])
@pytest.mark.parametrize(("share", "settled"), [(-1.05, True), (-0.95, False), (0.95, False), (1.05, True)])
def test_what_is_skewed_beyond_doubt_is_certain(still, monkeypatch, origin, resolved, share, settled):
    """For particles less suffices if the maps left the half turn open."""
    rotation = replace(still.calibration.entries["rotation_deg"], origin=origin)
    least = BEYOND_CHANCE if origin is Origin.UNDECIDED and not resolved else BEYOND_DOUBT
    if resolved:
        monkeypatch.setattr(skewed_phase, "is_random", lambda *picture: False)
        given_skewness(monkeypatch, share * least)
    else:
        unresolved(monkeypatch)
        given_skewness(monkeypatch, *[share * least / math.sqrt(2)] * 2)
    tuned = with_atoms_as_peaks(Tuned(blind(still, rotation_deg=rotation), PRESET), CPU)
    assert tuned.half_turn_settled is settled
    assert tuned.half_turn is (share < 0 and (settled or origin is Origin.UNDECIDED))


@pytest.mark.parametrize(("deviations", "turned"), [(-1.1, True), (-0.9, False), (1.1, False)])
def test_the_likelier_half_is_taken_where_the_maps_could_not_tell(still, monkeypatch, deviations, turned):
    """It stays undecided; where the maps could tell, a doubtful skewness changes nothing."""
    given_skewness(monkeypatch, deviations, deviations)
    rotation = replace(still.calibration.entries["rotation_deg"], origin=Origin.UNDECIDED)
    tuned = with_atoms_as_peaks(Tuned(blind(still, rotation_deg=rotation), PRESET), CPU)
    assert tuned.half_turn is turned and not tuned.half_turn_settled
    assert tuned.dataset.calibration.origin("rotation_deg") is Origin.UNDECIDED
    assert tuned.dataset.calibration.aberrations["C10"] == pytest.approx(60.0 if turned else -60.0)
    assert tuned.skewed_by == pytest.approx(abs(deviations) if turned else deviations)
    assert not turned or tuned.words[-1].endswith("(skewness -1.1 ± 1), though not beyond doubt")
    assert not with_atoms_as_peaks(Tuned(still, PRESET), CPU).half_turn


def test_atoms_at_random_need_no_smoothing(still, monkeypatch):
    """This holds whether they are resolved or not: after smoothing, only the skewness of noise is left."""
    unresolved(monkeypatch, random=True)
    given_skewness(monkeypatch, -4.1)
    tuned = with_atoms_as_peaks(Tuned(still, PRESET), CPU)
    assert tuned.half_turn_settled and tuned.atoms_at_random


@pytest.mark.parametrize(("random", "settled"), [(True, True), (False, False)])
def test_atoms_at_random_that_are_told_apart_are_asked_as_particles_are(still, monkeypatch, random, settled):
    """The half turn is determined by depth for lattices only."""
    monkeypatch.setattr(skewed_phase, "is_random", lambda *picture: random)
    given_skewness(monkeypatch, 3.1)
    rotation = replace(still.calibration.entries["rotation_deg"], origin=Origin.UNDECIDED)
    tuned = with_atoms_as_peaks(Tuned(blind(still, rotation_deg=rotation), PRESET), CPU)
    assert tuned.half_turn_settled is settled
    assert tuned.atoms_at_random is random


@pytest.mark.parametrize(
    ("sharp", "smoothed", "settled"), [(-3.0, -3.0, True), (-2.5, -2.5, False), (-9.0, 1.1, False), (-9.0, 0.9, True)]
)
def test_atoms_that_are_not_told_apart_are_smoothed_to_particles_too(still, monkeypatch, sharp, smoothed, settled):
    """Both together are beyond doubt at (3 + 3) / sqrt 2 = 4.2, not at (2.5 + 2.5) / sqrt 2 = 3.5, if of one sign."""
    unresolved(monkeypatch)
    given_skewness(monkeypatch, sharp, smoothed)
    tuned = with_atoms_as_peaks(Tuned(still, PRESET), CPU)
    assert tuned.half_turn is tuned.half_turn_settled is settled
    assert (
        not settled
        or f"holes in place of particles (skewness {sharp:.2g} ± 1, smoothed {smoothed:.2g} ± 1)" in tuned.words[-1]
    )


@pytest.mark.parametrize(("finest_A", "resolved"), [(1.39, True), (1.41, False)])
def test_atoms_are_resolved_if_the_phase_is_as_fine_as_their_bonds(still, monkeypatch, finest_A, resolved):
    """Whatever the aperture resolves: smoothed sheets show gaps, which would contradict their atoms."""
    unresolved(monkeypatch)
    monkeypatch.setattr(skewed_phase, "finest_period_A", lambda *picture: finest_A)
    given_skewness(monkeypatch, -9.0, 2.0)
    tuned = with_atoms_as_peaks(Tuned(still, PRESET), CPU)
    assert tuned.half_turn is tuned.half_turn_settled is resolved
    assert not resolved or "holes in place of atoms (skewness -9 ± 1)" in tuned.words[-1]


def test_the_phase_comes_with_its_scan(still):
    """Its steps are those of the scan in the frame of the phase."""
    _, _, scan = skewed_phase._phase(Tuned(still, PRESET), CPU)
    assert scan is not None
    np.testing.assert_allclose(scan.fast, still.positions_A[1] - still.positions_A[0])


def test_smoothing_takes_a_lattice_away(still, monkeypatch):
    """A Gaussian of 1.9 Å leaves less than half of the contrast of atoms an ångström wide."""
    seen = []
    of = Skewness.of
    unresolved(monkeypatch)
    monkeypatch.setattr(skewed_phase.Skewness, "of", lambda phase: seen.append(phase) or of(phase))
    with_atoms_as_peaks(Tuned(still, PRESET), CPU)
    sharp, smoothed = seen
    assert sharp.shape == smoothed.shape
    assert smoothed.std() < 0.5 * sharp.std()


def test_deviations_that_contradict_each_other_tell_nothing():
    assert combined([3.0, 4.0]) == pytest.approx(7 / math.sqrt(2))
    assert combined([-5.0]) == -5.0
    assert combined([9.0, -1.1]) == combined([-9.0, 1.1]) == 0.0
    assert combined([-9.0, 0.9]) == pytest.approx(-8.1 / math.sqrt(2))


def test_a_scan_under_the_wrong_half_turn_is_turned_and_said(still):
    wrong = half_turned(still)
    tuned = with_atoms_as_peaks(Tuned(wrong, PRESET), CPU)
    assert tuned.half_turn and tuned.half_turn_settled
    assert tuned.dataset.calibration.aberrations["C10"] == pytest.approx(-60.0)
    assert tuned.dataset.calibration.rotation_deg == pytest.approx(still.calibration.rotation_deg)
    np.testing.assert_allclose(tuned.dataset.positions_A, still.positions_A)
    assert "holes in place of atoms" in tuned.words[-1]


def test_the_right_one_is_left_alone(still):
    tuned = with_atoms_as_peaks(Tuned(still, PRESET), CPU)
    assert tuned.half_turn_settled and not tuned.half_turn
    assert tuned.dataset is still and tuned.words == ()


def test_what_is_in_doubt_stays_open(still, monkeypatch):
    monkeypatch.setattr(skewed_phase.Skewness, "of", lambda phase: Skewness(-0.3, 0.1))
    tuned = with_atoms_as_peaks(Tuned(still, PRESET), CPU)
    assert tuned.dataset is still and tuned.words == ()
    assert not tuned.half_turn_settled
    assert tuned.skewed_by == pytest.approx(-3.0)


@pytest.fixture
def tried(monkeypatch):
    """Counts trials, whose phase always has holes."""
    begun = []

    def of(phase):
        begun.append(1)
        return Skewness(-1.0, 0.1)

    monkeypatch.setattr(skewed_phase.Skewness, "of", of)
    return begun


@pytest.mark.parametrize(
    ("entries", "changes"),
    [
        ({"rotation_deg": Quantity(25.0, Origin.GIVEN)}, {}),
        ({"C10": Quantity(-60.0, Origin.GIVEN)}, {}),
        ({}, {"start_object": "earlier.h5"}),
        ({}, {"update_obj": False}),
        ({}, {"optimizer": "epie"}),
    ],
)
def test_of_which_scans_it_is_asked(still, tried, entries, changes):
    dataset = replace(still, calibration=still.calibration.having(**entries))
    tuned = Tuned(dataset, Preset.from_mapping({"window_px": 32, **changes}))
    assert with_atoms_as_peaks(tuned, CPU) is tuned
    assert tried == []
    assert with_atoms_as_peaks(Tuned(still, PRESET), CPU).half_turn


def test_few_patterns_are_left_alone(still, tried):
    few = Tuned(still.part(np.arange(255)), PRESET)
    assert with_atoms_as_peaks(few, CPU) is few
    assert tried == []


def test_a_specimen_of_several_slices_is_asked_in_one(still):
    """Its half turn is what depth confirms afterwards."""
    thick = Preset.from_mapping({"window_px": 32, "num_slices": 3, "total_thickness_A": 30.0})
    assert with_atoms_as_peaks(Tuned(half_turned(still), thick), CPU).half_turn
