"""Rotation and handedness by held-out patterns, where the calibration could not decide."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_datasets import agreement, dataset_of, found_and_true, simulated

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import StartGuess, TrialContext, refine
from ptylive.engine.refine.tuning import orientation_search
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.orientation_search import orientation_is_open, with_found_orientation
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
UNDECIDED = {
    "rotation_deg": Quantity(10.0, Origin.ESTIMATED, 8.0),
    "detector_transform": Quantity("none", Origin.UNDECIDED),
    "C10": Quantity(-60.0, Origin.ESTIMATED, 5.0),
}
NOTHING = {"rotation_deg": Quantity(0.0, Origin.UNDECIDED), "detector_transform": Quantity("none", Origin.ESTIMATED)}


def blind(dataset: Dataset, **entries: Quantity) -> Dataset:
    return replace(dataset, calibration=dataset.calibration.having(**{**UNDECIDED, **entries}))


@pytest.fixture(scope="module")
def plain() -> Dataset:
    """256 patterns without any content."""
    row, column = np.divmod(np.arange(256), 16)
    scan = simulated(scan_shape=(16, 16), detector_shape=(16, 16), specimen="circles")
    patterns = np.zeros((256, 16, 16), np.uint8)
    return blind(replace(dataset_of(scan, patterns), positions_A=0.6 * np.stack([row, column], 1).astype(float)))


def test_open_is_what_was_looked_for_and_not_found(plain):
    assert orientation_is_open(plain, Preset())
    assert not orientation_is_open(blind(plain, detector_transform=Quantity("none", Origin.ESTIMATED)), Preset())
    assert orientation_is_open(blind(plain, **NOTHING), Preset())
    half_turn_open = Quantity(10.0, Origin.UNDECIDED, 0.5)  # one slice cannot determine it
    assert not orientation_is_open(blind(plain, **NOTHING | {"rotation_deg": half_turn_open}), Preset())
    assert not orientation_is_open(blind(plain, rotation_deg=Quantity(10.0, Origin.GIVEN)), Preset())
    assert not orientation_is_open(plain.part(np.arange(255)), Preset())
    for stated in ("start_object", "start_probe", "start_positions"):
        assert not orientation_is_open(plain, Preset(**{stated: "earlier.h5"}))


def judged_by(monkeypatch, loss_of):
    """Replace trials by losses of sixteen groups: loss_of(transposed, degrees from the true angle, group)."""
    asked = []

    def loss(dataset, preset, sweeps, context, **_):
        transposed = dataset.calibration.transform == "transpose"
        away = (dataset.calibration.rotation_deg + 95.0 + 180) % 360 - 180
        asked.append((transposed, dataset.calibration.rotation_deg, len(dataset.patterns)))
        return HeldOutLoss(tuple(loss_of(transposed, away, group) for group in range(16)))

    monkeypatch.setattr(orientation_search, "held_out_loss", loss)
    return asked


def valley(transposed, away, group):
    return 100.0 + (-20.0 if transposed else -6.0) * np.exp(-((away / 15.0) ** 2)) + 0.1 * (group % 3)


def test_the_lowest_valley_is_found_and_said(plain, monkeypatch):
    asked = judged_by(monkeypatch, valley)
    tuned = with_found_orientation(Tuned(plain, Preset()), CPU)
    calibration = tuned.dataset.calibration
    assert tuned.orientation is not None
    assert tuned.orientation.transposed
    assert calibration.rotation_deg == pytest.approx(-95.0, abs=0.2)  # a parabola through a Gaussian, 2° away
    assert calibration.entries["rotation_deg"].origin is Origin.ESTIMATED
    assert calibration.entries["rotation_deg"].uncertainty == 0.5  # a quarter of the last step
    assert calibration.entries["detector_transform"] == Quantity("transpose", Origin.ESTIMATED)
    assert calibration.aberrations["C10"] == -60.0
    assert tuned.words[0].startswith("detector transform transpose, rotation -95.0 ± 0.5°: the maps left it open")
    again = tuned.orientation.of(plain)
    assert np.array_equal(again.positions_A, tuned.dataset.positions_A)
    assert {count for _, _, count in asked} == {144, 256}


@pytest.mark.parametrize("moved", [1e-13, -1e-13, *np.random.default_rng(5).uniform(-7.5, 7.5, 10)])
def test_the_valley_is_found_wherever_it_lies_between_the_angles(plain, monkeypatch, moved):
    """This includes a valley next to a tried angle: two angles that differ by rounding do not determine a parabola."""
    judged_by(monkeypatch, lambda transposed, away, group: valley(transposed, away - moved, group))
    tuned = with_found_orientation(Tuned(plain, Preset()), CPU)
    assert tuned.dataset.calibration.rotation_deg == pytest.approx(-95.0 + moved, abs=0.2)


def test_a_stated_handedness_is_kept(plain, monkeypatch):
    asked = judged_by(monkeypatch, valley)
    stated = blind(plain, **NOTHING | {"detector_transform": Quantity("none", Origin.GIVEN)})
    tuned = with_found_orientation(Tuned(stated, Preset()), CPU)
    assert not any(transposed for transposed, _, _ in asked)
    assert tuned.dataset.calibration.transform == "none"
    assert tuned.dataset.calibration.rotation_deg == pytest.approx(-95.0, abs=0.2)
    assert tuned.dataset.calibration.origin("detector_transform") is Origin.GIVEN


def test_what_scatters_as_much_as_it_gains_changes_nothing(plain, monkeypatch):
    rng = np.random.default_rng(0)
    judged_by(monkeypatch, lambda transposed, away, group: 100.0 + rng.normal())
    tuned = with_found_orientation(Tuned(plain, Preset()), CPU)
    assert tuned.dataset is plain
    assert tuned.orientation is None
    assert tuned.words[0].startswith("rotation and handedness unchanged: no others would predict")


def test_two_handednesses_that_are_as_good_change_nothing(plain, monkeypatch):
    judged_by(monkeypatch, lambda transposed, away, group: valley(True, away, group + transposed))
    tuned = with_found_orientation(Tuned(plain, Preset()), CPU)
    assert tuned.dataset is plain
    assert tuned.words[0].startswith("rotation and handedness unchanged: the patterns do not determine the handedness")


@pytest.mark.slow
def test_a_scan_that_maps_cannot_orient():
    """A bilayer at a step that its maps do not resolve, read with the wrong handedness and an arbitrary angle."""
    scan = simulated(
        scan_shape=(20, 20),
        scan_step_A=(1.4, 1.4),
        detector_shape=(40, 40),
        defocus_A=100.0,
        rotation_deg=-95.0,
        dose_e_per_A2=5000,
        seed=20,
    )
    told = dataset_of(scan)
    wrong = blind(
        Orientation(True, 107.0).of(told),
        rotation_deg=Quantity(12.0, Origin.ESTIMATED, 8.0),
        detector_transform=Quantity("transpose", Origin.UNDECIDED),
        C10=Quantity(-100.0, Origin.ESTIMATED, 5.0),
    )
    preset = Preset(probe_modes=1, num_slices=1, refine_drift=False)
    start = StartGuess(np.zeros((20, 20), np.float32), (1.4, 1.4), 12.0, (0.0, 0.0))
    found = refine(wrong, preset, start=start, backend="cpu")
    assert found.calibration is not None
    assert found.calibration.transform == "none"
    assert found.calibration.rotation_deg == pytest.approx(-95.0, abs=2.0)
    assert "the maps left it open" in found.reason
    best = refine(told, preset, backend="cpu")
    assert agreement(*found_and_true(scan, found)) > agreement(*found_and_true(scan, best)) - 0.01
