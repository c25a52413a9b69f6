"""A second run in another way: made where a first leaves far more than noise, and adopted if it leaves less."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from second_run_scene import LARGE, NOISE, THICK, Result, Scene, came

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.run.again import second_run
from ptylive.engine.refine.run.again.second_run import (
    MUCH,
    Alternative,
    Incumbent,
    RunPlan,
    may_run_again,
    residual_is_large,
)
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, Orientation
from ptylive.schema.errors import RefinementError, StoppedError


@dataclass
class Shifted(Alternative):
    """An alternative: the same refinement with positions moved by 1 Å; ``none``: there is no such run."""

    none: bool = False
    name: str = "a shift"
    middles: list[Any] = field(default_factory=list)

    def is_tested(self, dataset: Any, preset: Any) -> bool:
        return True

    def less(self, incumbent: Incumbent) -> float:
        return 0.9

    def checkpoint(self, path: Path) -> Path:
        return path.with_name(path.name + ".shifted")

    def of(self, first: Incumbent, middle: Any, context: TrialContext) -> Callable[[Any], RunPlan] | None:
        self.middles.append(middle)
        if self.none:
            return None
        preset = first.record.preset
        return lambda dataset: RunPlan(replace(dataset, positions_A=dataset.positions_A + 1), preset, decided=True)


@dataclass
class History:
    """Records which snapshots were dropped."""

    dropped: list[int] = field(default_factory=list)

    def drop_after(self, epoch: int) -> None:
        self.dropped.append(epoch)


@pytest.fixture
def scene(simulated) -> Scene:
    return Scene(simulated.dataset, came(LARGE, calibration=simulated.dataset.calibration))


@pytest.fixture
def large(scene, monkeypatch) -> Scene:
    """The same scan, larger than the middle that is refined in either way."""
    monkeypatch.setattr(second_run, "MIDDLE", 25)
    return scene


def test_a_refinement_that_leaves_little_is_not_repeated(scene):
    scene.first, shifted = came(0.99 * MUCH * NOISE), Shifted()
    assert scene.incumbent([shifted]).record is scene.first
    assert (len(scene.scans), scene.told, shifted.middles) == (1, ["run 1"], [])


@pytest.mark.parametrize(
    "changed", [{"slices": 1}, {"result": Result((LARGE,), noise=None)}, {"result": Result((LARGE,), "stopped")}]
)
def test_nor_one_slice_nor_what_has_no_noise_nor_a_stopped_one(scene, changed):
    assert residual_is_large(scene.first)
    assert not residual_is_large(replace(scene.first, **changed))


def test_one_that_leaves_less_stands_with_its_own_checkpoint(scene, tmp_path):
    second = came(0.8 * LARGE)
    incumbent = scene.incumbent([Shifted()], second, checkpoint=tmp_path / "run")
    assert incumbent.record is second
    plan, observers = scene.scans[1]
    np.testing.assert_allclose(plan.dataset.positions_A, scene.dataset.positions_A + 1)
    assert observers.checkpoint == incumbent.observers.checkpoint == tmp_path / "run.shifted"
    assert observers.identity.data != "here"
    assert scene.told == ["run 2"], "one end is told, that of what stands"
    assert incumbent.final().result.reason == "4 slices; the first run ended at 1.25 times this loss"


def test_one_that_leaves_as_much_leaves_the_first_which_says_so(scene, tmp_path):
    table = tmp_path / "loss.csv"
    incumbent = scene.incumbent([Shifted()], came(0.95 * LARGE), loss_table=table)
    assert incumbent.record is scene.first
    assert incumbent.final().result.reason == "4 slices; a shift ends at 0.95 times the loss"
    assert scene.told == ["run 1"]
    assert [line.split(",")[2] for line in table.read_text().split()] == ["loss", "9000.0", "5200.0"]


def test_without_another_way_nothing_runs(scene):
    assert scene.incumbent([Shifted(none=True)]).final().result.reason == "4 slices"
    assert (len(scene.scans), scene.told) == (1, ["run 1"])


@pytest.mark.parametrize("second", [came(1.0, "stopped"), StoppedError("stopped"), RefinementError("x", "y")])
def test_a_second_run_that_does_not_come_to_its_end_leaves_the_first_and_its_table(scene, second, tmp_path):
    table = tmp_path / "loss.csv"
    incumbent = scene.incumbent([Shifted()], second, loss_table=table)
    assert incumbent.record is scene.first and incumbent.rejected == ()
    assert scene.told == ["run 1"]
    assert len(table.read_text().split()) == 3


def test_of_a_large_scan_the_middle_is_refined_in_both_ways_first(large):
    second = came(0.95 * LARGE)
    incumbent = large.incumbent([Shifted()], second, middle=(Result((1.0,)), Result((0.8,))))
    present, other = large.middles
    assert len(present.dataset.patterns) <= 25 < len(large.dataset.patterns)
    np.testing.assert_allclose(other.dataset.positions_A, present.dataset.positions_A + 1)
    assert present.decided and other.decided
    assert incumbent.record is second, "the middle has decided; of the scan it need not leave that much less"


def test_but_it_has_to_leave_less_of_the_scan_too(large):
    incumbent = large.incumbent([Shifted()], came(1.01 * LARGE), middle=(Result((1.0,)), Result((0.8,))))
    assert incumbent.record is large.first
    assert incumbent.final().result.reason == "4 slices; a shift ends at 1.01 times the loss"


@pytest.mark.parametrize(
    "middle",
    [
        (Result((1.0,)), Result((0.95,))),
        (Result((1.0,)), Result((0.1,), "stopped")),
        (Result((1.0,)), StoppedError("stopped")),
        (RefinementError("x", "y"),),
    ],
)
def test_a_middle_that_shows_nothing_leaves_the_first(large, middle, tmp_path):
    history: Any = History()
    incumbent = large.incumbent([Shifted()], middle=middle, history=history)
    assert incumbent.record is large.first
    assert (len(large.scans), large.told, history.dropped) == (1, ["run 1"], [])
    said = middle[-1] == Result((0.95,))
    assert incumbent.rejected == (("a shift ends at 0.95 times the loss",) if said else ())


def test_snapshots_of_the_first_are_given_up_only_for_what_is_known_to_be_better(scene):
    history: Any = History()
    incumbent = scene.incumbent([Shifted()], middle=(Result((0.95 * LARGE,)),), history=history)
    assert (incumbent.record, history.dropped) == (scene.first, [])
    second = came(0.8 * LARGE)
    assert scene.incumbent([Shifted()], second, middle=(Result((0.8 * LARGE,)),), history=history).record is second
    assert history.dropped == [0]


def test_the_next_way_is_compared_with_what_stands(scene, tmp_path):
    shifts = Shifted(), Shifted(name="another shift"), Shifted(name="a third")
    second = came(0.8 * LARGE, calibration=scene.dataset.calibration)
    third, fourth = came(0.79 * LARGE), came(0.5 * LARGE)
    incumbent = scene.incumbent(shifts, second, third, fourth, checkpoint=tmp_path / "run")
    assert incumbent.record is fourth
    assert [len(one.middles) for one in shifts] == [1, 1, 1]
    np.testing.assert_allclose(scene.scans[3][0].dataset.positions_A, scene.dataset.positions_A + 2)
    assert incumbent.observers.checkpoint == tmp_path / "run.shifted.shifted"
    assert scene.told == ["run 4"]
    assert incumbent.final().result.reason == (
        "4 slices; the first run ended at 1.25 times this loss; another shift ends at 0.988 times the loss; "
        "the first run ended at 1.6 times this loss"
    )


def test_a_chosen_sequence_of_patterns_is_chosen_again(scene):
    scene.preset = THICK.model_copy(update={"sequence": "0:100"})
    incumbent = scene.incumbent([Shifted()], came(0.8 * LARGE))
    assert incumbent.plan.preset.patterns.sequence == "0:100"
    assert len(incumbent.plan.dataset.patterns) == len(scene.dataset.patterns)


def test_data_are_taken_as_the_first_run_found_them(scene, monkeypatch):
    """With the step and half turn that it found, and without its drift if that is requested."""

    def moved(dataset, drift):
        return replace(dataset, positions_A=dataset.positions_A + np.asarray(drift.drift_A))

    monkeypatch.setattr(second_run, "without_drift", moved)
    drift = Drift((3.0, -2.0), (0.1, 0.1), 0.0, 0.0, True, "a drift")
    curve = Curve(Scanned.SCALE, (1.0,), (1.0,), 1.0, 1.1, 0.01, True, "a larger step")
    calibration = scene.dataset.calibration
    first = came(LARGE, calibration=calibration, half_turn=True, curves=(curve,))
    incumbent = Incumbent(RunPlan(scene.dataset, THICK), first, None)  # type: ignore[arg-type]
    given_A, found = scene.dataset.positions_A, incumbent.found(scene.dataset)
    np.testing.assert_allclose(np.ptp(found.positions_A, axis=0), 1.1 * np.ptp(given_A, axis=0), rtol=1e-5)
    assert (found.positions_A[0] > found.positions_A[-1]).all() == (given_A[0] < given_A[-1]).all()
    drifting = replace(first, result=replace(first.result, drift=drift))
    straight = replace(incumbent, record=drifting).found(scene.dataset, drift_removed=True)
    np.testing.assert_allclose(straight.positions_A, found.positions_A + np.array([3.0, -2.0]))
    np.testing.assert_array_equal(
        replace(incumbent, record=drifting).found(scene.dataset).positions_A, found.positions_A
    )


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("turns", [True, False])
def test_the_end_is_told_relative_to_the_data_as_given(scene, turned, turns):
    orientation = Orientation(transposed=True, turn_deg=0.0)
    earlier, later = (Curve(Scanned.ROTATION, (1.0,), (1.0,), 0.0, turn, 0.1, True, "") for turn in (1.0, 2.0))
    plan = RunPlan(scene.dataset, THICK, half_turn=turned, orientation=orientation, curves=(earlier,))
    record = plan.relative_to_given(came(1.0, half_turn=turns, curves=(later,)))
    assert (record.half_turn, record.orientation) == (turned is not turns, orientation)
    assert record.curves == (earlier, later)


def test_a_rotation_that_the_second_run_finds_is_added_to_that_of_the_first(scene):
    plan = RunPlan(scene.dataset, THICK, orientation=Orientation(transposed=True, turn_deg=1.0))
    record = plan.relative_to_given(came(1.0, orientation=AS_IT_IS.turned(0.5)))
    assert record.orientation == Orientation(transposed=True, turn_deg=1.5)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"num_slices": "auto", "total_thickness_A": None}, True),
        ({"num_slices": 1, "total_thickness_A": None}, False),
        ({"epoch_max": 3}, False),
        ({"optimizer": "epie"}, False),
        ({"update_obj": False}, False),
    ],
)
def test_a_refinement_of_several_slices_that_ends_by_itself_may_be_repeated(changed, expected):
    assert may_run_again(THICK.model_copy(update=changed)) is expected
