"""The source from which probe modes begin, chosen by held-out loss."""

import pytest
from columns import scan_of_columns
from quick_first import quick_first

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial
from ptylive.engine.refine.tuning.optics import source_choice
from ptylive.engine.refine.tuning.optics.source_choice import with_chosen_source
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
THIN = Preset(probe_modes=4, num_slices=1)


@pytest.mark.parametrize(
    ("gain", "size_A"),
    quick_first([(Gain(0.02, 0.002), 0.15), (Gain(0.02, 0.015), 0.3), (Gain(-0.1, 0.01), 0.3)], 2),
    ids=["better", "not-certain", "worse"],
)
def test_a_smaller_one_where_it_predicts_better_beyond_doubt(monkeypatch, gain, size_A):
    monkeypatch.setattr(source_choice, "_gain", lambda *told: gain)
    tuned = with_chosen_source(Tuned(scan_of_columns(points=16), THIN), CPU)
    assert tuned.preset.probe.source_size_A == pytest.approx(size_A)
    assert tuned.words[0].startswith(f"source size {size_A} Å:")
    assert str(gain) in tuned.words[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"source_size_A": 0.3},
        {"probe_modes": 1},
        {"update_obj": False},
        {"start_probe": "probe.npy"},
        {"n_hermite_probe_modes": (2, 2)},
        {"defocus_spread_modes_A": (0.0, 10.0)},
    ],
)
def test_nothing_is_tried_where_there_is_nothing_to_choose(monkeypatch, changes):
    monkeypatch.setattr(source_choice, "_gain", lambda *told: Gain(0.02, 0.002))
    begun = Tuned(scan_of_columns(points=16), Preset.from_mapping(THIN.model_dump(exclude_unset=True) | changes))
    assert with_chosen_source(begun, CPU) is begun


def test_nor_of_few_patterns(monkeypatch):
    monkeypatch.setattr(source_choice, "_gain", lambda *told: Gain(0.02, 0.002))
    begun = Tuned(scan_of_columns(points=12), THIN)
    assert with_chosen_source(begun, CPU) is begun


@pytest.mark.parametrize(
    ("smaller", "looked"), [(110.0, [1]), (100.0, [1, 2]), (99.0, [1, 2, 4])], ids=["behind", "level", "ahead"]
)
def test_it_is_given_up_where_it_is_not_ahead(monkeypatch, smaller, looked):
    """The usual source predicts with a loss of 100."""
    made = []

    def continued(self, state, sweeps, most, context):
        usual = self.problem.strategy.coherence.source_A == pytest.approx(0.3)
        assert self.problem.strategy.coherence.modes == THIN.probe.probe_modes
        made.extend([] if usual else [sweeps])
        loss = 100.0 if usual else smaller
        return None, HeldOutLoss(tuple(loss + (0.0 if usual else part) for part in (0.5, -0.5, 0.5, -0.5)))

    monkeypatch.setattr(Trial, "sweep_to", continued)
    tuned = with_chosen_source(Tuned(scan_of_columns(points=16), THIN), CPU)
    assert made == looked
    assert tuned.preset.probe.source_size_A == pytest.approx(0.15 if smaller < 100 else 0.3)
