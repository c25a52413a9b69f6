"""The other half turn: tested where a finished refinement leaves far more than noise, adopted if it leaves far less."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptylive.engine.refine import TrialContext, refine
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.outcome import EXPLAINED
from ptylive.engine.refine.results.refinement_result import Progress
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again import other_half_turn
from ptylive.engine.refine.run.again.drift_afterwards import HeldEnd
from ptylive.engine.refine.run.again.other_half_turn import (
    Runs,
    Turned,
    half_turn_is_tested,
    refined_either,
    residual_is_large,
)
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.tuning.parameter_search import present_value
from ptylive.schema import Origin, Quantity
from ptylive.schema.advice.half_turn import heard_half_turn
from ptylive.schema.errors import RefinementError, StoppedError
from ptylive.schema.preset import Preset

NOISE, THICKNESS_A = 400.0, 120.0
THICK = Preset(num_slices=4, total_thickness_A=THICKNESS_A, probe_modes=1)


@dataclass(frozen=True)
class Result:
    """Stands for a refinement's result."""

    loss: tuple[float, ...]
    state: str = "done"
    reason: str = "4 slices"
    drift: Drift | None = None
    phases: tuple[str, ...] = ("sweep", "lbfgs")
    seconds: tuple[float, ...] = (1.0, 1.0)
    noise: float | None = NOISE

    @property
    def loss_over_noise(self) -> float | None:
        return None if self.noise is None else self.loss[-1] / self.noise


@dataclass(frozen=True)
class Came:
    """Stands for the outcome of a refinement."""

    result: Result
    calibration: Any
    preset: Preset = THICK
    slices: int = 4
    half_turn: bool = True
    orientation: Any = None


@dataclass
class Asked:
    """Records what was refined instead, and the messages."""

    first: Came
    dataset: Any
    middle: list[Any] = field(default_factory=list)
    scans: list[Any] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def ended(self, other: Any, second: Any = None, **files: Any) -> Came:
        """Outcome after the test of the other half turn, whose loss in the middle is ``other``."""

        def of_middle(dataset: Any, preset: Preset) -> Any:
            self.middle.append((dataset, preset))
            if isinstance(other, RefinementError):
                raise other
            return other

        def of_scan(dataset: Any, preset: Preset, observers: Observers, words: str) -> Any:
            self.scans.append((dataset, preset, observers, words))
            observers.on_progress(progress("second", "done"))
            if isinstance(second, RefinementError):
                raise second
            return second

        def tell(one: Progress) -> None:
            if one.state == "done":
                self.told.append(one.message)

        held = HeldEnd(tell)
        held(progress("first", "done"))
        identity = checkpoints.Identity("here")
        observers = Observers(tell, lambda: False, files.get("checkpoint"), identity, files.get("loss_table"))
        ended: Any = refined_either(
            self.first, self.dataset, THICK, observers, held, TrialContext("cpu"), Runs(of_middle, of_scan)
        )
        held.release()
        return ended


def progress(message: str, state: Any) -> Progress:
    return Progress(state, "lbfgs", 1, 1, 1.0, 1.0, 0.0, 1.0, message)


@pytest.fixture
def asked(simulated) -> Asked:
    found = {"C10": Quantity(-80.0, Origin.ESTIMATED, 5.0), "rotation_deg": Quantity(25.0, Origin.ESTIMATED, 0.5)}
    dataset = replace(simulated.dataset, calibration=simulated.dataset.calibration.having(**found))
    return Asked(Came(Result((9000.0, 13 * NOISE)), dataset.calibration), dataset)


def test_a_refinement_that_leaves_little_is_not_asked(asked):
    asked.first = replace(asked.first, result=Result((9000.0, 0.99 * EXPLAINED * NOISE)))
    assert asked.ended(Result((1.0,))) is asked.first
    assert (asked.middle, asked.told) == ([], ["first"])


@pytest.mark.parametrize(
    "changed",
    [
        {"slices": 1},
        {"result": Result((9000.0, 9000.0), noise=None)},
        {"result": Result((9000.0, 9000.0), "stopped")},
    ],
)
def test_nor_one_slice_nor_what_has_no_noise_nor_a_stopped_one(asked, changed):
    assert residual_is_large(asked.first)
    assert not residual_is_large(replace(asked.first, **changed))


def test_one_that_leaves_far_less_is_refined_and_stands(asked, tmp_path):
    second = Came(Result((2000.0,)), asked.first.calibration, half_turn=False)
    ended = asked.ended(Result((0.4 * 13 * NOISE,)), second, checkpoint=tmp_path / "run")
    assert ended.result is second.result
    assert ended.half_turn is False, "the first was turned, and this one is as the data set is"
    dataset, preset, observers, words = asked.scans[0]
    assert words == "no half turn: the first run ended at 13 times the counting noise, this half turn at 0.4 of that"
    assert observers.checkpoint == checkpoints.of_other_half_turn(tmp_path / "run") != tmp_path / "run"
    assert observers.identity.data != "here"
    assert preset.object.slices == 4
    # the first was under the other half turn than the data set; this one is as recorded, seen from its entrance
    np.testing.assert_allclose(dataset.positions_A, asked.dataset.positions_A)
    assert asked.told == ["second"], "one end is told, that of what stands"


def test_a_turn_is_said_so_that_the_page_hears_it(asked):
    asked.first = replace(asked.first, half_turn=False)
    ended = asked.ended(Result((100.0,)), Came(Result((99.0,)), asked.first.calibration, half_turn=False))
    assert ended.half_turn is True
    heard = heard_half_turn(asked.scans[0][3])
    assert heard is not None and heard[0] == pytest.approx(-155.0)


def test_one_that_leaves_hardly_less_leaves_the_first_which_says_so(asked):
    ended = asked.ended(Result((0.9 * 13 * NOISE,)))
    assert ended.result.reason == "4 slices; the other half turn ends at 0.9 times the loss"
    assert ended.result.loss == asked.first.result.loss
    assert (asked.scans, asked.told) == ([], ["first"])


@pytest.mark.parametrize("other", [Result((100.0,), "stopped"), StoppedError("stopped"), RefinementError("x", "y")])
def test_a_question_that_does_not_come_to_its_end_leaves_the_first(asked, other):
    assert asked.ended(other) is asked.first
    assert (asked.scans, asked.told) == ([], ["first"])


@pytest.mark.parametrize("stopped", [True, False])
def test_a_second_run_that_does_not_come_to_its_end_leaves_the_first_and_its_table(asked, tmp_path, stopped):
    table = tmp_path / "loss.csv"
    second: Any = StoppedError("stopped")
    if stopped:
        second = Came(Result((2000.0,), "stopped"), asked.first.calibration)
    assert asked.ended(Result((100.0,)), second, loss_table=table) is asked.first
    assert asked.told == ["first"]
    assert [line.split(",")[2] for line in table.read_text().split()] == ["loss", "9000.0", "5200.0"]


def test_of_a_large_scan_both_are_refined_in_its_middle(asked, monkeypatch):
    monkeypatch.setattr(other_half_turn, "MIDDLE", 25)
    asked.ended(Result((100.0,)))
    (present, _), (other, _) = asked.middle
    assert len(present.patterns) == len(other.patterns) <= 25
    np.testing.assert_allclose(present.positions_A, -other.positions_A)
    assert asked.scans == [], "of the same loss"


def test_what_was_the_exit_is_the_entrance(asked, monkeypatch):
    def moved(dataset: Any, drift: Drift) -> Any:
        return replace(dataset, positions_A=dataset.positions_A + np.asarray(drift.drift_A))

    monkeypatch.setattr(other_half_turn, "without_drift", moved)
    drift = Drift((3.0, -2.0), (0.1, 0.1), 0.0, 0.0, True, "a drift")
    first: Any = replace(asked.first, half_turn=False, result=replace(asked.first.result, drift=drift))
    turned = Turned.of(asked.dataset, first)
    entrance_A = present_value(turned.present, turned.preset, Scanned.DEFOCUS)
    middle_A = entrance_A - THICKNESS_A / 2
    assert present_value(turned.other, turned.preset, Scanned.DEFOCUS) == pytest.approx(-middle_A + THICKNESS_A / 2)
    np.testing.assert_allclose(turned.other.positions_A, -asked.dataset.positions_A)
    still = Turned.of(asked.dataset, first, drift_removed=True)
    np.testing.assert_allclose(still.present.positions_A, asked.dataset.positions_A + np.array([3.0, -2.0]))
    np.testing.assert_allclose(still.other.positions_A, -still.present.positions_A)


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
def test_a_refinement_of_several_slices_that_ends_by_itself_may_be_asked(asked, changed, expected):
    assert half_turn_is_tested(asked.dataset, THICK.model_copy(update=changed)) is expected


def test_nobody_asks_where_the_half_turn_was_stated(asked):
    given = asked.dataset.calibration.having(rotation_deg=Quantity(25.0, Origin.GIVEN))
    assert not half_turn_is_tested(replace(asked.dataset, calibration=given), THICK)


@pytest.mark.parametrize(
    ("far_less", "said"), [(0.0, "; the other half turn ends at "), (1e9, "the first run ended at ")]
)
def test_a_run_is_asked_when_it_has_ended(small, monkeypatch, far_less, said):
    """Whole runs on little data: half turn, calibration and checkpoint of the adopted run accompany its result."""
    monkeypatch.setattr(other_half_turn, "EXPLAINED", 0.0)
    monkeypatch.setattr(other_half_turn, "FAR_LESS", far_less)
    found = {"C10": Quantity(-80.0, Origin.ESTIMATED, 5.0), "rotation_deg": Quantity(25.0, Origin.ESTIMATED, 0.5)}
    dataset = replace(small.dataset, calibration=small.dataset.calibration.having(**found))
    short = {"sweeps": 1, "algorithm": "lsq_sqrt", "refine_drift": False, "phase_deviation": False, "anchor": 0.0}
    fixed = {"scan_defocus": False, "phase_only_obj": True, "source_size_A": 0.0} | short
    thick = Preset(num_slices=2, total_thickness_A=40.0, probe_modes=1, **fixed)
    ends: list[str] = []
    result = refine(dataset, thick, backend="cpu", on_progress=lambda told: ends.append(told.state))
    assert said in result.reason
    turned = abs(result.calibration.rotation_deg - 25.0) > 90
    assert turned is (far_less > 1)
    assert ends.count("done") == 1 and ends[-1] == "done"


def test_checkpoints_lie_beside_each_other():
    first = Path("a/run.ckpt")
    others = checkpoints.of_other_half_turn(first), checkpoints.of_second_run(first), checkpoints.of_stage(first, 2)
    assert len({first, *others, checkpoints.of_second_run(others[0])}) == 5
    assert {one.parent for one in others} == {Path("a")}
