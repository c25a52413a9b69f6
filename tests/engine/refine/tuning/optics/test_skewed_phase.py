"""The half turn of one slice, settled by atoms that have to be peaks of the phase."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.half_turn import half_turned
from ptylive.engine.refine.tuning.optics import skewed_phase
from ptylive.engine.refine.tuning.optics.skewed_phase import BEYOND_DOUBT, Skewness, with_atoms_as_peaks
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
PRESET = Preset.from_mapping({"window_px": 24})
SIZE = 64


def blind(dataset: Dataset, **entries: Quantity) -> Dataset:
    names = ("rotation_deg", "C10")
    found = {name: replace(dataset.calibration.entries[name], origin=Origin.ESTIMATED) for name in names}
    return replace(dataset, calibration=dataset.calibration.having(**found | entries))


@pytest.fixture(scope="module")
def still(drifted) -> Dataset:
    """Gaussian atoms under 60 Å of underfocus, at 80 kV and 25 mrad: told apart below 0.84 Å."""
    return blind(drifted((0.0, 0.0), 4))


def test_the_skewness_is_that_of_the_third_moment():
    """An exponential distribution has 2; of n = 4096 its own estimate scatters by a few tenths."""
    values = np.random.default_rng(0).exponential(size=(SIZE, SIZE))
    found = Skewness.of(values)
    centred = values - values.mean()
    assert found.value == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5)
    assert abs(found.value - 2) < 3 * found.deviation < 1.5


def test_the_deviation_is_that_of_noise():
    """Of n normal values the skewness scatters by sqrt(6 / n): its root mean square in units of it is 1 in the mean."""
    found = [Skewness.of(np.random.default_rng(seed).normal(size=(SIZE, SIZE))) for seed in range(40)]
    assert np.mean([one.deviation for one in found]) == pytest.approx(math.sqrt(6) / SIZE, rel=0.1)
    in_units = np.array([one.value / one.deviation for one in found])
    assert np.sqrt((in_units**2).mean()) == pytest.approx(1.0, abs=3 / math.sqrt(2 * 40))


@pytest.mark.parametrize(("deviations", "certain"), [(-1.05, True), (-0.95, False), (0.95, False), (1.05, True)])
def test_what_is_skewed_beyond_doubt_is_certain(deviations, certain):
    assert Skewness(deviations * BEYOND_DOUBT * 0.1, 0.1).is_certain is certain


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
    tuned = Tuned(still, PRESET)
    assert with_atoms_as_peaks(tuned, CPU) is tuned


@pytest.fixture
def tried(monkeypatch):
    """Counts trials, whose phase has holes whatever the scan."""
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
        ({"convergence_semiangle_mrad": Quantity(15.0, Origin.GIVEN)}, {}),  # 1.4 Å: atoms are not told apart
        ({}, {"start_object": "earlier.h5"}),
        ({}, {"update_obj": False}),
        ({}, {"optimizer": "epie"}),
    ],
)
def test_of_which_scans_it_is_asked(still, tried, entries, changes):
    dataset = replace(still, calibration=still.calibration.having(**entries))
    tuned = Tuned(dataset, Preset.from_mapping({"window_px": 24, **changes}))
    assert with_atoms_as_peaks(tuned, CPU) is tuned
    assert tried == []
    assert with_atoms_as_peaks(Tuned(still, PRESET), CPU).half_turn


def test_few_patterns_are_left_alone(still, tried):
    few = Tuned(still.part(np.arange(255)), PRESET)
    assert with_atoms_as_peaks(few, CPU) is few
    assert tried == []


def test_a_specimen_of_several_slices_is_asked_in_one(still):
    """Its half turn is what depth confirms afterwards."""
    thick = Preset.from_mapping({"window_px": 24, "num_slices": 3, "total_thickness_A": 30.0})
    assert with_atoms_as_peaks(Tuned(half_turned(still), thick), CPU).half_turn
