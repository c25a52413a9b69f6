"""A complex object, a damped one or a phase for several slices, chosen by held-out loss."""

from dataclasses import replace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning import form_choice
from ptylive.engine.refine.tuning.form_choice import with_chosen_form
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
THICK = Preset(probe_modes=1, num_slices=3, total_thickness_A=70.0, refine_drift=False)
NOTHING = Gain(0.0, 0.02)
FLAT = THICK.model_copy(update={"total_thickness_A": 10.0})


def told(monkeypatch, *, phase=NOTHING, free=NOTHING, no_lattice=False):
    """Prescribe the trials of a phase, and of a damped object that is not bound to vacuum."""
    monkeypatch.setattr(form_choice, "_gain_of_a_phase", lambda tuned, context: (phase, no_lattice))
    monkeypatch.setattr(form_choice, "_gain_without_the_bound", lambda tuned, context: free)


def told_a_film(monkeypatch, *, phase=100.0, bounded=100.0):
    """Prescribe that there is no lattice, and losses of a phase without bound and with it; a complex object has 100."""
    made: list[dict] = []

    def settled_loss(tuned, words, context, **settings):
        made.append(settings)
        loss = 100.0
        if "phase_only_obj" in settings:
            loss = phase if settings["phase_only_obj"] else 100.0
        elif "non_negative_phase" in settings:
            loss = bounded
        scatter = 1.0 if loss == 100.0 else 0.0
        return HeldOutLoss((loss - scatter, loss + scatter, loss - scatter, loss + scatter))

    told(monkeypatch, no_lattice=True)
    monkeypatch.setattr(form_choice, "_settled_loss", settled_loss)
    return made


@pytest.mark.parametrize(
    ("gain", "chosen"),
    [(Gain(0.2, 0.02), True), (Gain(0.2, 0.12), "auto"), (Gain(0.06, 0.01), "auto"), (Gain(-0.3, 0.02), "auto")],
    ids=["far-better", "not-certain", "a-little-better", "worse"],
)
def test_a_phase_where_it_predicts_far_better_beyond_doubt(monkeypatch, gain, chosen):
    told(monkeypatch, phase=gain)
    tuned = with_chosen_form(Tuned(scan_of_columns(points=16), THICK), CPU)
    form = tuned.preset.object
    assert form.phase_only_obj == chosen
    assert form.non_negative_phase == chosen  # a phase is bound to the vacuum
    assert tuned.words[0].startswith("phase only:" if chosen is True else "complex object:")


@pytest.mark.parametrize("thickness_A", [10.0, 70.0])
@pytest.mark.parametrize(
    ("gain", "counts", "chosen"),
    [(Gain(-0.09, 0.01), 2.5e3, True), (Gain(-0.2, 0.01), 2.5e3, "auto"), (Gain(-0.09, 0.01), 3e3, "auto")],
    ids=["few", "far-worse", "more"],
)
def test_few_electrons_are_refined_as_a_phase_unless_it_is_far_behind(monkeypatch, gain, counts, chosen, thickness_A):
    """The doses are 4444 and 5333 e/Å²."""
    told(monkeypatch, phase=gain)
    scan = scan_of_columns(points=16, counts=counts)
    thick = THICK.model_copy(update={"total_thickness_A": thickness_A})
    tuned = with_chosen_form(Tuned(scan, thick), CPU)
    form = tuned.preset.object
    assert form.phase_only_obj == chosen
    if chosen is True:
        assert (form.weakly_damped_obj, form.non_negative_phase) == (False, True)
        assert tuned.words[0].startswith("phase only: few electrons")
        assert tuned.words[0].endswith(f"(gain {gain.opposite})"), "that of the complex object, which it names"
        free = thick.model_copy(update={"non_negative_phase": False})
        assert with_chosen_form(Tuned(scan, free), CPU).preset.object.non_negative_phase is False


@pytest.mark.parametrize(("gain", "thickness_A"), [(0.2, 70.0), (0.0, 10.0)], ids=["phase", "damped"])
def test_a_bound_that_is_given_is_kept(monkeypatch, gain, thickness_A):
    told(monkeypatch, phase=Gain(gain, 0.02))
    monkeypatch.setattr(form_choice, "_gain_without_the_bound", lambda *told: pytest.fail("tried"))
    free = THICK.model_copy(update={"non_negative_phase": False, "total_thickness_A": thickness_A})
    form = with_chosen_form(Tuned(scan_of_columns(points=16), free), CPU).preset.object
    assert (form.phase_only_obj, form.weakly_damped_obj) == ((True, False) if gain else ("auto", True))
    assert form.non_negative_phase is False


@pytest.mark.parametrize(
    ("gain", "share", "damped"),
    [
        (Gain(0.06, 0.01), 0.99, True),
        (Gain(0.06, 0.01), 1.01, False),
        (Gain(0.2, 0.12), 0.99, True),
        (Gain(0.2, 0.02), 0.99, False),
        (Gain(-0.09, 0.01), 0.99, True),
        (Gain(-0.11, 0.01), 0.99, True),
        (Gain(-0.11, 0.004), 0.99, False),
    ],
    ids=["a-little-better", "deeper", "not-certain", "far-better", "a-little-worse", "perhaps-far-worse", "far-worse"],
)
def test_a_damped_object_within_a_focus_where_a_phase_is_neither_far_better_nor_far_behind(
    monkeypatch, gain, share, damped
):
    told(monkeypatch, phase=gain)
    scan = scan_of_columns(points=16)
    thickness_A = share * form_choice.THIN_DEPTHS * scan.calibration.depth_of_focus_A
    tuned = with_chosen_form(Tuned(scan, THICK.model_copy(update={"total_thickness_A": thickness_A})), CPU)
    form = tuned.preset.object
    assert form.weakly_damped_obj is damped
    assert tuned.words[0].startswith("weakly damped object:") is damped
    if damped:
        assert (form.phase_only_obj, form.non_negative_phase) == ("auto", True)
        assert tuned.words[0].endswith(
            f"a complex object does not predict held-out patterns much better than a phase (gain {gain.opposite})"
        )


@pytest.mark.parametrize(
    ("gain", "freed"),
    [
        (Gain(0.05, 0.01), True),
        (Gain(0.05, 0.03), False),
        (Gain(0.008, 0.001), False),
        (Gain(0.012, 0.001), True),
        (Gain(-0.05, 0.01), False),
    ],
    ids=["far-better", "not-certain", "a-little-better", "enough", "worse"],
)
def test_a_damped_object_is_freed_of_vacuum_where_it_then_predicts_far_better(monkeypatch, gain, freed):
    told(monkeypatch, free=gain)
    tuned = with_chosen_form(Tuned(scan_of_columns(points=16), FLAT), CPU)
    form = tuned.preset.object
    assert (form.weakly_damped_obj, form.non_negative_phase) == (True, not freed)
    assert tuned.words[1].startswith("phase not bounded by vacuum:" if freed else "phase at or above vacuum:")


@pytest.mark.parametrize(
    ("phase", "chosen"), [(98.0, True), (99.5, "auto"), (102.0, "auto")], ids=["better", "in-doubt", "worse"]
)
def test_a_film_is_a_phase_if_that_predicts_better_beyond_doubt(monkeypatch, phase, chosen):
    told_a_film(monkeypatch, phase=phase, bounded=120.0)
    tuned = with_chosen_form(Tuned(scan_of_columns(points=16), THICK), CPU)
    form = tuned.preset.object
    assert form.phase_only_obj == chosen
    assert form.non_negative_phase == (False if chosen is True else "auto")
    assert tuned.words[0].startswith("phase only: there is no clear lattice" if chosen is True else "complex object:")


@pytest.mark.parametrize(("bounded", "freed"), [(97.0, True), (95.5, True), (94.5, False)])
def test_the_phase_of_a_film_is_freed_of_vacuum_where_it_then_predicts_better(monkeypatch, bounded, freed):
    told_a_film(monkeypatch, phase=95.0, bounded=bounded)
    tuned = with_chosen_form(Tuned(scan_of_columns(points=16), THICK), CPU)
    assert tuned.preset.object.non_negative_phase is (not freed)
    assert tuned.words[1].startswith("phase not bounded by vacuum:" if freed else "phase at or above vacuum:")


@pytest.mark.parametrize("bound", [True, False])
def test_a_bound_that_is_given_is_kept_for_a_film(monkeypatch, bound):
    made = told_a_film(monkeypatch, phase=95.0)
    given = THICK.model_copy(update={"non_negative_phase": bound})
    form = with_chosen_form(Tuned(scan_of_columns(points=16), given), CPU).preset.object
    assert (form.phase_only_obj, form.non_negative_phase) == (True, bound)
    assert [settings.get("non_negative_phase") for settings in made] == [None, bound]


def test_a_film_of_few_electrons_is_refined_as_other_specimens(monkeypatch):
    made = told_a_film(monkeypatch, phase=95.0)
    form = with_chosen_form(Tuned(scan_of_columns(points=16, counts=2.5e3), THICK), CPU).preset.object
    assert (form.phase_only_obj, form.non_negative_phase, made) == (True, True, [])


@pytest.mark.parametrize(("phase", "chosen"), [(98.0, False), (102.0, "auto")])
def test_of_a_film_longer_trials_decide_even_if_a_phase_was_far_better_in_short_ones(monkeypatch, phase, chosen):
    told_a_film(monkeypatch, phase=phase, bounded=120.0)
    monkeypatch.setattr(form_choice, "_gain_of_a_phase", lambda tuned, context: (Gain(0.2, 0.02), True))
    form = with_chosen_form(Tuned(scan_of_columns(points=16), THICK), CPU).preset.object
    assert form.non_negative_phase == chosen


def test_longer_trials_are_not_asked_where_a_phase_is_far_behind(monkeypatch):
    made = told_a_film(monkeypatch, phase=95.0)
    monkeypatch.setattr(form_choice, "_gain_of_a_phase", lambda tuned, context: (Gain(-0.2, 0.02), True))
    form = with_chosen_form(Tuned(scan_of_columns(points=16), THICK), CPU).preset.object
    assert (form.phase_only_obj, made) == ("auto", [])


def test_a_film_within_a_depth_of_focus_is_damped_as_other_specimens(monkeypatch):
    told_a_film(monkeypatch, phase=95.0)
    form = with_chosen_form(Tuned(scan_of_columns(points=16), FLAT), CPU).preset.object
    assert (form.phase_only_obj, form.weakly_damped_obj) == ("auto", True)


@pytest.mark.parametrize("random", [True, False])
def test_a_film_shows_no_lattice_in_the_sum_of_its_slices(random):
    """A lattice that is in the last slice only is seen as well."""
    settings = THICK.model_copy(update={"phase_only_obj": True})
    trial = Trial.of(scan_of_columns(points=24), settings, CPU)
    grid, slices = trial.problem.grid, 3
    rows, cols = np.indices(grid.shape) * np.broadcast_to(grid.pixel_A, 2)[:, None, None]
    at_random = np.random.default_rng(20268).normal(size=(slices, *grid.shape))
    lattice = 10 * np.cos(2 * np.pi * rows / 2.0) * np.cos(2 * np.pi * cols / 2.0)
    phase = at_random if random else at_random + [[[0]], [[0]], [[1]]] * lattice
    vector = np.array(trial.problem.start)
    trial.problem.layout.object_block(vector).reshape(phase.shape)[:] = phase
    assert form_choice._lacks_a_lattice(trial, SweepState(vector)) is random


@pytest.mark.slow
def test_with_and_without_the_bound_it_is_tried_as_it_would_be_refined_but_from_nothing(monkeypatch):
    made = []

    def losses(self, epochs, context):
        made.append((self, epochs))
        return [HeldOutLoss((90.0, 91.0) if len(made) == 2 else (100.0, 102.0))]

    monkeypatch.setattr(form_choice, "_gain_of_a_phase", lambda tuned, context: (NOTHING, False))
    monkeypatch.setattr(Trial, "lbfgs_losses", losses)
    asked = FLAT.model_copy(update={"sweeps": 1, "epoch_max": 1, "probe_modes": 3, "start_from_map": True})
    start = StartGuess(np.zeros((16, 16), np.float32), (0.75, 0.75))
    tuned = with_chosen_form(Tuned(scan_of_columns(points=24), asked), replace(CPU, start=start))
    assert tuned.preset.object.non_negative_phase is False
    bound, free = (trial.problem.strategy for trial, _ in made)
    assert (str(bound.object_form), bound.non_negative, free.non_negative) == ("damped", True, False)
    assert replace(free, non_negative=True, reason=bound.reason) == bound
    assert (bound.sweeps, bound.coherence.modes, bound.start_from_map) == (5, 2, False)
    assert [epochs for _, epochs in made] == [(4,), (4,)]
    assert made[0][0].problem.multislice.count == 512


@pytest.mark.parametrize(("first", "sweeps"), [(130.0, 2), (97.0, 5)])
def test_a_phase_that_is_behind_after_two_sweeps_is_given_up(monkeypatch, first, sweeps):
    """A complex object predicts with a loss of 100, a phase finally with one of 50."""
    made = []

    def continued(self, state, sweeps, most, context):
        phase = self.preset.object.phase_only_obj
        made.append(sweeps)
        loss = 100.0 if not phase else first if sweeps == 2 else 50.0
        return None, HeldOutLoss((loss - 1, loss + 1, loss - 1, loss + 1) if phase else (100.0,) * 4)

    monkeypatch.setattr(Trial, "sweep_to", continued)
    monkeypatch.setattr(Trial, "enough_sweeps", lambda self, sweeps: sweeps)
    tuned = with_chosen_form(Tuned(scan_of_columns(points=16), THICK), CPU)
    assert made[-1] == sweeps
    assert (tuned.preset.object.phase_only_obj is True) == (sweeps == 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_slices": 1, "total_thickness_A": None},
        {"phase_only_obj": False},
        {"weakly_damped_obj": True},
        {"update_obj": False},
        {"optimizer": "epie"},
        {"phase_only_obj": "epoch > 5"},
    ],
)
def test_nothing_is_tried_where_there_is_nothing_to_choose(monkeypatch, changes):
    told(monkeypatch, phase=Gain(0.2, 0.02))
    begun = Tuned(scan_of_columns(points=16), Preset.from_mapping(THICK.model_dump(exclude_unset=True) | changes))
    assert with_chosen_form(begun, CPU) is begun


def test_nor_of_few_patterns(monkeypatch):
    told(monkeypatch, phase=Gain(0.2, 0.02))
    begun = Tuned(scan_of_columns(points=12), THICK)
    assert with_chosen_form(begun, CPU) is begun
    assert with_chosen_form(replace(begun, dataset=scan_of_columns(points=16)), CPU) is not begun
