"""What a refinement begun during its scan shares with one begun afterwards; rounds are tested with the server."""

from columns import scan_of_columns

from ptylive.engine.refine import TrialContext, refine
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.run.before import decisions
from ptylive.engine.refine.run.incremental import IncrementalRefinement
from ptylive.engine.refine.tuning.depth import anchor_choice
from ptylive.engine.refine.tuning.start import columns
from ptylive.schema.preset import Preset

THICK = {
    "num_slices": 3,
    "total_thickness_A": 48.0,
    "probe_modes": 1,
    "phase_only_obj": True,
    "batch_size": 64,
    "window_px": 32,
}
SHORT = {"sweeps": 1, "epoch_max": 2, "scan_defocus": False, "scan_thickness": False, "refine_drift": False}


def test_the_anchor_is_chosen_once_at_the_end_as_offline(monkeypatch):
    looked, anchors = [], []
    decide, is_open = decisions.decide, anchor_choice._is_open

    def noted(*given, **options):
        strategy = decide(*given, **options)
        anchors.append(strategy.anchor)
        return strategy

    def asked(dataset, preset):
        looked.append(is_open(dataset, preset))
        return looked[-1]

    monkeypatch.setattr(decisions, "decide", noted)
    monkeypatch.setattr(anchor_choice, "_is_open", asked)
    monkeypatch.setattr(anchor_choice, "_gain", lambda *told: Gain(0.02, 0.002))
    monkeypatch.setattr(columns, "_best", lambda *told: (None, columns.NONE))  # trials that take long
    dataset, preset = scan_of_columns(points=16), Preset.from_mapping({**THICK, **SHORT})
    live = IncrementalRefinement(preset, TrialContext(backend="cpu"))
    for share in (0.3, 0.5):
        assert live.round(dataset, share)
    ended = live.conclude(dataset, None, None)
    assert "started from an earlier refinement" in ended.reason
    refine(dataset, preset, backend="cpu")
    assert looked == [False, False, True, True]
    assert anchors[2] == anchors[3] == 0.03
