"""Networks after pixels: the same result, progress and curves; stopping; the choice between both; no picture of noise.

Where PyTorch is not installed, training is replaced by a script that defines the networks' output after each epoch.
"""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.dgp import available
from ptylive.engine.dgp.ring_gains import BANDS
from ptylive.engine.refine import refine
from ptylive.engine.refine.run import generative
from ptylive.engine.refine.run.history import History, snapshots
from ptylive.engine.refine.run.prior_choice import PriorChoice
from ptylive.schema.preset import Preset

ODD = {
    "window_px": 32, "probe_modes": 1, "source_size_A": 0.0, "focal_spread_A": 0.0, "method": "dgp", "epoch_max": 3,
    "refine_drift": False, "num_slices": 1, "phase_deviation": False,
}  # fmt: skip


@pytest.fixture
def script(monkeypatch):
    """Training that turns the pixels into ``makes(pixels, epoch)``; ``seen`` are the patterns it was given."""
    played = SimpleNamespace(makes=lambda pixels, epoch: pixels, epochs=3, seen=None, evaluated=None, held=[])

    class Training:
        where = "processor"

        def __init__(self, plan, parts, vector, xp, threads):
            self.pixels, self.epochs = vector, 0

        def pretrained(self):
            yield 1, 0.5

        def on_patterns(self, evaluate, patterns, scale):
            played.seen, self.evaluate, self.loss = patterns, evaluate, np.nan
            return self

        def epoch(self):
            self.epochs += 1
            played.evaluated = self.evaluate(self.vector(), played.seen[:9])
            yield 1
            self.loss = played.evaluated[0] / 9
            yield 2

        def after(self, held):
            played.held.append(held)
            return self.epochs < played.epochs

        def vector(self):
            return np.array(played.makes(self.pixels.copy(), self.epochs))

    fake = ModuleType("ptylive.engine.dgp.training")
    fake.Training = Training
    monkeypatch.setitem(sys.modules, "ptylive.engine.dgp.training", fake)
    monkeypatch.setattr(available, "missing", lambda: "")
    return played


def worse(pixels, epoch):
    return pixels + 0.3 * np.random.default_rng(epoch).random(pixels.size, np.float32)


def run(dataset, seen=None, **settings):
    said = [] if seen is None else seen
    return refine(dataset, Preset.from_mapping({**ODD, "dgp_epochs": 3, **settings}), on_progress=said.append)


def test_the_result_has_curves_phases_and_a_report(script, small):
    seen = []
    result = run(small.dataset, seen)
    assert result.state == "done"
    assert result.phases[-3:] == ("dgp",) * 3
    assert len(result.loss) == len(result.seconds) == len(result.phases) == 6
    assert result.prior.first_epoch == 3
    assert len(result.prior.losses_held) == 4
    assert result.prior.sentence in result.message
    assert not result.prior.warning
    assert "then a deep generative prior: 2 networks of" in result.reason
    assert [p.state for p in seen].count("done") == 1
    assert seen[-1].state == "done"
    assert {p.phase for p in seen} >= {"sweep", "dgp"}
    assert {p.epochs for p in seen if p.phase != "trial"} == {6}
    assert seen[-1].preview().object_phase.shape == result.object.shape[-2:]


def test_neither_pixels_nor_networks_see_what_they_are_judged_by(script, small):
    result = run(small.dataset, dgp_held_out=0.25)
    assert len(script.seen) == 64 - 16
    assert result.prior.held_out == 16


def test_where_the_networks_are_worse_the_result_is_that_of_pixels_from_all_patterns(script, small):
    script.makes, seen = worse, []
    result = run(small.dataset, seen)
    assert result.prior.epoch == 0
    assert result.message.startswith("pixels as refined before the networks")
    assert "refined again with all patterns" in result.message
    pixels = refine(small.dataset, Preset.from_mapping({**ODD, "method": "pixels"}))
    np.testing.assert_array_equal(result.object, pixels.object)
    assert result.phases[-len(pixels.phases) - 3 :] == ("dgp",) * 3 + pixels.phases
    assert result.loss[-1] == pixels.loss[-1]
    assert len(result.loss) == len(result.seconds) == len(result.phases) == 3 + 3 + len(pixels.loss)
    assert [p.state for p in seen].count("done") == 1
    assert seen[-1].state == "done"
    epochs = [p.epoch for p in seen if p.phase != "trial"]
    assert epochs == sorted(epochs)


def test_a_stop_while_pixels_are_refined_anew_leaves_those_that_were_kept(script, small):
    script.makes, asked = worse, []
    once = run(small.dataset, dgp_held_out=0.1)

    def progress(now):
        if now.message == "pixels refined again with all patterns":
            asked.append(now)

    preset = Preset.from_mapping({**ODD, "dgp_epochs": 3, "dgp_held_out": 0.1})
    result = refine(small.dataset, preset, on_progress=progress, should_stop=lambda: bool(asked))
    assert result.state == "stopped"
    assert result.phases.count("dgp") == 3
    assert result.object.shape == once.object.shape
    assert "stopped on request" in result.message


def test_training_is_told_what_patterns_held_out_say_and_may_end(script, small):
    script.epochs = 2
    result = run(small.dataset)
    assert result.phases.count("dgp") == 2
    np.testing.assert_allclose([held.mean() for held in script.held], result.prior.losses_held[1:])


def test_the_best_epoch_is_taken_not_the_last(script, small):
    script.makes = lambda pixels, epoch: pixels if epoch == 2 else worse(pixels, epoch)
    assert run(small.dataset).prior.epoch == 2


def test_of_states_that_predict_as_well_the_earliest_is_the_result(script, small, monkeypatch):
    monkeypatch.setattr(generative, "fitted_gains", lambda *_: (np.zeros(BANDS + 1), np.ones(9), np.ones(9)))
    made = {}

    def hardly_different(pixels, epoch):
        made[epoch] = pixels + 1e-4 * np.random.default_rng(epoch).standard_normal(pixels.size, np.float32)
        return made[epoch]

    script.makes = hardly_different
    monkeypatch.setattr(PriorChoice, "_as_good", staticmethod(lambda earlier, best: True))
    result = run(small.dataset)
    assert result.prior.epoch == 1
    phase = made[1][: np.angle(result.object).size].reshape(result.object.shape[-2:])
    np.testing.assert_allclose(np.angle(result.object[0, 0]), np.maximum(phase, 0), atol=1e-5)


@pytest.mark.slow
def test_bounds_hold_whatever_networks_make(script, small):
    script.makes = lambda pixels, epoch: pixels - 0.01
    result = run(small.dataset, phase_only_obj=True, non_negative_phase=True)
    assert np.angle(result.object).min() >= 0


def test_held_constraints_hold_in_loss_gradient_and_result(script, small):
    script.makes = worse
    settings = {"num_slices": 3, "total_thickness_A": 20.0, "identical_slices": True, "dgp_held_out": 0.1}
    result = run(small.dataset, **settings)
    planes = result.object.shape[-2] * result.object.shape[-1]
    gradient = script.evaluated[1][: 6 * planes].reshape(2, 3, planes)
    np.testing.assert_array_equal(gradient[:, 0], gradient[:, 2])
    np.testing.assert_array_equal(result.object[0, 0], result.object[0, 1])


def test_a_stop_amid_the_networks_gives_what_there_is(script, small):
    asked = []

    def stop():
        return len(asked) > 0

    def progress(now):
        if now.phase == "dgp" and "epoch 2 of the networks" in now.message:
            asked.append(now)

    result = refine(
        small.dataset, Preset.from_mapping({**ODD, "dgp_epochs": 3}), on_progress=progress, should_stop=stop
    )
    assert result.state == "stopped"
    assert result.message.startswith("stopped on request; ")
    assert result.phases.count("dgp") == 2


def test_shuffled_patterns_are_warned_of(script, simulated):
    order = np.random.default_rng(6).permutation(144)
    mixed = replace(simulated.dataset, patterns=simulated.dataset.patterns[order])
    result = run(mixed, dgp_held_out=0.25)
    assert result.message.startswith("no image: 36 held-out patterns are predicted no better at their own positions")


def test_loss_table_and_history_go_on(script, small, tmp_path):
    refine(
        small.dataset,
        Preset.from_mapping({**ODD, "dgp_epochs": 3}),
        loss_table=tmp_path / "loss.csv",
        history=History(tmp_path / "history"),
    )
    lines = (tmp_path / "loss.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]].count("dgp") == 3
    assert len(lines) == 7
    assert [path.stem for path in snapshots(tmp_path / "history")][-1] == "epoch_00006"


@pytest.mark.slow
def test_networks_may_be_a_stage_behind_pixels(script, small):
    stages = [{"name": "pixels", "method": "pixels"}, {"name": "networks", "sweeps": 1, "epoch_max": 1}]
    result = run(small.dataset, stages=stages)
    assert result.phases.count("dgp") == 3
    assert len(result.stages) == 2
    assert result.prior.first_epoch == 1


@pytest.mark.slow
def test_real_networks_explain_the_patterns(small):
    """Loading PyTorch takes seconds; pixels of one sweep predict held-out patterns some 1.1 % worse than networks."""
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ptylive[dgp]'")
    few = {"epoch_max": 1, "sweeps": 1, "dgp_filters": 8, "dgp_levels": 2, "dgp_epochs": 8, "dgp_pretraining": 40}
    settings = {**few, "dgp_held_out": 0.2, "dgp_pretraining_rate": 5e-3, "dgp_probe": False}
    result = run(small.dataset, **settings)
    assert result.prior.taken
    assert result.prior.over_pixels.share > 0.002
    again = run(small.dataset, **settings)
    np.testing.assert_array_equal(result.object, again.object)


@pytest.mark.slow
def test_bands_are_shown_as_strongly_as_patterns_held_out_ask_for(script, small, monkeypatch):
    """Pixels of a single epoch are too weak, so the networks' reproduction of them is raised."""
    settings = {"epoch_max": 1, "start_from_map": False, "dgp_held_out": 0.25}
    result = run(small.dataset, **settings)
    assert result.prior.bands.certain
    assert "each frequency band scaled to fit these patterns" in result.message
    # gains that predict nothing better leave the networks' output unchanged
    monkeypatch.setattr(generative, "fitted_gains", lambda *_: (np.zeros(BANDS + 1), np.ones(9), np.ones(9)))
    plain = run(small.dataset, **settings)
    assert plain.prior.bands is None
    assert np.angle(result.object).std() > 1.03 * np.angle(plain.object).std()  # 1.06; 1 if nothing is scaled
