"""Defocus and astigmatism that nobody stated, found by trials that refine them."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.optics import freed_optics
from ptylive.engine.refine.tuning.optics.freed_optics import Freed, freeing_optics, with_freed_optics
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
SETTINGS = {"window_px": 32, "probe_modes": 1, "num_slices": 1, "regime": "thin", "source_size_A": 0.0}
PRESET = Preset.from_mapping(SETTINGS)
TRUE_A = -60.0
ENOUGH = 200.0
"""Loss of a pattern, in place of trials; groups differ by some per cent."""


def found(dataset: Dataset, c10_A: float, origin: Origin = Origin.ESTIMATED) -> Dataset:
    optics = {"C10": c10_A, "C12a": 0.0, "C12b": 0.0}
    return replace(
        dataset, calibration=dataset.calibration.having(**{k: Quantity(v, origin) for k, v in optics.items()})
    )


@pytest.fixture(scope="module")
def still(drifted) -> Dataset:
    return drifted((0.0, 0.0), 3)


@pytest.mark.parametrize("off_A", quick_first([20.0, -20.0]))
def test_most_of_an_error_of_the_defocus_is_taken_away(still, off_A):
    """A depth of focus is 67 Å; the maps err by 10 Å and more if a source blurs the pattern."""
    tuned = with_freed_optics(Tuned(found(still, TRUE_A + off_A), PRESET), CPU)
    left_A = tuned.dataset.calibration.aberrations["C10"] - TRUE_A
    assert abs(left_A) < 0.6 * abs(off_A)
    assert tuned.dataset.calibration.origin("C10") is Origin.ESTIMATED
    assert "refined in trials" in tuned.words[-1]


@pytest.fixture
def ends(monkeypatch):
    """Prescribe the gain over fixed optics and the movement of C10 for each trial; return where each trial began."""

    def by(gains, moves):
        begun = []

        def loss(gain):
            return HeldOutLoss(tuple(ENOUGH * (1 - gain) * (1 + 0.02 * k) for k in range(16)))

        def freed(self, dataset):
            c10_A = dataset.calibration.aberrations["C10"]
            begun.append(c10_A)
            turn = len(begun) - 1
            return Freed(found(dataset, c10_A + moves[turn]), loss(gains[turn]), abs(moves[turn]))

        monkeypatch.setattr(freed_optics.FreedTrials, "fixed", lambda self, dataset: loss(0.0))
        monkeypatch.setattr(freed_optics.FreedTrials, "freed", freed)
        return begun

    return by


def test_what_gains_nothing_is_left_alone_and_said(still, ends):
    begun = ends([-0.001], [9.0])
    tuned = with_freed_optics(Tuned(found(still, -50.0), PRESET), CPU)
    assert tuned.dataset.calibration.aberrations["C10"] == -50.0
    assert begun == [-50.0]
    assert "would not predict held-out patterns better" in tuned.words[-1]


def test_what_moved_far_is_tried_again_from_there(still, ends):
    begun = ends([0.002, 0.003], [9.0, 4.0])
    tuned = with_freed_optics(Tuned(found(still, -50.0), PRESET), CPU)
    assert begun == [-50.0, -41.0]
    assert tuned.dataset.calibration.aberrations["C10"] == -37.0


def test_a_second_trial_that_gains_no_more_is_not_taken(still, ends):
    ends([0.002, 0.001], [9.0, 4.0])
    tuned = with_freed_optics(Tuned(found(still, -50.0), PRESET), CPU)
    assert tuned.dataset.calibration.aberrations["C10"] == -41.0


def test_what_hardly_moved_is_not_tried_again(still, ends):
    """A twentieth of the depth of focus is 3.3 Å."""
    begun = ends([0.002], [3.0])
    with_freed_optics(Tuned(found(still, -50.0), PRESET), CPU)
    assert begun == [-50.0]


def test_a_defocus_that_a_scan_moved_is_tried_from_where_the_maps_had_it_too(still, ends):
    begun = ends([0.002, 0.004], [1.0, 1.0])
    curve = Curve(Scanned.DEFOCUS, (20.0, 50.0, 80.0), (1.0, 0.9, 1.0), 20.0, 50.0, 5.0, True, "found")
    tuned = with_freed_optics(Tuned(found(still, -50.0), PRESET, curves=(curve,)), CPU)
    assert begun == [-50.0, -20.0]
    assert tuned.dataset.calibration.aberrations["C10"] == -19.0


def test_of_several_slices_films_are_asked_and_not_from_the_defocus_of_the_maps(still, ends):
    """That defocus is of their middle, and depth has decided between the two they could begin from."""
    begun = ends([0.002], [1.0])
    curve = Curve(Scanned.DEFOCUS, (20.0, 50.0, 80.0), (1.0, 0.9, 1.0), 20.0, 50.0, 5.0, True, "found")
    thick = Preset.from_mapping({**SETTINGS, "num_slices": 3, "total_thickness_A": 30.0})
    tuned = Tuned(found(still, -50.0), thick, curves=(curve,))
    assert with_freed_optics(tuned, CPU) is tuned  # errors in the model of a crystal look like optics
    tuned = with_freed_optics(replace(tuned, atoms_at_random=True), CPU)
    assert begun == [-50.0]
    assert tuned.dataset.calibration.aberrations["C10"] == -49.0


@pytest.mark.parametrize(
    "changes",
    [
        {"scan_defocus": False},
        {"update_probe": False},
        {"update_obj": False},
        {"update_aberrations": True, "update_probe": True},
        {"probe_part": "phase"},
        {"optimizer": "epie"},
        {"start_probe": "earlier.h5"},
        {"regime": "weak"},
    ],
)
def test_of_which_runs_it_is_asked(still, ends, changes):
    begun = ends([0.002], [1.0])
    with_freed_optics(Tuned(found(still, -50.0), Preset.from_mapping({**SETTINGS, **changes})), CPU)
    assert begun == []
    with_freed_optics(Tuned(found(still, -50.0), PRESET), CPU)
    assert begun == [-50.0]


def test_stated_optics_and_few_patterns_are_left_alone(still, ends):
    begun = ends([0.002], [1.0])
    stated = found(still, -50.0, Origin.GIVEN)
    few = found(still, -50.0).part(np.arange(255))
    for dataset in (stated, few):
        assert with_freed_optics(Tuned(dataset, PRESET), CPU).dataset is dataset
    assert begun == []


def test_a_trial_refines_what_nobody_stated(still):
    dataset = found(still, -45.0)
    assert freeing_optics(dataset, PRESET).refined.refined_aberrations == ("C10", "C12a", "C12b")
    stated = dataset.calibration.having(C12a=Quantity(2.0, Origin.GIVEN), C12b=Quantity(1.0, Origin.GIVEN))
    preset = freeing_optics(replace(dataset, calibration=stated), PRESET)
    assert preset.refined.update_aberrations and preset.refined.refined_aberrations == ("C10",)


@pytest.mark.slow
def test_stated_astigmatism_stays(still):
    dataset = found(still, -45.0)
    stated = dataset.calibration.having(C12a=Quantity(2.0, Origin.GIVEN), C12b=Quantity(1.0, Origin.GIVEN))
    tuned = with_freed_optics(Tuned(replace(dataset, calibration=stated), PRESET), CPU)
    aberrations = tuned.dataset.calibration.aberrations
    assert (aberrations["C12a"], aberrations["C12b"]) == (2.0, 1.0)
    assert aberrations["C10"] != -45.0
