"""Going on from an earlier refinement, and refining a scan that grows."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run.incremental import IncrementalRefinement
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.warm_start import WarmStart
from ptylive.schema import Origin, Quantity, RefinementError
from ptylive.schema.preset import Preset

FORMS = [
    {"phase_only_obj": True},
    {"phase_only_obj": True, "non_negative_phase": False},
    {"phase_only_obj": False},
    {"weakly_damped_obj": True},
]


def preset(sweeps: int, epochs: int, **changes: object) -> Preset:
    return Preset(probe_modes=1, algorithm="lsq_sqrt", sweeps=sweeps, epoch_max=epochs, batch_size=16, **changes)


@pytest.mark.parametrize("form", FORMS)
def test_a_warm_run_goes_on_where_the_first_ended(simulated, form):
    first = refine(simulated.dataset, preset(6, 6, **form), backend="cpu")
    cold = refine(simulated.dataset, preset(1, 1, **form), backend="cpu")
    warm = refine(simulated.dataset, preset(1, 1, **form), backend="cpu", warm=WarmStart.of(first))
    # a sweep more is no worse, but for steps that begin anew; a first sweep from nothing is 0.4 higher
    assert warm.loss[0] < 1.05 * first.loss[-1]
    assert warm.loss[0] < 0.8 * cold.loss[0]
    assert "begun from an earlier refinement" in warm.reason


def test_sweeps_that_were_made_are_not_made_again(simulated):
    first = refine(simulated.dataset, preset(4, 4), backend="cpu")
    warm = refine(simulated.dataset, preset(8, 10), backend="cpu", warm=WarmStart.of(first, sweeps=4))
    assert warm.phases == ("sweep",) * 4 + ("lbfgs",) * 2


def test_an_object_of_another_form_is_left_alone(simulated):
    first = refine(simulated.dataset, preset(2, 2), backend="cpu")
    thick = preset(2, 2, num_slices=2, total_thickness_A=20.0)
    warm = refine(simulated.dataset, thick, backend="cpu", warm=WarmStart.of(first))
    assert warm.object.shape[1] == 2
    assert "earlier" not in warm.reason


def rows(dataset: Dataset, count: int) -> Dataset:
    return dataset.part(np.arange(count * dataset.scan_shape[1]))


def agreement(first: RefineResult, second: RefineResult) -> float:
    a, b = np.angle(first.object[0, 0]), np.angle(second.object[0, 0])
    inside = (slice(14, -14), slice(14, -14))
    return float(np.corrcoef(a[inside].ravel(), b[inside].ravel())[0, 1])


def test_a_growing_scan_ends_where_the_whole_one_does(simulated):
    heard = []
    incremental = IncrementalRefinement(preset(8, 12), TrialContext("cpu"), heard.append)
    assert not incremental.due(0.2)
    for count in (4, 8, 12):
        assert incremental.due(count / 12)
        assert incremental.round(rows(simulated.dataset, count), count / 12)
    result = incremental.conclude(simulated.dataset, None, None)
    whole = refine(simulated.dataset, preset(8, 12), backend="cpu")
    # other ways to the same minimum, which twelve epochs do not quite reach: found 0.8 % apart, and 0.9995
    assert result.loss[-1] == pytest.approx(whole.loss[-1], rel=0.02)
    assert agreement(result, whole) > 0.97
    assert len(result.loss) == len(result.phases) == len(result.seconds) == len(whole.loss)
    epochs = [progress.epoch for progress in heard]
    assert epochs == sorted(epochs)
    assert all(progress.state == "running" for progress in heard)


def test_a_calibration_that_moved_far_begins_afresh(simulated):
    incremental = IncrementalRefinement(preset(4, 4), TrialContext("cpu"))
    incremental.round(rows(simulated.dataset, 6), 0.5)
    moved = simulated.dataset.calibration.having(C10=Quantity(300.0, Origin.ESTIMATED))
    result = incremental.conclude(replace(simulated.dataset, calibration=moved), None, None)
    assert "earlier" not in result.reason
    assert len(result.loss) == 4


def test_the_run_proper_can_be_resumed_as_an_ordinary_one(simulated, tmp_path):
    incremental = IncrementalRefinement(preset(4, 6), TrialContext("cpu"))
    incremental.round(simulated.dataset, 1.0)
    path = tmp_path / "run.checkpoint"
    result = incremental.conclude(simulated.dataset, None, path)
    resumed = refine(simulated.dataset, preset(4, 6), backend="cpu", checkpoint=path, resume=True)
    np.testing.assert_array_equal(resumed.object, result.object)


def test_a_round_that_is_stopped_says_so(simulated):
    incremental = IncrementalRefinement(preset(4, 4), TrialContext("cpu"), should_stop=lambda: True)
    try:
        assert not incremental.round(simulated.dataset, 0.5)
    except RefinementError as error:
        assert "stopped" in str(error)


def test_an_object_that_drifts_is_no_start(drifted):
    dataset = drifted((1.6, -1.2), seed=1)
    first = refine(dataset, preset(2, 2, refine_drift=False), backend="cpu")
    warm = refine(dataset, preset(3, 3), backend="cpu", warm=WarmStart.of(first, sweeps=3))
    assert warm.drift is not None and warm.drift.applied
    assert "begun anew" in warm.reason and len(warm.loss) == 3
    again = refine(dataset, preset(1, 1), backend="cpu", warm=WarmStart.of(warm))
    assert "begun from an earlier refinement" in again.reason
