"""One mode or several, chosen by held-out loss."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import Sweeps
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, LossCourse, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import ModeChoice, choose_modes, may_be_tried, settings_for_several
from ptylive.schema.preset import Preset

ONE = LossCourse(HeldOutLoss((104, 106, 105, 107)), HeldOutLoss((100, 102, 101, 103)))


def excess(early, late, scatter=0.0):
    """LossCourse of several modes whose loss exceeds that of one mode by these amounts."""
    uneven = np.array([1, -1, 1, -1]) * scatter
    return LossCourse(
        HeldOutLoss(tuple(np.add(ONE.early.groups, early + uneven))),
        HeldOutLoss(tuple(np.add(ONE.late.groups, late - uneven))),
    )


@pytest.mark.parametrize(
    ("several", "modes"),
    [
        (excess(3.0, 2.8), 1),  # 2.6 would remain
        (excess(3.0, 1.4), 4),  # falls as 1 / sweeps or faster: none would
        (excess(-1.0, -2.0), 4),
        (excess(3.0, 2.8, scatter=5.0), 4),  # the groups disagree
    ],
)
def test_one_mode_where_it_keeps_predicting_better_beyond_doubt(several, modes):
    choice = ModeChoice(4, ONE, several)
    assert choice.modes == modes
    assert choice.reason.startswith(f"{modes} probe mode")


def test_one_mode_that_is_behind_at_first_is_behind():
    several = LossCourse(HeldOutLoss(tuple(np.subtract(ONE.early.groups, 1.0))))  # ended early
    choice = ModeChoice(4, ONE, several)
    assert choice.modes == 4
    assert choice.gain.opposite.certain
    assert choice.gain.share < 0


@pytest.mark.parametrize(
    "settings", [{"update_obj": False}, {"recon_type": "near_field"}], ids=["no-object", "near-field"]
)
def test_nothing_is_tried_without_an_object_far_from_the_specimen(simulated, settings):
    frames = repeated(simulated.dataset)
    assert may_be_tried(frames, Preset(window_px=32))
    assert not may_be_tried(frames, Preset(window_px=32).model_copy(update=settings))


@pytest.mark.parametrize(
    ("several", "looked", "modes"),
    [
        ({1: 80.0}, [1], 4),  # far ahead of one mode after a sweep, which does not change
        ({1: 99.9, 2: 99.9}, [1, 2], 4),  # slightly ahead: the next sweep decides
        ({1: 110.0, 2: 110.0, 4: 110.0}, [1, 2, 4], 1),
    ],
)
def test_the_trial_ends_where_one_mode_cannot_win(monkeypatch, simulated, several, looked, modes):
    """One mode predicts with a loss of 100."""
    made = []

    def continued(self, state, sweeps, most, context):
        one = self.preset.probe.probe_modes == 1
        made.extend([sweeps] if one else [])
        loss = 100.0 if one else several[sweeps]
        return None, HeldOutLoss(tuple(loss + (0.0 if one else part) for part in (0.5, -0.5, 0.5, -0.5)))

    monkeypatch.setattr(Trial, "sweep_to", continued)
    preset = Preset(window_px=32)
    choice = choose_modes(repeated(simulated.dataset), preset, TrialContext("cpu"))
    assert made[: len(looked)] == looked
    assert choice.modes == modes


def test_a_trial_goes_on_where_it_was(simulated, monkeypatch):
    swept, step = [], Sweeps.step
    monkeypatch.setattr(Sweeps, "step", lambda self, state: swept.append(state.sweep) or step(self, state))
    trial = Trial.of(simulated.dataset, Preset(window_px=32, probe_modes=1), TrialContext("cpu"))
    state, first = trial.sweep_to(None, 1, 2, TrialContext("cpu"))
    assert state.sweep == 1
    at_once = trial.sweep_to(None, 2, 2, TrialContext("cpu"))[1]
    swept.clear()
    assert trial.sweep_to(state, 2, 2, TrialContext("cpu"))[1] == at_once
    assert set(swept) == {1}, "the second sweep only"
    assert at_once.mean < first.mean


def test_a_gain_says_how_sure_it_is():
    gain = Gain.of(np.array([1.0, 3.0, 1.0, 3.0]), 100.0)
    assert (gain.share, gain.deviation) == pytest.approx((0.02, np.sqrt(4 / 3) / 2 / 100))
    assert gain.certain
    assert str(gain) == "2 ± 0.6 %"
    assert not Gain.of(np.array([1.0, 7.0]), 100.0).certain


def repeated(dataset):
    rows, cols = dataset.scan_shape
    step = dataset.positions_A[cols] - dataset.positions_A[0]
    return replace(
        dataset,
        patterns=np.concatenate([dataset.patterns] * 2),
        point=np.arange(2 * rows * cols),
        positions_A=np.concatenate([dataset.positions_A, dataset.positions_A + rows * step]),
        scan_shape=(2 * rows, cols),
    )


@pytest.mark.slow
def test_a_coherent_scan_gets_one_mode(simulated):
    dataset = repeated(simulated.dataset)
    preset = Preset(algorithm="lsq_sqrt", source_size_A=0.8, sweeps=1, epoch_max=1)
    result = refine(dataset, preset, backend="cpu")
    assert result.probe.shape[1] == 1
    assert "1 probe mode:" in result.reason
    assert refine(dataset, preset.model_copy(update={"probe_modes": 3}), backend="cpu").probe.shape[1] == 3


def test_nothing_is_tried_where_modes_are_given_or_patterns_few(simulated):
    assert choose_modes(simulated.dataset, Preset(), TrialContext("cpu")) is None
    assert choose_modes(repeated(simulated.dataset), Preset(probe_modes=2), TrialContext("cpu")) is None


def test_the_choice_does_not_depend_on_steps_batch_and_seed_asked_for(simulated):
    dataset = repeated(simulated.dataset)
    presets = [Preset(window_px=32, sweep_step=step, probe_step=probe) for step, probe in ((0.5, 0.1), (1.0, 0.2))]
    presets[1] = presets[1].model_copy(update={"batch_size": 4, "seed": 3})
    first, second = (choose_modes(dataset, preset, TrialContext("cpu")) for preset in presets)
    assert first == second


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"probe_modes": 8, "focal_spread_A": 40.0}, {"probe_modes": 2, "focal_spread_A": 20.0}),
        ({"probe_modes": 8, "focal_spread_A": 5.0}, {"probe_modes": 2}),
        ({"probe_modes": 2, "focal_spread_A": 40.0}, {"probe_modes": 2}),
        ({"focal_spread_A": 40.0}, {"probe_modes": 2}),
        ({"probe_modes": 1}, {"probe_modes": 1}),
    ],
)
def test_a_wide_focal_spread_is_not_tried_in_fewer_modes(given, expected):
    assert settings_for_several(Preset.from_mapping(given)) == expected
