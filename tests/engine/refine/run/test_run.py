"""The whole refinement on a simulated scan: the right object in the right place, stoppable and resumable."""

from dataclasses import replace

import numpy as np
import pytest
from columns import DEFOCUS_A, scan_of_columns
from quick_first import quick_first

from ptylive.engine.refine import StartGuess, TrialContext, refine
from ptylive.engine.refine.run import refinement, run
from ptylive.schema import Calibration, MetadataError, Origin, Quantity, RefinementError
from ptylive.schema.preset import Preset

ONE_MODE = {"window_px": 32, "probe_modes": 1}
"""In a window with compiled code, half as long as in a narrower one."""


def correlation(result, specimen):
    """Correlation of the summed phase with the specimen's in the scanned area, without shift: found 0.98 to 0.993."""
    phase = np.angle(result.object[0]).sum(0)
    rows, columns = (np.arange(phase.shape[i]) * result.object_sampling_A[i] + result.origin_A[i] for i in (0, 1))
    low, high = result.positions_A.min(0) + 2, result.positions_A.max(0) - 2
    inside = np.ix_((rows > low[0]) & (rows < high[0]), (columns > low[1]) & (columns < high[1]))
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.corrcoef(phase[inside].ravel(), specimen.phase(y, x)[inside].ravel())[0, 1]


def test_default_preset_finds_the_object_where_it_is(small):
    """Padded to the compiled window of 32, with rotation, an off-centre beam and a bad pixel."""
    result = refine(small.dataset, Preset(source_size_A=0.0, focal_spread_A=0.0, probe_modes=1), backend="cpu")
    assert result.state == "done"
    assert result.backend == "cpu"
    assert correlation(result, small.specimen) > 0.97
    assert set(result.phases) == {"sweep", "lbfgs"}
    assert result.phases.count("lbfgs") >= 5
    assert result.loss[-1] < result.loss[0]
    falls = np.diff(result.loss[[phase == "lbfgs" for phase in result.phases]])
    assert (falls < 0).all()
    # the counts were drawn from such a model, whose parameters take up some of their noise
    assert result.loss_over_noise == pytest.approx(0.95, abs=0.1)


def test_noise_of_a_detector_with_several_counts_per_electron(small):
    counts = np.minimum(small.dataset.patterns.astype(np.uint32) * 5, 65535).astype(np.uint16)
    calibration = small.dataset.calibration.having(counts_per_electron=Quantity(5.0, Origin.GIVEN))
    dataset = replace(small.dataset, patterns=counts, calibration=calibration)
    result = refine(dataset, Preset.from_mapping({**ONE_MODE, "algorithm": "lsq_sqrt", "epoch_max": 12}), backend="cpu")
    assert result.loss_over_noise == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    "values",
    quick_first(
        [
            {"algorithm": "ml"},
            {"sweeps": 0, "epoch_max": 12},
            {"phase_only_obj": False},
            {"non_negative_phase": False, "loss_offset": 0},
            {"probe_modes": 3},
        ],
        2,
    ),
)
def test_other_settings_find_it_too(small, values):
    result = refine(small.dataset, Preset.from_mapping({**ONE_MODE, **values}), backend="cpu")
    assert correlation(result, small.specimen) > 0.93


def test_arrays_follow_the_contract(small):
    preset = Preset.from_mapping(
        {**ONE_MODE, "num_slices": 2, "total_thickness_A": 6, "probe_modes": 2, "epoch_max": 3}
    )
    result = refine(small.dataset, preset, backend="cpu")
    assert result.object.dtype == result.probe.dtype == np.complex64
    assert result.object.shape[:2] == (1, 2)
    assert result.probe.shape == (1, 2, 32, 32)
    assert result.slice_thickness_A == (3.0, 3.0)
    counts = np.where(small.dataset.bad_pixels, 0, small.dataset.patterns).sum((1, 2)).mean()
    assert (np.abs(result.probe) ** 2).sum() == pytest.approx(counts, rel=1e-2)  # the model fits sums of counts
    intensity = (np.abs(result.probe[0]) ** 2).sum(0)
    centre = [(intensity * axis).sum() / intensity.sum() for axis in np.indices(intensity.shape)]
    np.testing.assert_allclose(centre, [16, 16], atol=0.5)  # in pixels: within the middle one
    np.testing.assert_array_equal(result.positions_A, small.dataset.positions_A)
    assert len(result.loss) == len(result.seconds) == len(result.phases) == 3


def test_progress_counts_and_previews(small):
    seen = []
    refine(small.dataset, Preset.from_mapping({**ONE_MODE, "epoch_max": 6}), backend="cpu", on_progress=seen.append)
    assert [p.epoch for p in seen if p.state == "running"][-1] == 6
    assert seen[-1].state == "done"
    assert seen[-1].seconds_left == 0
    assert {p.phase for p in seen} == {"sweep", "lbfgs"}
    preview = seen[-1].preview()
    assert preview.slices.shape == (1, *preview.object_phase.shape)
    assert preview.probe.shape == (1, 32, 32)
    assert preview.amplitude is None and preview.slice_amplitudes is None, "phase alone"


def test_an_absorbing_object_is_previewed_with_amplitudes(small):
    seen = []
    preset = Preset.from_mapping({**ONE_MODE, "epoch_max": 2, "phase_only_obj": False})
    refine(small.dataset, preset, backend="cpu", on_progress=seen.append)
    preview = seen[-1].preview()
    assert preview.slice_amplitudes.shape == preview.slices.shape
    np.testing.assert_allclose(preview.slice_amplitudes.prod(axis=0), preview.amplitude, rtol=1e-6)
    assert "one slice" in seen[0].message


@pytest.mark.parametrize("asked_before_stop", quick_first([14, 3, 16]))
def test_stopped_and_resumed_is_the_same_trajectory(small, tmp_path, asked_before_stop):
    """The run is stopped inside a sweep, or among L-BFGS epochs."""
    preset = Preset.from_mapping({**ONE_MODE, "epoch_max": 10, "batch_size": 50})
    whole = refine(small.dataset, preset, backend="cpu")
    asked = 0

    def should_stop():
        nonlocal asked
        asked += 1
        return asked > asked_before_stop

    path = tmp_path / "checkpoint.npz"
    stopped = refine(small.dataset, preset, backend="cpu", should_stop=should_stop, checkpoint=path)
    assert stopped.state == "stopped"
    assert len(stopped.loss) < 10
    resumed = refine(small.dataset, preset, backend="cpu", checkpoint=path, resume=True)
    assert resumed.state == "done"
    np.testing.assert_array_equal(resumed.object, whole.object)
    np.testing.assert_array_equal(resumed.probe, whole.probe)
    np.testing.assert_array_equal(resumed.loss, whole.loss)


def test_a_finished_run_can_be_continued_with_more_epochs(small, tmp_path):
    path = tmp_path / "checkpoint.npz"
    short = Preset.from_mapping({**ONE_MODE, "epoch_max": 6, "sweeps": 4})
    refine(small.dataset, short, backend="cpu", checkpoint=path)
    longer = short.model_copy(update={"epoch_max": 9})
    continued = refine(small.dataset, longer, backend="cpu", checkpoint=path, resume=True)
    np.testing.assert_array_equal(continued.object, refine(small.dataset, longer, backend="cpu").object)


def test_a_run_continued_with_more_epochs_has_as_many_as_requested(small, tmp_path):
    """A longer run has more sweeps of its own accord, 4 of 6 epochs instead of 2 of 4."""
    path = tmp_path / "checkpoint.npz"
    short = refine(small.dataset, Preset.from_mapping({**ONE_MODE, "epoch_max": 4}), backend="cpu", checkpoint=path)
    longer = Preset.from_mapping({**ONE_MODE, "epoch_max": 6})
    continued = refine(small.dataset, longer, backend="cpu", checkpoint=path, resume=True)
    assert continued.phases == ("sweep", "sweep", "lbfgs", "lbfgs", "lbfgs", "lbfgs")
    np.testing.assert_array_equal(continued.loss[:4], short.loss)


def test_resuming_from_nothing_starts_afresh(small, tmp_path):
    preset = Preset.from_mapping({**ONE_MODE, "epoch_max": 1})
    result = refine(small.dataset, preset, backend="cpu", checkpoint=tmp_path / "c.npz", resume=True)
    assert result.state == "done"


def test_a_start_map_is_used_when_asked_for(simulated):
    dataset = simulated.dataset
    points = dataset.positions_A.reshape(12, 12, 2)
    phase = simulated.specimen.phase(points[..., 0], points[..., 1]).astype(np.float32)
    start = StartGuess(phase, (0.8, 0.8), 25.0)
    preset = Preset.from_mapping({**ONE_MODE, "start_from_map": True, "epoch_max": 1, "sweeps": 1, "update_obj": False})
    result = refine(dataset, preset, start=start, backend="cpu")
    assert correlation(result, simulated.specimen) > 0.95


def test_what_is_missing_is_named(small):
    entries = {k: v for k, v in small.dataset.calibration.entries.items() if k != "detector_pixel_invA"}
    with pytest.raises(MetadataError, match="the refinement needs detector_pixel_invA"):
        refine(replace(small.dataset, calibration=Calibration(entries)), Preset(), backend="cpu")


def test_dark_patterns_are_refused(small):
    dark = replace(small.dataset, patterns=np.zeros_like(small.dataset.patterns))
    with pytest.raises(RefinementError, match="hold no counts"):
        refine(dark, Preset(**ONE_MODE), backend="cpu")


@pytest.mark.slow
def test_trials_before_the_run_are_told_of():
    seen = []
    preset = Preset(probe_modes=1, scan_defocus=True, epoch_max=2)
    refine(scan_of_columns(points=4), preset, backend="cpu", on_progress=seen.append)
    phases = [progress.phase for progress in seen]
    trials = phases.index("sweep")
    assert set(phases[:trials]) == {"trial"}
    assert "trial" not in phases[trials:]
    words = {progress.message for progress in seen[:trials]}
    assert len(words) == trials >= 7
    assert f"trying defocus_A {DEFOCUS_A:g}" in words
    assert {(progress.epoch, progress.epochs, progress.preview) for progress in seen[:trials]} == {(0, 1, None)}


def test_what_trials_kept_is_given_back_before_the_run_takes_its_memory(simulated, monkeypatch):
    order: list[str] = []
    forget, opened = TrialContext.forget, run.open_backend

    def noted(context):
        order.append("forgotten")
        forget(context)

    monkeypatch.setattr(TrialContext, "forget", noted)
    monkeypatch.setattr(run, "open_backend", lambda *given: (order.append("run"), opened(*given))[1])
    refine(simulated.dataset, Preset.from_mapping({**ONE_MODE, "epoch_max": 1}), backend="cpu")
    assert order == ["forgotten", "run"]


@pytest.mark.parametrize("error", [RefinementError("no room", "use fewer modes"), MemoryError()])
def test_a_finished_run_is_kept_if_its_likelihood_cannot_be_computed(small, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(refinement, "likelihood_left", fails)
    result = refine(small.dataset, Preset.from_mapping(ONE_MODE | {"num_slices": 1}), backend="cpu")
    assert (result.state, result.likelihood_over_noise) == ("done", None)
