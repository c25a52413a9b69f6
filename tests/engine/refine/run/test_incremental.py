"""What a refinement begun during its scan shares with one begun afterwards; rounds are tested with the server."""

from dataclasses import replace

import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext, refine
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.run.before import decisions
from ptylive.engine.refine.run.incremental import SAME_ROTATION_DEG, SAME_SCALE, IncrementalRefinement, _same_optics
from ptylive.engine.refine.tuning.depth import anchor_choice
from ptylive.engine.refine.tuning.start import columns
from ptylive.schema import Origin, Quantity
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


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"C10": lambda before, depth_A: before + 0.49 * depth_A}, True),
        ({"C10": lambda before, depth_A: before + 0.51 * depth_A}, False),
        ({"rotation_deg": lambda before, depth_A: before + 0.99 * SAME_ROTATION_DEG}, True),
        ({"rotation_deg": lambda before, depth_A: before + 1.01 * SAME_ROTATION_DEG}, False),
        ({"detector_pixel_invA": lambda before, depth_A: before * (1 + 1.01 * SAME_SCALE)}, True),
        ({"detector_pixel_invA": lambda before, depth_A: before * (1 + 1.03 * SAME_SCALE)}, False),
    ],
)
def test_rounds_are_worth_something_under_nearly_the_same_optics(simulated, changed, same):
    before = simulated.dataset.calibration
    depth_A = simulated.dataset.calibration.depth_of_focus_A
    values = {name: Quantity(change(before.get(name), depth_A), Origin.GIVEN) for name, change in changed.items()}
    assert _same_optics(before, before.having(**values)) is same


def test_without_an_aperture_any_focus_is_near(simulated):
    before = simulated.dataset.calibration
    entries = {name: value for name, value in before.entries.items() if name != "convergence_semiangle_mrad"}
    before = replace(before, entries=entries)
    assert _same_optics(before, before.having(C10=Quantity(1e4, Origin.GIVEN)))
