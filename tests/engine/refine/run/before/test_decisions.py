"""What is decided before the first epoch: which trials are made, and what follows from them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine import StartGuess, TrialContext
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.run.again.second_run import RunPlan
from ptylive.engine.refine.run.before import decisions
from ptylive.engine.refine.run.checkpoint import Identity
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, Orientation
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

ONE_MODE = {"window_px": 32, "probe_modes": 1}


def test_a_start_turns_with_the_scan_that_was_found_turned(small, monkeypatch):
    def turned(measured, tuned, context, *, may_turn):
        return replace(tuned, orientation=Orientation(True, 12.0)), measured

    monkeypatch.setattr(decisions, "with_checked_drift", turned)
    tuned = Tuned(small.dataset, Preset(num_slices=1), orientation=Orientation(True, 10.0))
    start = StartGuess(np.zeros((2, 2), np.float32), (1.0, 1.0), 30.0)
    begun = WarmStart(np.ones((1, 1, 2, 2)), 0.5, (0.0, 0.0))
    still, context, _ = decisions._drift_checked(
        replace(tuned, warm_start=begun), TrialContext("cpu", start=start), may_turn=True
    )
    assert context.start.rotation_deg == 32.0
    assert still.warm_start is context.warm_start is None  # an object cannot be rotated, so it is begun anew


@pytest.mark.parametrize("turn_deg", [0.0, 90.0])
def test_columns_follow_a_scan_that_is_turned_after_they_were_found(small, monkeypatch, turn_deg):
    """Their middle is where it was among the positions."""
    started = []
    monkeypatch.setattr(decisions, "with_start", lambda problem, settings, start: started.append(start))
    turned = AS_IT_IS.turned(turn_deg).of(replace(small.dataset, positions_A=np.array([[10.0, 2.0]])))
    problem = SimpleNamespace(measured=SimpleNamespace(dataset=turned))
    columns = WarmStart(np.ones((1, 1, 3, 5)), 1.0, (9.0, 0.0))
    decisions._started(Preset(num_slices=1).start, columns, small.dataset.calibration.rotation_deg, problem)
    np.testing.assert_allclose(np.add(started[0].origin_A, (1.0, 2.0)), turned.positions_A[0], atol=1e-12)


@pytest.mark.parametrize(("deviations", "doubted"), [(1.5, True), (0.9, False)])
def test_astigmatism_that_may_be_a_drift_that_was_left_alone_is_doubted(small, monkeypatch, deviations, doubted):
    """A shear of the scan looks like astigmatism; the lattice, which is fitted again, must not take it as certain."""
    asked = []

    def freed(tuned, context):
        optics = {name: Quantity(value, Origin.ESTIMATED) for name, value in {"C12a": 3.0, "C12b": -4.0}.items()}
        return replace(tuned, dataset=replace(tuned.dataset, calibration=tuned.dataset.calibration.having(**optics)))

    monkeypatch.setattr(decisions, "with_freed_optics", freed)
    monkeypatch.setattr(
        decisions, "_drift_checked", lambda found, context, *, may_turn: asked.append(found.dataset.calibration)
    )
    drift = Drift((1.0, 1.0), (0.3, 0.3), 60.0, 0.0, False, "left alone", deviations)
    context, tuned = TrialContext("cpu"), Tuned(small.dataset, Preset(num_slices=1))
    decisions._with_optics(tuned, context, replace(context.cache.measure(tuned.dataset, tuned.preset), drift=drift))
    assert asked[0].astigmatism_is_doubted is doubted
    assert (asked[0].get("C12a"), asked[0].get("C12b")) == (3.0, -4.0)
    assert asked[0].entries["C12a"].uncertainty == (5.0 if doubted else None)


@pytest.mark.parametrize("by_depth", [True, False])
def test_a_phase_of_one_slice_is_no_witness_where_depth_shall_decide(small, monkeypatch, by_depth):
    """It would settle the half turn: 134 Å of SrTiO3 stayed upside down."""
    seen = []
    monkeypatch.setattr(decisions, "with_atoms_as_peaks", lambda tuned, context: seen.append(tuned) or tuned)
    preset = Preset.from_mapping(ONE_MODE | {"epoch_max": 1, "sweeps": 1})
    observers = Observers(lambda progress: None, lambda: False, None, Identity("here"))
    plan = RunPlan(small.dataset, preset, turned_by_depth=by_depth)
    decisions.decided(TrialContext("cpu"), None, plan, observers, alone=True)
    assert bool(seen) is not by_depth


WARM = WarmStart(np.ones((1, 1, 2, 2)), 0.5, (0.0, 0.0))
CHOSEN = SimpleNamespace(reason="4 probe modes")


@pytest.mark.parametrize(
    ("choice", "warm", "asked"), [(CHOSEN, None, True), (None, None, False), (CHOSEN, WARM, False)]
)
def test_a_focal_spread_is_chosen_where_the_modes_were_and_nothing_is_continued(
    small, monkeypatch, choice, warm, asked
):
    seen = []

    def chosen(tuned, context):
        seen.append(tuned.words)
        return tuned

    monkeypatch.setattr(decisions, "with_chosen_modes", lambda dataset, preset, context, modes: (preset, choice))
    monkeypatch.setattr(decisions, "with_settled_modes", lambda tuned, choice, context: tuned)
    monkeypatch.setattr(decisions, "with_chosen_source", lambda tuned, context: tuned)
    monkeypatch.setattr(decisions, "with_chosen_focal_spread", chosen)
    preset = Preset.from_mapping(ONE_MODE | {"num_slices": 1, "regime": "thin", "scan_defocus": False})
    decisions.settled(RunPlan(small.dataset, preset, decided=True), TrialContext("cpu"), warm, None)
    assert bool(seen) == asked
    if asked:
        assert CHOSEN.reason in seen[0]
