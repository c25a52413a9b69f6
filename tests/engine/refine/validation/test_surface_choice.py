"""Empty surfaces are held where patterns held out are predicted better by it, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.engine.refine.validation import surface_choice
from ptylive.engine.refine.validation.surface_choice import SurfaceChoice, choose_surfaces, with_chosen_surfaces
from ptylive.schema.preset import Preset

THIN = {
    "window_px": 24, "probe_modes": 1, "source_size_A": 0.0, "focal_spread_A": 0.0, "method": "dgp", "num_slices": 8,
    "total_thickness_A": 16.0,
}  # fmt: skip
GROUPS = np.linspace(9, 11, 16)


@pytest.fixture
def played(monkeypatch):
    """Trials that are not made: losses of groups, without and with empty surfaces; ``asked``: the weights."""
    asked, losses = [], [GROUPS, GROUPS - 0.01]

    def judged(trial, context):
        asked.append(trial.preset.regularisers.value("surface_zero_weight"))
        return losses[len(asked) - 1]

    monkeypatch.setattr(surface_choice, "_judged", judged)
    monkeypatch.setattr(surface_choice, "LEAST_PATTERNS", 100)
    monkeypatch.setattr(surface_choice, "LEAST_DOSE_E_PER_A2", 0.0)
    return asked, losses


def choice(simulated, **settings):
    return choose_surfaces(simulated.dataset, Preset.from_mapping({**THIN, **settings}), TrialContext("cpu"))


def test_surfaces_are_empty_where_that_predicts_better(played, simulated):
    asked, losses = played
    found = choice(simulated)
    assert found.empty
    assert asked == [0.0, found.weight]
    assert "held empty (surface_zero_weight" in found.reason
    losses[1], _ = GROUPS + 0.01, asked.clear()
    assert not choice(simulated).empty


def test_the_weight_follows_the_electrons_on_a_pixel(played, simulated):
    asked, _ = played
    found = choice(simulated)
    asked.clear()
    double = replace(simulated.dataset, patterns=2 * simulated.dataset.patterns)
    more = choose_surfaces(double, Preset.from_mapping(THIN), TrialContext("cpu"))
    assert more.weight == pytest.approx(2 * found.weight, rel=0.1)


def test_few_electrons_are_not_asked(played, simulated, monkeypatch):
    """A penalty takes their noise away, wherever it acts."""
    monkeypatch.setattr(surface_choice, "LEAST_DOSE_E_PER_A2", 1e12)
    assert choice(simulated) is None
    assert played[0] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "pixels"},
        {"surface_zero_weight": 3.0},
        {"surface_zero_weight": "3 * (epoch > 2)"},
        {"num_slices": 5},
        {"update_obj": False},
    ],
)
def test_nothing_is_tried_where_it_was_said_or_means_nothing(played, simulated, settings):
    assert choice(simulated, **settings) is None


def test_what_was_chosen_reaches_the_run_and_its_words(monkeypatch, simulated):
    preset = Preset.from_mapping(THIN)
    for gain, weight in ((Gain(0.01, 0.001), 7.0), (Gain(0.01, 0.02), 0.0)):
        found = SurfaceChoice(7.0, gain)
        monkeypatch.setattr(surface_choice, "choose_surfaces", lambda *_, found=found: found)
        tuned, asked = with_chosen_surfaces(Tuned(simulated.dataset, preset), preset, TrialContext("cpu"))
        assert tuned.preset.regularisers.value("surface_zero_weight") == weight
        assert asked.regularisers.value("surface_zero_weight") == weight
        assert tuned.words[-1] == found.reason
