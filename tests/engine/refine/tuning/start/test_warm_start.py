"""Continuing from an earlier refinement, and refining a scan that grows."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import Problem, prepare
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run.incremental import IncrementalRefinement
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.start.start_object import with_start
from ptylive.engine.refine.tuning.start.warm_start import WarmStart, first_invA
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


@pytest.mark.parametrize("form", quick_first(FORMS[::-1], 2))
def test_a_warm_run_goes_on_where_the_first_ended(small, form):
    first = refine(small.dataset, preset(6, 6, **form), backend="cpu")
    cold = refine(small.dataset, preset(1, 1, **form), backend="cpu")
    warm = refine(small.dataset, preset(1, 1, **form), backend="cpu", warm=WarmStart.of(first))
    # another sweep is no worse, except for restarted steps; a first sweep from nothing is 0.4 higher
    assert warm.loss[0] < 1.05 * first.loss[-1]
    assert warm.loss[0] < 0.8 * cold.loss[0]
    assert "started from an earlier refinement" in warm.reason


def test_sweeps_that_were_made_are_not_made_again(small):
    first = refine(small.dataset, preset(4, 4), backend="cpu")
    warm = refine(small.dataset, preset(8, 10), backend="cpu", warm=WarmStart.of(first, sweeps=4))
    assert warm.phases == ("sweep",) * 4 + ("lbfgs",) * 2


OTHERS = [
    {"num_slices": 3, "total_thickness_A": 20.0, "phase_only_obj": True},
    {"upsample_pattern": 2},
    {"obj_modes": 2},
    {"window_px": 32},
    {"probe_modes": 3, "source_size_A": 0.05, "focal_spread_A": 1.0},  # the patterns were simulated with one
    {"probe_part": "phase"},
]


@pytest.fixture(scope="module")
def first(small):
    return refine(small.dataset, preset(8, 8), backend="cpu")


@pytest.mark.parametrize("change", quick_first(OTHERS, 3), ids=lambda change: next(iter(change)))
def test_other_slices_windows_and_modes_begin_near_the_end_of_the_first(small, first, change):
    """The loss of the converted start is below halfway from an empty object to the refined one."""
    changed = Preset(**{"probe_modes": 1, "algorithm": "lsq_sqrt", "sweeps": 1, "epoch_max": 1, **change})
    empty = prepare(small.dataset, changed, None)
    behind = first_invA(prepare(small.dataset, preset(1, 1), None).measured)
    warm = replace(WarmStart.of(first), first_invA=behind).applied(empty)
    assert warm.start.shape == empty.start.shape
    assert loss_of(warm) < 0.5 * (loss_of(empty) + loss_of(prepare_again(small.dataset, first)))


def test_vacuum_in_front_changes_no_pattern(small):
    """The object lies deeper, the probe begins higher: only single-precision sums differ."""
    thin = {"num_slices": 2, "slice_distances_A": [10.0]}
    first = refine(small.dataset, preset(4, 4, **thin), backend="cpu")
    same = prepare(small.dataset, preset(1, 1, **thin), None)
    padded = preset(1, 1, num_slices=5, slice_distances_A=[10.0], start_depth_A=20.0)
    wider = prepare(small.dataset, padded, None)
    before = loss_of(with_start(same, preset(1, 1, **thin).start, WarmStart.of(first)))
    assert loss_of(with_start(wider, padded.start, WarmStart.of(first))) == pytest.approx(before, rel=1e-5)
    assert loss_of(with_start(wider, preset(1, 1).start, WarmStart.of(first))) == pytest.approx(before, rel=1e-5)
    unmoved = replace(WarmStart.of(first), probe=None)
    assert loss_of(with_start(wider, padded.start, unmoved)) > 1.02 * before, "the probe stayed where it was"


def loss_of(problem: Problem) -> float:
    with closing(open_backend("cpu", problem.multislice, 1)) as backend:
        physical = problem.layout.physical(problem.start, np)
        return float(backend.loss_and_gradient(physical.object, physical.probe, corrections=physical.corrections).loss)


def prepare_again(dataset: Dataset, result: RefineResult) -> Problem:
    return WarmStart.of(result).applied(prepare(dataset, preset(1, 1), None))


def test_the_defocus_of_the_nominal_probe_is_exchanged(small):
    """A single slice lies at the focus of the maps, several begin at the entrance: the refined probe is moved along."""
    dataset = small.dataset
    first = refine(dataset, preset(2, 2, update_obj=False), backend="cpu")
    entry = dataset.calibration.entries["C10"]
    deeper = replace(dataset, calibration=dataset.calibration.having(C10=replace(entry, value=entry.value - 40.0)))
    before, after = (prepare(each, preset(1, 1), None) for each in (dataset, deeper))
    found = replace(WarmStart.of(first), nominal=before.measured.probe).applied(after)
    as_it_was = WarmStart.of(first).applied(after)
    k2 = after.measured.model.k_radius**2
    turn = np.exp(1j * np.pi * after.measured.wavelength_A * 40.0 * k2)  # underfocus turns k by +pi lam df k^2
    moved, kept = (problem.layout.to_complex(problem.start)[1] for problem in (found, as_it_was))
    np.testing.assert_allclose(moved, kept * turn, atol=1e-5 * abs(kept).max())


def test_current_background_and_aberrations_go_on(small):
    settings = {"update_beam_current": True, "update_static_background": True, "update_aberrations": True}
    wanted = preset(2, 4, **settings)
    first = refine(small.dataset, wanted, backend="cpu")
    problem = WarmStart.of(first).applied(prepare(small.dataset, wanted, None))
    blocks = problem.layout.other_blocks(problem.start)
    np.testing.assert_allclose(blocks[BlockName.CURRENT], first.refined.beam_current, rtol=1e-6)
    np.testing.assert_allclose(np.fft.fftshift(blocks[BlockName.BACKGROUND]), first.refined.background, rtol=1e-6)
    np.testing.assert_allclose(blocks[BlockName.ABERRATIONS], first.refined.aberrations_A, rtol=1e-6)
    probe = problem.layout.to_complex(problem.start)[1]  # its aberrations are included once, not twice
    expected = np.fft.fft2(first.probe[0], norm="ortho")
    np.testing.assert_allclose(probe, expected, atol=1e-5 * abs(expected).max())


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
    # another path to the same minimum, which twelve epochs do not quite reach: found 0.8 % apart, and 0.9995
    assert result.loss[-1] == pytest.approx(whole.loss[-1], rel=0.02)
    assert agreement(result, whole) > 0.97
    assert len(result.loss) == len(result.phases) == len(result.seconds) == len(whole.loss)
    epochs = [progress.epoch for progress in heard]
    assert epochs == sorted(epochs)
    assert all(progress.state == "running" for progress in heard)


def test_rounds_of_a_growing_scan_are_of_the_first_stage(small):
    heard = []
    stages = [{"name": "thin"}, {"num_slices": 2, "total_thickness_A": 20.0}]
    wanted = Preset.from_mapping({**preset(4, 4).model_dump(exclude_unset=True), "num_slices": 1, "stages": stages})
    incremental = IncrementalRefinement(wanted, TrialContext("cpu"), heard.append)
    assert incremental.round(rows(small.dataset, 6), 0.5)
    result = incremental.conclude(small.dataset, None, None)
    made = len(result.loss) - 4 - (4 - 1)  # one sweep less in the first stage: LEAST_SWEEPS remain
    assert result.object.shape[1] == 2
    assert [stage.first_epoch for stage in result.stages] == [made, len(result.loss) - 4]
    assert heard[-1].stages == (made, len(result.loss) - 4) and heard[-1].epoch == len(result.loss)


def test_a_calibration_that_moved_far_begins_afresh(small):
    incremental = IncrementalRefinement(preset(4, 4, scan_defocus=False), TrialContext("cpu"))
    incremental.round(rows(small.dataset, 6), 0.5)
    moved = small.dataset.calibration.having(C10=Quantity(300.0, Origin.ESTIMATED))
    result = incremental.conclude(replace(small.dataset, calibration=moved), None, None)
    assert "earlier" not in result.reason
    assert len(result.loss) == 4


def test_a_round_of_a_growing_scan_does_not_fix_its_rotation(small):
    incremental = IncrementalRefinement(preset(4, 4, scan_defocus=False), TrialContext("cpu"))
    incremental.round(rows(small.dataset, 6), 0.5)
    assert not incremental._warm(small.dataset.calibration).frame_is_given


def test_the_run_proper_can_be_resumed_as_an_ordinary_one(small, tmp_path):
    incremental = IncrementalRefinement(preset(4, 6), TrialContext("cpu"))
    incremental.round(small.dataset, 1.0)
    path = tmp_path / "run.checkpoint"
    result = incremental.conclude(small.dataset, None, path)
    resumed = refine(small.dataset, preset(4, 6), backend="cpu", checkpoint=path, resume=True)
    np.testing.assert_array_equal(resumed.object, result.object)


def test_a_round_that_is_stopped_says_so(small):
    incremental = IncrementalRefinement(preset(4, 4), TrialContext("cpu"), should_stop=lambda: True)
    try:
        assert not incremental.round(small.dataset, 0.5)
    except RefinementError as error:
        assert "stopped" in str(error)


@pytest.mark.slow
def test_an_object_that_drifts_is_no_start(drifted):
    dataset = drifted((1.6, -1.2), seed=1)
    first = refine(dataset, preset(2, 2, refine_drift=False), backend="cpu")
    warm = refine(dataset, preset(3, 3), backend="cpu", warm=WarmStart.of(first, sweeps=3))
    assert warm.drift is not None and warm.drift.applied
    assert "started anew" in warm.reason and len(warm.loss) == 3
    again = refine(dataset, preset(1, 1), backend="cpu", warm=WarmStart.of(warm))
    assert "started from an earlier refinement" in again.reason


def test_a_start_that_is_applied_again_spares_and_states_nothing_twice(small):
    """A problem on other positions is given the start of the first: its sweeps were spared again, and a result said
    five times that it had been started from columns."""
    wanted = preset(12, 14, num_slices=1)
    start = WarmStart.of(refine(small.dataset, preset(2, 2, num_slices=1), backend="cpu"), sweeps=5)
    problem = prepare(small.dataset, wanted, None)
    once = start.applied(problem)
    assert (once.strategy.sweeps, once.strategy.epochs, once.strategy.spared_epochs) == (7, 9, 5)
    assert start.applied(once).strategy == once.strategy
    assert start.words in once.strategy.reason
