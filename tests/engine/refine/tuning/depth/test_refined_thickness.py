"""The thickness that a run refines, and where preceding trials that refine it lead."""

import math

import pytest
from columns import THICKNESS_A, scan_of_columns
from quick_first import quick_first

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.tuning.depth import refined_thickness
from ptylive.engine.refine.tuning.depth.as_refined import as_refined
from ptylive.engine.refine.tuning.depth.depth_trials import thickened
from ptylive.engine.refine.tuning.depth.refined_thickness import settled_thickness_A, with_refined_thickness
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")


def of(preset):
    return Tuned(None, preset)


def several(thickness_A, **settings):
    return of(Preset(num_slices=3, total_thickness_A=thickness_A, **settings))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("start_A", [70.0, 150.0, 210.0, 400.0])
def test_it_settles_where_trials_lead_nowhere(monkeypatch, start_A, share):
    """Sweeps cover any share of the distance; from half the thickness to twice as much, AT_REST limits what is left."""
    tried = []

    def led(tuned, context):
        tried.append(sum(tuned.preset.object.slice_thickness_A))
        return share * math.log(150.0 / tried[-1])

    monkeypatch.setattr(refined_thickness, "_log_change", led)
    found_A = settled_thickness_A(several, start_A, 2000.0, CPU)
    assert len(tried) <= refined_thickness.ROUNDS
    assert abs(math.log(found_A / 150.0)) <= max(refined_thickness.AT_REST / share, 0.25)


@pytest.mark.parametrize(
    ("start_A", "share", "expected"),
    [
        (100.0, 0.5, [100.0, 150.0]),  # twice the distance it moved, where it is at rest
        (75.0, 0.3, [75.0, 112.5, 150.0]),  # at most half as much again, then where a line through both is 0
        (148.0, 0.5, [148.0]),
    ],
)
def test_which_thicknesses_are_tried(monkeypatch, start_A, share, expected):
    tried = []

    def led(tuned, context):
        tried.append(sum(tuned.preset.object.slice_thickness_A))
        return share * math.log(150.0 / tried[-1])

    monkeypatch.setattr(refined_thickness, "_log_change", led)
    assert settled_thickness_A(several, start_A, 2000.0, CPU) == pytest.approx(expected[-1], rel=1e-6)
    assert tried == pytest.approx(expected)


def test_it_never_goes_further_than_half_as_much_again_at_once(monkeypatch):
    tried = []
    monkeypatch.setattr(refined_thickness, "_log_change", lambda tuned, context: tried.append(tuned) or 3.0)
    assert settled_thickness_A(several, 100.0, 2000.0, CPU) == pytest.approx(100.0 * 1.5**3)
    assert len(tried) == refined_thickness.ROUNDS
    assert settled_thickness_A(several, 100.0, 170.0, CPU) == pytest.approx(170.0)
    assert settled_thickness_A(several, 100.0, 90.0, CPU) == pytest.approx(100.0)  # the result of trials is kept


@pytest.mark.parametrize(
    "settings",
    [{"update_thickness": False}, {"update_slice_distances": True}, {"optimizer": "epie"}],
)
def test_a_thickness_that_stays_is_not_tried(monkeypatch, settings):
    monkeypatch.setattr(refined_thickness, "_log_change", lambda tuned, context: pytest.fail("tried"))
    assert settled_thickness_A(
        lambda thickness_A: several(thickness_A, **settings), 100.0, 2000.0, CPU
    ) == pytest.approx(100.0)
    tuned = several(100.0, **settings)
    assert with_refined_thickness(tuned) is tuned


def test_one_slice_has_none():
    thin = of(Preset(num_slices=1))
    assert with_refined_thickness(thin) is thin
    assert settled_thickness_A(lambda thickness_A: thin, 100.0, 2000.0, CPU) == pytest.approx(100.0)


def test_what_is_left_open_is_refined():
    assert with_refined_thickness(several(100.0)).preset.refined.update_thickness is True


@pytest.mark.parametrize(
    ("share", "low", "high"), quick_first([(0.5, 0.2, 1.0), (1.5, -1.0, -0.05), (1.0, -0.05, 0.05)])
)
def test_a_trial_leads_towards_the_thickness(share, low, high):
    preset = Preset(probe_modes=1, window_px=32)
    tuned = Tuned(*thickened(scan_of_columns(), preset, share * THICKNESS_A, 3))
    assert low < refined_thickness._log_change(tuned, CPU) < high


def test_other_trials_leave_it_as_it_is():
    """It stays fixed whatever the run does, as their decisions were measured with a fixed thickness."""
    preset = Preset(probe_modes=1, window_px=32, update_thickness=True)
    tuned = Tuned(*thickened(scan_of_columns(), preset, THICKNESS_A, 3))
    blocks = [as_refined(tuned, CPU, more).problem.layout.blocks for more in ({}, {"update_thickness": True})]
    assert [[block.name for block in one] for one in blocks] == [[], [BlockName.THICKNESS]]
