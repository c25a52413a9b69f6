"""The other half turn: tested where a finished refinement leaves far more than noise, adopted if it leaves far less."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_first import quick_first
from second_run_scene import LARGE, NOISE, THICK, THICKNESS_A, Scene, came

from ptylive.engine.refine import refine
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again import other_half_turn, second_run
from ptylive.engine.refine.run.again.other_half_turn import FAR_LESS, LESS, SOME, OtherHalfTurn
from ptylive.engine.refine.tuning.parameter_search import present_value
from ptylive.schema import Origin, Quantity
from ptylive.schema.advice.half_turn import half_turn_in
from ptylive.schema.preset import Preset

CURVE = Curve(Scanned.DEFOCUS, (1.0,), (1.0,), 1.0, 1.1, 0.01, True, "a defocus")
FOUND = {"C10": Quantity(-80.0, Origin.ESTIMATED, 5.0), "rotation_deg": Quantity(25.0, Origin.ESTIMATED, 0.5)}


@pytest.fixture
def scene(simulated) -> Scene:
    """A scan whose first run, under the half turn that trials found, leaves far more than noise."""
    dataset = replace(simulated.dataset, calibration=simulated.dataset.calibration.having(**FOUND))
    return Scene(dataset, came(LARGE, calibration=dataset.calibration, half_turn=True, curves=(CURVE,)))


def test_it_stands_if_it_leaves_far_less(scene):
    second = came(0.4 * LARGE)
    incumbent = scene.incumbent([OtherHalfTurn()], second)
    assert incumbent.record is second
    assert incumbent.final().half_turn is False, "the first was turned, and this one is as the data set is"
    plan, _ = scene.scans[1]
    assert plan.words == ("no half turn: the first run ended at 13 times the counting noise",)
    assert plan.curves == scene.first.curves == (CURVE,)
    np.testing.assert_allclose(plan.dataset.positions_A, scene.dataset.positions_A)


def test_a_turn_is_said_so_that_the_page_hears_it(scene):
    scene.first = replace(scene.first, half_turn=False)
    incumbent = scene.incumbent([OtherHalfTurn()], came(0.4 * LARGE))
    assert incumbent.final().half_turn is True
    heard = half_turn_in(scene.scans[1][0].words[0])
    assert heard is not None and heard[0] == pytest.approx(-155.0)


def test_one_that_leaves_hardly_less_leaves_the_first_which_says_so(scene):
    final = scene.incumbent([OtherHalfTurn()], came(1.1 * FAR_LESS * LARGE)).final()
    assert final.result.reason == f"4 slices; the other half turn ends at {1.1 * FAR_LESS:.3g} times the loss"
    assert final.half_turn is True


def test_what_was_the_exit_is_the_entrance(scene):
    scene.first = replace(scene.first, half_turn=False)
    incumbent = scene.incumbent([OtherHalfTurn()], came(LARGE))
    plan, _ = scene.scans[1]
    middle_A = present_value(scene.dataset, THICK, Scanned.DEFOCUS) - THICKNESS_A / 2
    assert present_value(plan.dataset, plan.preset, Scanned.DEFOCUS) == pytest.approx(-middle_A + THICKNESS_A / 2)
    np.testing.assert_allclose(plan.dataset.positions_A, -scene.dataset.positions_A)
    assert incumbent.record is scene.first


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, True), ({"num_slices": 1, "total_thickness_A": None}, False), ({"epoch_max": 3}, False)],
)
def test_a_refinement_of_several_slices_that_ends_by_itself_may_be_asked(scene, changed, expected):
    assert OtherHalfTurn().is_tested(scene.dataset, THICK.model_copy(update=changed)) is expected


def test_nobody_asks_where_the_half_turn_was_stated(scene):
    given = scene.dataset.calibration.having(rotation_deg=Quantity(25.0, Origin.GIVEN))
    assert not OtherHalfTurn().is_tested(replace(scene.dataset, calibration=given), THICK)


@pytest.fixture
def undecided(scene) -> Scene:
    """A scan whose maps left the half turn undecided, and whose first run leaves little."""
    rotation = Quantity(25.0, Origin.UNDECIDED)
    scene.dataset = replace(scene.dataset, calibration=scene.dataset.calibration.having(rotation_deg=rotation))
    scene.first = replace(scene.first, result=replace(scene.first.result, noise=LARGE / (1.05 * SOME)))
    return scene


def test_one_that_the_maps_left_undecided_is_asked_where_little_is_left(undecided):
    second = came(0.98 * LESS * LARGE)
    assert undecided.incumbent([OtherHalfTurn()], second).record is second
    assert undecided.incumbent([OtherHalfTurn()], came(1.02 * LESS * LARGE)).record is undecided.first


def test_where_far_more_is_left_it_has_to_leave_far_less(undecided):
    undecided.first = replace(undecided.first, result=replace(undecided.first.result, noise=NOISE))
    assert undecided.incumbent([OtherHalfTurn()], came(0.98 * LESS * LARGE)).record is undecided.first


def test_one_that_the_maps_determined_is_not_asked_where_little_is_left(undecided):
    undecided.dataset = replace(undecided.dataset, calibration=undecided.dataset.calibration.having(**FOUND))
    assert undecided.incumbent([OtherHalfTurn()], came(0.1 * LARGE)).record is undecided.first


def test_nobody_asks_where_nothing_but_noise_is_left(undecided):
    undecided.first = replace(undecided.first, result=replace(undecided.first.result, noise=LARGE / (0.95 * SOME)))
    assert undecided.incumbent([OtherHalfTurn()], came(0.1 * LARGE)).record is undecided.first


@pytest.mark.parametrize(
    ("far_less", "said"), quick_first([(0.0, "; the other half turn ends at "), (1e9, "the first run ended at ")])
)
def test_a_run_is_asked_when_it_has_ended(small, monkeypatch, tmp_path, far_less, said):
    """Whole runs on little data: half turn, calibration and checkpoint of the adopted run accompany its result."""
    monkeypatch.setattr(second_run, "MUCH", 0.0)
    monkeypatch.setattr(other_half_turn, "FAR_LESS", far_less)
    dataset = replace(small.dataset, calibration=small.dataset.calibration.having(**FOUND))
    short = {"sweeps": 1, "algorithm": "lsq_sqrt", "refine_drift": False, "phase_deviation": False, "anchor": 0.0}
    fixed = {"scan_defocus": False, "phase_only_obj": True, "source_size_A": 0.0} | short
    thick = Preset(num_slices=2, total_thickness_A=40.0, probe_modes=1, **fixed)
    ends: list[str] = []
    checked: Any = {"backend": "cpu", "checkpoint": tmp_path / "run", "on_progress": lambda one: ends.append(one.state)}
    result = refine(dataset, thick, **checked)
    assert said in result.reason
    turned = abs(result.calibration.rotation_deg - 25.0) > 90
    assert turned is (far_less > 1)
    assert ends.count("done") == 1 and ends[-1] == "done"

    ends.clear()
    longer = refine(dataset, thick.model_copy(update={"epoch_max": len(result.loss) + 2}), resume=True, **checked)
    assert len(longer.loss) == len(result.loss) + 2, "more epochs continue the run that stands"
    np.testing.assert_array_equal(longer.loss[: len(result.loss)], result.loss)
    assert longer.calibration.rotation_deg == result.calibration.rotation_deg
    assert ends.count("done") == 1 and ends[-1] == "done"


def test_checkpoints_lie_beside_each_other():
    first = Path("a/run.ckpt")
    makers = checkpoints.of_other_half_turn, checkpoints.of_columns, checkpoints.of_second_run
    others = [make(first) for make in makers] + [checkpoints.of_stage(first, 2)]
    nested = [make(other) for other in others[:2] for make in makers]
    assert len({first, *others, *nested}) == 1 + len(others) + len(nested)
    assert {one.parent for one in (*others, *nested)} == {Path("a")}
