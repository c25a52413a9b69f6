"""Several slices in place of one that leaves far more than counting noise: when, how, and what then stands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from second_run_scene import LARGE, Result, Scene, came

from ptylive.engine.refine.run.again import second_run
from ptylive.engine.refine.run.again.through_depth import LEAST_ERROR, LESS, MORE, MUCH, THICKNESSES, ThroughDepth
from ptylive.engine.refine.tuning import mode_choice
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.preset import Preset

OPEN = Preset(probe_modes=1)
TOLD = Preset(probe_modes=1, total_thickness_A=300.0)
LEFT = 2 * MUCH
TOLD_ONE, *DEPTHS, TURNED = THICKNESSES


def left(times: float | None, slices: int = 3, state: str = "done", **other: Any) -> Any:
    """A run in some slices that leaves so many times the counting noise."""
    return came(LARGE, state, times, slices=slices, **other)


@pytest.fixture
def scene(simulated, monkeypatch) -> Scene:
    monkeypatch.setattr(mode_choice, "LEAST_PATTERNS", len(simulated.dataset.patterns))
    first = left(LEFT, 1, calibration=simulated.dataset.calibration, preset=OPEN)
    return Scene(simulated.dataset, first, OPEN)


def thicknesses(scene: Scene) -> list[float]:
    """Depths of focus of the runs after the first."""
    return [plan.depths for plan, _ in scene.scans[1:]]


@pytest.mark.parametrize("first", [left(0.99 * MUCH, 1), left(None, 1), left(LEFT, 1, "stopped"), left(LEFT, 4)])
def test_without_much_left_in_one_slice_nothing_runs(scene, first):
    scene.first = first
    assert scene.incumbent(DEPTHS).record is first
    assert len(scene.scans) == 1


@pytest.mark.parametrize(("error", "tried"), [(0.9, 0), (1.1, 3), (None, 3)])
def test_what_many_electrons_show_of_a_small_error_is_no_depth(scene, error, tried):
    left_of_it = Result((LARGE,), likelihood_over_noise=LEFT, model_error=error and error * LEAST_ERROR)
    scene.first = replace(scene.first, result=left_of_it)
    scene.incumbent(DEPTHS, *[left(LEFT) for _ in range(3)])
    assert len(scene.scans) == 1 + tried


def test_one_two_and_four_depths_are_refined_anew_from_the_data_as_given(scene, tmp_path):
    same = [left(LEFT) for _ in range(3)]
    incumbent = scene.incumbent(DEPTHS, *same, checkpoint=tmp_path / "run")
    assert incumbent.record is scene.first
    assert thicknesses(scene) == [1, 2, 4]
    depth_A = scene.dataset.calibration.depth_of_focus_A
    for (plan, observers), number, slices in zip(scene.scans[1:], (1, 2, 4), (3, 6, 12), strict=True):
        form = plan.preset.object
        assert (form.slices, plan.preset.refined.update_thickness) == (slices, True)
        assert form.total_thickness_A == pytest.approx(number * depth_A)
        assert plan.dataset is scene.dataset and not plan.decided
        assert observers.checkpoint == tmp_path / f"run.stage-depth{number}"
        found = FoundDepth.heard(plan.words[0])
        assert found is not None and found.slices == slices
        assert plan.words[0].endswith(f"one slice leaves {LEFT:.2g} times the counting noise")
    assert incumbent.final().result.reason == "4 slices; " + "; ".join(
        f"a thickness of {number} depths of focus ends at 1 times the loss by counts" for number in (1, 2, 4)
    )


def test_a_thickness_that_leaves_less_stands_and_twice_as_much_is_compared_with_it(scene):
    one, two = left(0.8 * LEFT, calibration=scene.dataset.calibration), left(0.8 * 1.01 * LESS * LEFT)
    assert scene.incumbent(DEPTHS, one, two).record is one
    assert thicknesses(scene) == [1, 2], "four depths are not tried where two are worse than one"


def test_the_thickest_may_be_the_only_one_that_leaves_less(scene):
    two = left(0.8 * LEFT, calibration=scene.dataset.calibration)
    runs = left(0.99 * LEFT), two, left(0.5 * LEFT)
    incumbent = scene.incumbent(DEPTHS, *runs)
    assert incumbent.record is runs[-1]
    assert f"one slice leaves {LEFT:.2g} times" in incumbent.plan.words[0]
    assert incumbent.rejected == (
        "a thickness of 1 depths of focus ends at 0.99 times the loss by counts",
        "one slice ended at 1.25 times this loss by counts",
        "3 slices ended at 1.6 times this loss by counts",
    )


def test_what_explains_the_patterns_is_not_made_thicker(scene):
    one = left(0.99 * MORE)
    assert scene.incumbent(DEPTHS, one).record is one
    assert thicknesses(scene) == [1]


@pytest.mark.parametrize("second", [left(0.1, state="stopped"), left(None)])
def test_what_did_not_end_or_cannot_be_compared_is_not_adopted(scene, second):
    assert scene.incumbent(DEPTHS[:1], second).record is scene.first


def test_a_given_thickness_is_the_only_one_and_stays(scene):
    scene.first, scene.preset = replace(scene.first, preset=TOLD), TOLD
    tested = [plan for plan in THICKNESSES if plan.is_tested(scene.dataset, TOLD)]
    assert tested == [TOLD_ONE]
    second = left(0.5 * LEFT)
    assert scene.incumbent(tested, second).record is second
    plan = scene.scans[1][0]
    assert (plan.preset.object.total_thickness_A, plan.preset.refined.update_thickness) == (300.0, "auto")
    assert plan.preset.object.slices > 1
    assert "300 Å in total, as the given thickness requires" in plan.words[0]


@pytest.mark.parametrize(
    ("changed", "tested"),
    [
        ({}, [1.0, 2.0, 4.0]),
        ({"num_slices": 1}, []),
        ({"num_slices": 4, "total_thickness_A": 100.0}, []),
        ({"slice_distances_A": (20.0,)}, []),
        ({"epoch_max": 3}, []),
        ({"update_obj": False}, []),
    ],
)
def test_only_where_the_number_of_slices_is_open(scene, changed, tested):
    preset = OPEN.model_copy(update=changed)
    depth_A = scene.dataset.calibration.depth_of_focus_A
    depths = [number for number in (1.0, 2.0, 4.0) if ThroughDepth(number).is_tested(scene.dataset, preset)]
    assert depths == [number for number in tested if number * depth_A <= 2000.0]


def test_a_given_number_of_slices_stays(scene):
    assert not TOLD_ONE.is_tested(scene.dataset, TOLD.model_copy(update={"num_slices": 2}))


def test_only_where_patterns_suffice_for_trials(scene, monkeypatch):
    monkeypatch.setattr(mode_choice, "LEAST_PATTERNS", len(scene.dataset.patterns) + 1)
    assert not any(plan.is_tested(scene.dataset, preset) for plan in THICKNESSES for preset in (OPEN, TOLD))


def test_a_thickness_beyond_what_electrons_pass_is_not_tried(scene):
    assert not ThroughDepth(1e4).is_tested(scene.dataset, OPEN)


def test_a_thickness_that_shall_not_be_refined_is_not(scene):
    scene.preset = OPEN.model_copy(update={"update_thickness": False})
    scene.incumbent(DEPTHS[:1], left(LEFT))
    assert scene.scans[1][0].preset.refined.update_thickness is False


def test_the_middle_of_a_large_scan_is_taken_as_it_was_given(scene, monkeypatch):
    monkeypatch.setattr(second_run, "MIDDLE", 25)
    scene.first = replace(scene.first, half_turn=True)
    shown = Result((1.0,), likelihood_over_noise=0.5 * LEFT)
    second = left(0.5 * LEFT)
    middle = (Result((1.0,), likelihood_over_noise=LEFT), shown)
    assert scene.incumbent(DEPTHS[:1], second, middle=middle).record is second
    present, other = scene.middles
    assert present.decided and not other.decided
    assert len(other.dataset.patterns) <= 25
    corner = other.dataset.positions_A[0] - other.dataset.positions_A[-1]
    given = scene.dataset.positions_A[0] - scene.dataset.positions_A[-1]
    np.testing.assert_array_equal(np.sign(corner), np.sign(given))
    assert scene.scans[1][0].dataset is scene.dataset


@pytest.mark.parametrize("stands", ["one slice", "several"])
def test_four_depths_are_turned_by_depth_where_the_phase_of_one_slice_has_turned_the_scan(scene, stands):
    scene.first = replace(scene.first, turned_by_phase=True)
    one = left(0.8 * LEFT, calibration=scene.dataset.calibration, turned_by_phase=True)
    before, ways = ([], [TURNED]) if stands == "one slice" else ([one], [DEPTHS[0], TURNED])
    last = left(0.5 * LEFT)
    incumbent = scene.incumbent(ways, *before, last)
    assert incumbent.record is last and incumbent.plan.turned_by_depth
    assert incumbent.plan.depths == 4 and not any(plan.turned_by_depth for plan, _ in scene.scans[:-1])
    scene.scans.clear()
    rejected = scene.incumbent(ways, *before, left(LEFT)).rejected[-1]
    times = "1" if stands == "one slice" else "1.25"
    words = "a thickness of 4 depths of focus and a half turn that depth decides ends at"
    assert rejected == f"{words} {times} times the loss by counts"


SMALL_ERROR = Result((LARGE,), likelihood_over_noise=LEFT, model_error=0.9 * LEAST_ERROR)


@pytest.mark.parametrize(
    "changed",
    [
        {"result": SMALL_ERROR},
        {"turned_by_phase": False},
        {"slices": 4},
        {"result": Result((LARGE,), likelihood_over_noise=1.4)},
    ],
)
def test_a_half_turn_is_not_left_to_depth_otherwise(scene, changed):
    scene.first = replace(scene.first, **{"turned_by_phase": True, **changed})
    scene.incumbent([TURNED])
    assert len(scene.scans) == 1


def test_checkpoints_of_all_thicknesses_differ():
    assert len({plan.checkpoint(Path("run")) for plan in THICKNESSES}) == len(THICKNESSES)
