"""Refinements that follow each other in one run."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.run.before import decisions
from ptylive.engine.refine.run.checkpoint import Identity, of_stage
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.run.stages import KEPT, RunRecord, _anchor, refine_stages
from ptylive.engine.refine.tuning.parameter_search import with_best
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import MetadataError, Origin, Quantity, RefinementError
from ptylive.schema.preset import Preset

SHARED = {"probe_modes": 1, "algorithm": "lsq_sqrt", "sweeps": 3, "epoch_max": 4, "batch_size": 16, "num_slices": 1}
SHARED |= {"phase_deviation": False}  # measured after a run, whatever its stages
SLICES = {"num_slices": 3, "total_thickness_A": 20.0, "phase_only_obj": True}


def staged(*stages: dict, **shared: object) -> Preset:
    return Preset.from_mapping({**SHARED, **shared, "stages": list(stages)})


def used(end) -> Preset:
    """The settings used for a stage."""
    return Preset.model_validate_json(end.settings)


def refined(dataset, preset, **options):
    return refine(dataset, preset, backend="cpu", **options)


def test_one_slice_then_several_in_a_finer_window(small):
    preset = staged({"name": "coarse", "window_px": 16}, {"name": "fine", **SLICES}, {**SLICES, "probe_modes": 2})
    result = refined(small.dataset, preset)
    assert result.object.shape[1] == 3 and result.probe.shape[1] == 2
    assert len(result.loss) == len(result.phases) == len(result.seconds) == 12
    assert [end.first_epoch for end in result.stages] == [0, 4, 8]
    assert [end.name for end in result.stages] == ["coarse", "fine", ""]
    assert [used(end).object.slices for end in result.stages] == [1, 3, 3]
    assert "stage 3 of 3" in result.reason and "started from an earlier refinement" in result.reason
    alone = refined(small.dataset, Preset.from_mapping({**SHARED, **SLICES}))
    assert result.loss[4] < 0.5 * (alone.loss[0] + alone.loss[-1])  # begins more than half way down


@pytest.mark.parametrize(
    ("word", "bound"), [("phase_only_obj", True), ("weakly_damped_obj", True), ("weakly_damped_obj", False)]
)
def test_the_form_that_trials_decided_is_kept_unless_a_stage_says_otherwise(small, monkeypatch, word, bound):
    def decided(tuned, context):
        form, chosen = tuned.preset.object, {word: True, "non_negative_phase": bound}
        open_ = form.phase_only_obj == "auto" and not form.weakly_damped_obj
        return replace(tuned, preset=tuned.preset.model_copy(update=chosen)) if open_ else tuned

    monkeypatch.setattr(decisions, "with_chosen_form", decided)
    thick = {"num_slices": 2, "total_thickness_A": 20.0}
    preset = staged(thick, thick, {**thick, "phase_only_obj": False}, sweeps=1, epoch_max=1)
    forms = [used(end).object for end in refined(small.dataset, preset).stages]
    assert [getattr(form, word) for form in forms] == [True, True, False]
    assert [form.non_negative_phase for form in forms] == [bound, bound, "auto"]


def test_absorption_that_trials_found_in_one_slice_is_kept(small, monkeypatch):
    tried = []

    def damped(tuned, context):
        form = tuned.preset.object
        tried.append(form.weakly_damped_obj)
        if form.weakly_damped_obj or form.phase_only_obj != "auto":
            return tuned
        return tuned.with_settings("damped", weakly_damped_obj=True, non_negative_phase=True)

    monkeypatch.setattr(decisions, "with_absorption", damped)
    one, two = {"num_slices": 1}, {"num_slices": 2, "total_thickness_A": 20.0}
    preset = staged(one, one, {**one, "phase_only_obj": True}, two, sweeps=1, epoch_max=1)
    forms = [used(end).object for end in refined(small.dataset, preset).stages]
    assert [form.weakly_damped_obj for form in forms] == [True, True, False, False]
    assert tried == [False, True, False]


def test_one_slice_without_absorption_stays_open(small, monkeypatch):
    monkeypatch.setattr(decisions, "with_absorption", lambda tuned, context: tuned)
    preset = staged({"num_slices": 1}, {"num_slices": 1}, sweeps=1, epoch_max=1)
    forms = [used(end).object for end in refined(small.dataset, preset).stages]
    assert [(form.phase_only_obj, form.non_negative_phase) for form in forms] == [("auto", "auto")] * 2


def test_a_damped_object_that_a_stage_asks_for_is_its_own(small):
    thick = {"num_slices": 2, "total_thickness_A": 20.0}
    preset = staged({**thick, "weakly_damped_obj": True}, thick, sweeps=1, epoch_max=1)
    forms = [used(end).object for end in refined(small.dataset, preset).stages]
    assert [form.weakly_damped_obj for form in forms] == [True, False]


def test_the_anchor_that_trials_decided_is_kept_unless_a_stage_has_none_or_its_own(small, monkeypatch):
    """A stage of one slice decides nothing; the first stage of several slices does, also for those after it."""
    tried = []

    def weaker(tuned, context):
        if tuned.preset.object.slices == 1 or tuned.preset.solver.anchor != "auto":
            return tuned
        tried.append(tuned.preset.object.slices)
        return replace(tuned, preset=tuned.preset.model_copy(update={"anchor": 0.03}))

    monkeypatch.setattr(decisions, "with_chosen_anchor", weaker)
    two, three = ({"num_slices": n, "total_thickness_A": 20.0} for n in (2, 3))
    shared = {"sweeps": 1, "epoch_max": 2, "phase_only_obj": True}
    result = refined(small.dataset, staged({}, two, three, {**two, "anchor": 0.2}, **shared))
    assert [used(end).solver.anchor for end in result.stages] == ["auto", 0.03, 0.03, 0.2]
    assert tried == [2]
    decided, asked = Preset.from_mapping({**two, "anchor": 0.03}), Preset.from_mapping(two)
    for change in ({"sweeps": 0}, {"epoch_max": 1}, {"update_tilts": True}, {"optimizer": "epie"}):
        assert _anchor(decided, asked, Preset.from_mapping({**two, **change})) == {}


def test_a_single_stage_is_the_run_without_stages(small):
    plain = refined(small.dataset, Preset.from_mapping(SHARED))
    one = refined(small.dataset, staged({"name": "all"}))
    np.testing.assert_array_equal(one.object, plain.object)
    np.testing.assert_array_equal(one.loss, plain.loss)


def test_a_stage_puts_vacuum_in_front_and_the_next_does_not_once_more(small):
    thin, thick = ({"num_slices": n, "slice_distances_A": [10.0]} for n in (2, 4))
    result = refined(small.dataset, staged(thin, {**thick, "start_depth_A": 20.0}, thick, phase_only_obj=True))
    assert [used(end).start.start_depth_A for end in result.stages] == [0.0, 20.0, 0.0]
    assert result.loss[8] < 1.1 * result.loss[7], "the third stage goes on where the second ended"
    shared = refined(small.dataset, staged(thin, thick, thick, phase_only_obj=True, start_depth_A=20.0))
    assert [used(end).start.start_depth_A for end in shared.stages] == [20.0, 0.0, 0.0]


def test_positions_that_were_freed_stay_where_they_came_to(small):
    rng = np.random.default_rng(0)
    shaken = small.dataset.positions_A + rng.normal(0, 0.1, small.dataset.positions_A.shape)
    dataset = replace(small.dataset, positions_A=shaken)
    result = refined(dataset, staged({}, {"update_probe_pos": True}, {}))
    moved = refined(dataset, staged({}, {"update_probe_pos": True}))
    assert np.abs(moved.positions_A - shaken).max() > 0
    np.testing.assert_array_equal(result.positions_A, moved.positions_A)


def test_what_a_stage_refined_beside_object_and_probe_is_kept(small):
    result = refined(small.dataset, staged({"update_beam_current": True}, {}))
    before = refined(small.dataset, staged({"update_beam_current": True}))
    np.testing.assert_allclose(result.refined.beam_current, before.refined.beam_current, rtol=1e-6)
    assert used(result.stages[1]).schedules == {"update_beam_current": KEPT}


def test_a_part_of_the_patterns_then_all(small):
    result = refined(small.dataset, staged({"sequence": "0::2", "update_probe_pos": True}, {}))
    part = refined(small.dataset, staged({"sequence": "0::2", "update_probe_pos": True}))
    assert len(result.positions_A) == len(small.dataset.positions_A)
    np.testing.assert_array_equal(result.positions_A[::2], part.positions_A)
    np.testing.assert_array_equal(result.positions_A[1::2], small.dataset.positions_A[1::2])


@pytest.fixture(scope="module")
def ended(small):
    """The result of a short refinement, to which tests add what trials found."""
    return refined(small.dataset, Preset.from_mapping({**SHARED, "sweeps": 1, "epoch_max": 1}))


def requested(dataset, preset, end):
    """The preset of each stage, all of which end alike."""
    presets = []

    def once(dataset, preset, observers, warm):
        presets.append(preset)
        return RunRecord(end, preset, dataset.calibration, (), None, (1.0, 1.0))

    observers = Observers(lambda progress: None, lambda: False, None, Identity.of(dataset, preset))
    refine_stages(dataset, preset, once, observers, None)
    return presets


@pytest.mark.parametrize(
    ("applied", "sequence", "later"),
    [(True, None, False), (False, None, False), (None, None, "auto"), (True, "0::2", False), (False, "0::2", "auto")],
)
def test_drift_is_looked_for_until_one_is_removed_or_all_patterns_show_none(small, ended, applied, sequence, later):
    """``applied`` None: nothing could be found in the patterns of the first stage."""
    drift = None if applied is None else Drift((0.1, 0.0), (0.1, 0.1), 55.0, 0.0, applied, "")
    chosen = slice(None) if sequence is None else slice(None, None, 2)
    end = replace(ended, drift=drift, positions_A=ended.positions_A[chosen])
    first, second = requested(small.dataset, staged({}, {}, sequence=sequence), end)
    assert (first.start.refine_drift, second.start.refine_drift) == ("auto", later)


@pytest.mark.parametrize("changes", ["positions", "scans"])
def test_drift_is_not_looked_for_in_refined_positions_or_joined_scans(small, ended, changes):
    dataset, end = small.dataset, ended
    if changes == "positions":
        end = replace(end, refined=replace(end.refined, moved=True))
    else:
        dataset = replace(dataset, scan_of=np.repeat([0, 1], len(dataset.patterns) // 2))
    assert requested(dataset, staged({}, {}), end)[1].start.refine_drift is False


@pytest.mark.parametrize(
    ("origin", "later", "scanned"),
    [(Origin.ESTIMATED, SLICES, True), (Origin.ESTIMATED, {}, False), (Origin.GIVEN, SLICES, False)],
)
def test_an_estimated_defocus_is_found_anew_for_several_slices(small, ended, origin, later, scanned):
    """The defocus of one slice refers to the middle of the specimen; a stage that sets scan_defocus decides itself."""
    estimated = small.dataset.calibration.having(C10=Quantity(-55.0, origin))
    dataset = replace(small.dataset, calibration=estimated)
    assert requested(dataset, staged({}, later), ended)[1].start.scan_defocus is scanned
    stated = requested(dataset, staged({}, {**later, "scan_defocus": not scanned}), ended)[1]
    assert stated.start.scan_defocus is not scanned


@pytest.mark.slow
def test_a_drift_that_a_part_of_the_patterns_hides_is_found_in_all_of_them(drifted):
    dataset = drifted((1.6, -1.2), seed=1)
    quick = {"sweeps": 1, "epoch_max": 1}
    one_column = "0:400:20"  # too few to reveal a drift, on any processor
    hidden = refined(dataset, staged({"sequence": one_column}, {}, **quick))
    assert hidden.drift is not None and hidden.drift.applied
    assert "started anew" in hidden.reason  # the object of the first stage is strained
    seen = refined(dataset, staged({}, {}, **quick))
    assert seen.drift is not None and seen.drift.applied
    assert "started from an earlier refinement" in seen.reason
    assert [used(one.stages[1]).start.refine_drift for one in (hidden, seen)] == ["auto", False]
    np.testing.assert_allclose(seen.positions_A, hidden.positions_A, atol=1e-9)  # removed once each


def test_refined_distances_of_slices_go_on_where_there_are_as_many(small):
    free = {"update_slice_distances": True}
    result = refined(small.dataset, staged(free, {}, {"total_thickness_A": 18.0}, **SLICES))
    alone = refined(small.dataset, staged(free, **SLICES))
    assert used(result.stages[1]).object.spacings_A == pytest.approx(alone.refined.slice_distances_A)
    assert used(result.stages[2]).object.spacings_A == (6.0, 6.0)


def test_a_refined_thickness_goes_on_and_is_told(small):
    free = {"update_thickness": True}
    result = refined(small.dataset, staged(free, {}, **SLICES))
    alone = refined(small.dataset, staged(free, **SLICES))
    distances_A = alone.refined.slice_distances_A
    assert len(set(distances_A)) == 1 and distances_A[0] != pytest.approx(6.0, abs=1e-4)
    assert alone.slice_thickness_A == pytest.approx((*distances_A, distances_A[0]))
    assert used(result.stages[1]).object.spacings_A == pytest.approx(distances_A)
    assert f"thickness refined to {sum(alone.slice_thickness_A):.3g} Å" in alone.reason


def test_a_thickness_that_trials_changed_is_that_of_later_stages(small, monkeypatch):
    curve = Curve(Scanned.THICKNESS, (20.0, 26.0), (2.0, 1.0), 20.0, 26.0, 1.0, applied=True, reason="found")

    def tune(tuned, context):
        if not tuned.preset.start.scan_thickness:
            return tuned
        return Tuned(*with_best(tuned.dataset, tuned.preset, curve), (curve,))

    monkeypatch.setattr(decisions, "tune", tune)
    stages = ({"scan_thickness": True}, {"num_slices": 2}, {"total_thickness_A": 18.0})
    result = refined(small.dataset, staged(*stages, **SLICES))
    total_A = [sum(used(end).object.slice_thickness_A) for end in result.stages]
    assert total_A == pytest.approx([26.0, 26.0, 18.0])
    assert result.curves == (curve,)


def stopping_after(epochs: int):
    """A stop request that comes after the given number of epochs of the whole run."""
    heard = []
    return heard.append, lambda: bool(heard) and heard[-1].epoch >= epochs


TWO = ({"name": "thin"}, {"name": "thick", **SLICES})


@pytest.mark.parametrize("epochs", quick_first([6, 2, 4]))
def test_a_stopped_run_goes_on_in_its_stage_on_the_same_trajectory(small, tmp_path, epochs):
    whole = refined(small.dataset, staged(*TWO))
    place = tmp_path / "run.checkpoint"
    on_progress, should_stop = stopping_after(epochs)
    files = {"checkpoint": place, "loss_table": tmp_path / "loss.csv"}
    stopped = refined(small.dataset, staged(*TWO), on_progress=on_progress, should_stop=should_stop, **files)
    assert stopped.state == "stopped" and len(stopped.loss) == epochs
    assert f"stage {1 if epochs < 5 else 2}" in stopped.message
    assert of_stage(place, 2).exists() == (epochs > 4)
    told: list = []
    result = refined(small.dataset, staged(*TWO), resume=True, on_progress=told.append, **files)
    assert result.state == "done"
    for progress in told:  # by a new process, which has not heard of the epochs before
        assert list(progress.losses) == whole.loss[: progress.epoch].tolist()
        assert list(progress.phases) == list(whole.phases[: progress.epoch])
    np.testing.assert_array_equal(result.loss, whole.loss)
    np.testing.assert_array_equal(result.object, whole.object)
    np.testing.assert_array_equal(result.probe, whole.probe)
    rows = list(csv.DictReader((tmp_path / "loss.csv").open()))
    assert [row["stage"] for row in rows] == ["1"] * 4 + ["2"] * 4
    assert [float(row["loss"]) for row in rows] == result.loss.tolist()


def test_a_stage_that_follows_on_something_else_begins_anew(small, tmp_path):
    """With more epochs in the first stage, the checkpoint of the second no longer follows from it."""
    place = tmp_path / "run.checkpoint"
    refined(small.dataset, staged(*TWO), checkpoint=place)
    longer = staged({**TWO[0], "epoch_max": 6}, TWO[1])
    resumed = refined(small.dataset, longer, checkpoint=place, resume=True)
    assert [end.first_epoch for end in resumed.stages] == [0, 6] and len(resumed.loss) == 10
    assert resumed.loss[6] < refined(small.dataset, staged(*TWO)).loss[4]


def test_the_checkpoint_says_which_stage(small, tmp_path):
    place = tmp_path / "run.checkpoint"
    refined(small.dataset, staged(*TWO), checkpoint=place)
    with np.load(of_stage(place, 2)) as file:
        assert b"stage 2 (thick) of 2" in bytes(file["header"])


def test_progress_counts_the_epochs_of_all_stages(small):
    heard = []
    refined(small.dataset, staged(*TWO), on_progress=heard.append)
    epochs = [progress.epoch for progress in heard]
    assert epochs == sorted(epochs) and epochs[-1] == 8
    assert {progress.epochs for progress in heard} == {8}
    assert [progress.state for progress in heard][-1] == "done"
    assert {progress.state for progress in heard[:-1]} == {"running"}
    assert heard[0].stages == (0,) and heard[-1].stages == (0, 4)
    assert heard[-1].message.startswith("stage 2 (thick) of 2")
    assert heard[-1].evaluations > 2 * heard[len(heard) // 4].evaluations


@pytest.mark.slow
def test_an_estimated_defocus_is_found_again_where_one_slice_becomes_several(small):
    """For one slice it is the defocus of the middle; a stage that sets scan_defocus decides for itself."""
    estimated = Quantity(-55.0, Origin.ESTIMATED)
    dataset = replace(small.dataset, calibration=small.dataset.calibration.having(C10=estimated))
    quick = {"sweeps": 1, "epoch_max": 1}
    result = refined(dataset, staged({}, SLICES, **quick))
    assert [str(curve.quantity) for curve in result.curves] == ["defocus_A", "defocus_A"]
    result = refined(dataset, staged({}, {**SLICES, "scan_defocus": False}, **quick))
    assert [str(curve.quantity) for curve in result.curves] == ["defocus_A"]


def test_a_checkpoint_of_other_settings_is_refused_in_any_stage(small, tmp_path):
    place = tmp_path / "run.checkpoint"
    refined(small.dataset, staged(*TWO), checkpoint=place)
    other = staged(TWO[0], {**TWO[1], "batch_size": 8})
    with pytest.raises(RefinementError, match=r"stage2 belongs to other settings .batch_size was 16, is 8"):
        refined(small.dataset, other, checkpoint=place, resume=True)


def test_impossible_stages_name_themselves():
    with pytest.raises(MetadataError, match=r"stage 2 \(thick\): .*num_slices = 3 needs total_thickness_A"):
        staged({}, {"name": "thick", "num_slices": 3})
