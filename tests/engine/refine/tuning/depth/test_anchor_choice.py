"""The anchor for several slices, chosen by held-out loss."""

from types import SimpleNamespace

import pytest
from columns import scan_of_columns
from quick_first import quick_first

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.tuning.depth import anchor_choice
from ptylive.engine.refine.tuning.depth.anchor_choice import with_chosen_anchor
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
THICK = Preset(probe_modes=1, num_slices=3, total_thickness_A=70.0, refine_drift=False)


@pytest.mark.parametrize(
    ("gain", "anchor"),
    [(Gain(0.02, 0.002), 0.03), (Gain(0.02, 0.015), 0.1), (Gain(0.008, 0.001), 0.1), (Gain(-0.1, 0.01), 0.1)],
    ids=["better", "not-certain", "not-worth-it", "worse"],
)
def test_a_weaker_one_where_it_predicts_better_beyond_doubt(monkeypatch, gain, anchor):
    monkeypatch.setattr(anchor_choice, "_gain", lambda *told: gain)
    tuned = with_chosen_anchor(Tuned(scan_of_columns(points=16), THICK), CPU)
    assert tuned.preset.solver.anchor == pytest.approx(anchor)
    assert tuned.words[0].startswith(f"anchor {anchor}:")
    assert str(gain) in tuned.words[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_slices": 1, "total_thickness_A": None},
        {"anchor": 0.1},
        {"anchor": 0.0},
        {"update_obj": False},
        {"update_tilts": True},
        {"optimizer": "epie"},
        {"sweeps": 0},
        {"sweeps": 3, "epoch_max": 3},
    ],
)
def test_nothing_is_tried_where_there_is_nothing_to_choose(monkeypatch, changes):
    monkeypatch.setattr(anchor_choice, "_gain", lambda *told: Gain(0.02, 0.002))
    begun = Tuned(scan_of_columns(points=16), Preset.from_mapping(THICK.model_dump(exclude_unset=True) | changes))
    assert with_chosen_anchor(begun, CPU) is begun


def test_nor_of_few_patterns(monkeypatch):
    monkeypatch.setattr(anchor_choice, "_gain", lambda *told: Gain(0.02, 0.002))
    begun = Tuned(scan_of_columns(points=12), THICK)
    assert with_chosen_anchor(begun, CPU) is begun


COURSES = [
    ([(100.0, 102.0), (97.0, 100.6), (97.0, 101.0)], [4, 8, 12], "2 ± 1 %"),  # falls of 3 and 1.4, 1 of 101
    ([(100.0, 102.0), (97.0, 99.1), (50.0, 50.0)], [4, 8], "2.9 ± 0.05 %"),
    ([(100.0, 102.0), (99.5, 101.5), (97.0, 99.1)], [4, 8, 12], "2.9 ± 0.05 %"),  # certain, but too little yet
    ([(100.0, 102.0), (101.0, 102.9), (50.0, 50.0)], [4, 8], "-0.94 ± 0.05 %"),
    ([(100.0, 102.0), (101.0, 102.4), (99.0, 101.1)], [4, 8, 12], "0.94 ± 0.05 %"),  # risen by two deviations
]
"""Held-out losses of two groups after each number of epochs; at which of them the trial looks; the gain."""
NAMES = ["late", "clear-before", "little-before", "risen", "in-doubt"]


@pytest.mark.parametrize(("losses", "looked", "told"), COURSES, ids=NAMES)
def test_the_epochs_between_decide_only_beyond_doubt(monkeypatch, losses, looked, told):
    seen = []

    def lbfgs_losses(epochs, context):
        for number, groups in zip(epochs, losses, strict=True):
            seen.append(number)
            yield HeldOutLoss(groups)

    problem = SimpleNamespace(strategy=SimpleNamespace(anchor=0.03))
    trial = SimpleNamespace(problem=problem, lbfgs_losses=lbfgs_losses)
    monkeypatch.setattr(anchor_choice.Trial, "of", lambda *given: trial)
    gain = anchor_choice._gain(None, THICK, None, CPU)
    assert seen == looked
    assert str(gain) == told


@pytest.mark.parametrize(("losses", "looked", "told"), quick_first(COURSES, 1), ids=NAMES)
def test_the_trial_is_of_the_weaker_one_late_beside_early(monkeypatch, losses, looked, told):
    made, seen = [], []
    step = Lbfgs.step

    def counted(self, state):
        made.append((self.anchor, self.objective.count))
        return step(self, state)

    def judged(self, loss, vector):
        seen.append(len(made))
        assert len(self.held_out) == 32
        return losses[len(seen) - 1]

    monkeypatch.setattr(Lbfgs, "step", counted)
    monkeypatch.setattr(Trial, "held_out_losses", judged)
    tuned = with_chosen_anchor(Tuned(scan_of_columns(points=16), THICK), CPU)
    assert seen == looked
    assert made == [(pytest.approx(0.03), 256 - 32)] * looked[-1]
    assert f"gain {told}" in tuned.words[0] or f"by {told}" in tuned.words[0]


@pytest.mark.slow
def test_what_is_held_fast_goes_on_to_nothing():
    """A pull 200 times as strong as the data leaves hardly anything to gain in an epoch."""
    dataset = scan_of_columns(points=16)
    gains = []
    for anchor in (100.0, 0.03):
        settings = THICK.model_copy(update={"anchor": anchor, "sweeps": 1})
        gains.append(anchor_choice._gain(dataset, settings, CPU.cache.measure(dataset, settings), CPU))
    held, freer = gains
    assert freer.certain
    assert freer.share > 10 * abs(held.share)


def test_what_is_let_go_may_go_on():
    dataset = scan_of_columns(points=16)
    measured = CPU.cache.measure(dataset, THICK)
    held, freer = (
        decide(measured, THICK.model_copy(update={"anchor": anchor}), has_start=False) for anchor in ("auto", 0.03)
    )
    assert (held.anchor, freer.anchor) == (0.1, 0.03)
    assert (held.sweeps, freer.sweeps) == (5, 5)
    assert (held.epochs, freer.epochs) == (20, 20)
    assert (held.more_epochs, freer.more_epochs) == (0, 21)
    fixed = THICK.model_copy(update={"anchor": 0.03, "epoch_max": 20})
    assert decide(measured, fixed, has_start=False).more_epochs == 0
