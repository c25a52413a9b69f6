"""Runs with a named engine: in stages, stopped and resumed from a checkpoint, and refused where undefined."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import CoefficientTermKind
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run.by_name import engine_of
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 32, "probe_modes": 1, "refine_drift": False, "scan_defocus": False}


def run(dataset, **settings):
    options = {name: settings.pop(name) for name in ("checkpoint", "resume", "should_stop") if name in settings}
    return refine(dataset, Preset.from_mapping({**PLAIN, **settings}), backend="cpu", **options)


@pytest.mark.parametrize("name", quick_first(["adam", "epie", "lsq_ml"], 2))
def test_a_run_stopped_and_resumed_is_the_run_undisturbed(small, tmp_path, name):
    """Moments, order of batches and epochs continue unchanged, to the last bit on one thread."""
    asked = {"optimizer": name, "epoch_max": 4, "batch_size": 16, "seed": 5}
    whole = run(small.dataset, **asked)
    count = 0

    def stop():
        nonlocal count
        count += 1
        return count > 9  # in the middle of an epoch

    stopped = run(small.dataset, **asked, checkpoint=tmp_path / "c", should_stop=stop)
    assert stopped.state == "stopped" and len(stopped.loss) < 4
    resumed = run(small.dataset, **asked, checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    np.testing.assert_array_equal(resumed.object, whole.object)
    assert set(whole.phases) == {"sweep"} and len(whole.loss) == 4 and whole.phase_deviation is None


def test_engines_follow_each_other_in_stages(small):
    stages = [{"optimizer": "lsq_ml", "epoch_max": 3}, {"optimizer": "adam", "epoch_max": 2}, {"epoch_max": 4}]
    result = run(small.dataset, stages=stages, phase_only_obj=False, algorithm="lsq_sqrt", loss_offset=0.0)
    assert len(result.loss) == 9
    assert result.loss[4] < 1.05 * result.loss[2]  # Adam continues from there
    assert result.loss[-1] < result.loss[2]


def test_constraints_act_between_the_epochs(small):
    asked = {"optimizer": "adam", "epoch_max": 3, "adam_object_rate": 0.01}
    assert np.ptp(np.abs(run(small.dataset, **asked).object)) > 0.1
    held = run(small.dataset, **asked, obja_thresh=True, obja_thresh_min=0.99, obja_thresh_max=1.01)
    assert np.abs(np.abs(held.object) - 1).max() < 0.01 + 1e-5


def test_what_an_engine_cannot_do_is_refused_before_anything_is_done(small):
    with pytest.raises(RefinementError, match="optimizer=epie moves obj and probe"):
        run(small.dataset, optimizer="epie", update_probe_pos=True)


def test_lsq_ml_needs_patterns(small):
    preset = Preset.from_mapping({**PLAIN, "optimizer": "lsq_ml"})
    problem = prepare(small.dataset, preset, None)
    strategy = replace(problem.strategy, kind=CoefficientTermKind.LEAST_SQUARES)
    objective = Objective(GeneralMultislice(problem.multislice, np, "complex64", "a"), problem.layout, 64)
    with pytest.raises(RefinementError, match="coefficients"):
        engine_of(replace(problem, strategy=strategy), preset.solver, objective)
