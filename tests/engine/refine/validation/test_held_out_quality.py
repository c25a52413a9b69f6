"""The comparable quality: lower for right settings, reproducible, and absent where it cannot be determined."""

from dataclasses import replace

import numpy as np
import pytest
from tilted_scans import TiltedScans

from ptylive.engine.refine import TrialContext, refine
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.validation.held_out_quality import held_out_quality
from ptylive.engine.results import Run, add_refinement, read_runs
from ptylive.schema import Calibration, Origin, Quantity, RefinementError
from ptylive.schema.preset import Preset

PRESET = Preset(num_slices=1, probe_modes=1, window_px=32)
CPU = TrialContext("cpu")


@pytest.fixture(scope="module")
def scan():
    places = np.random.default_rng(3).uniform((-4, -4, 0), (16, 16, 8), (60, 3))
    return TiltedScans(places, np.full(60, 0.35), 8.0, points=12, counts=1e4).scan()


def test_a_wrong_defocus_predicts_worse_and_the_same_question_has_the_same_answer(scan):
    wrong = replace(scan, calibration=scan.calibration.having(C10=Quantity(-160.0, Origin.GIVEN)))
    right, worse = (held_out_quality(one, PRESET, CPU) for one in (scan, wrong))
    assert right == held_out_quality(scan, PRESET, CPU)
    assert (right.patterns, len(right.groups)) == (18, 16)
    assert right.mean < worse.mean
    assert Gain.over(worse.groups, right.groups).certain


def test_how_long_was_refined_and_from_what_does_not_matter(scan, tmp_path):
    """Only settings are judged: an object or a map used as start has seen the held-out patterns."""
    longer = PRESET.model_copy(update={"epoch_max": 77, "sweeps": 60, "start_object": str(tmp_path / "gone.h5")})
    assert held_out_quality(scan, longer, CPU) == held_out_quality(scan, PRESET, CPU)


def test_there_is_none_where_it_cannot_be_told(scan):
    apart = replace(scan, scan_of=np.zeros(len(scan.point), dtype=int), scan_names=("a", "b"))
    few = scan.part(np.arange(63))
    assert held_out_quality(apart, PRESET, CPU) is held_out_quality(few, PRESET, CPU) is None


@pytest.mark.slow
def test_of_several_scans_a_wrong_tilt_predicts_worse():
    """Atoms 60 Å apart in depth move by 2.7 Å relative to each other between the scans."""
    places = np.random.default_rng(5).uniform((-3, -3, 0), (12, 12, 60), (40, 3))
    several = TiltedScans(places, np.full(40, 0.35), 60.0, points=12, counts=1e5).together([(0, 0), (45, 0)])
    settings = {"num_slices": 3, "total_thickness_A": 60.0, "probe_modes": 1, "window_px": 32}
    right, wrong = (
        held_out_quality(several, Preset.from_mapping({**settings, "scan_tilts_mrad": tilts}), CPU)
        for tilts in ([[0, 0], [45, 0]], [[0, 0], [-45, 0]])
    )
    assert right.patterns == 36, "one in eight of both together"
    assert Gain.over(wrong.groups, right.groups).certain


def test_of_stages_the_settings_of_the_last_are_judged(scan):
    shared = {"num_slices": 1, "probe_modes": 1, "epoch_max": 2, "sweeps": 1}
    result = refine(
        scan,
        Preset.from_mapping({**shared, "stages": [{"window_px": 16, "probe_modes": 2}, {"window_px": 32}]}),
        backend="cpu",
        judge=True,
    )
    alone = refine(scan, Preset.from_mapping({**shared, "window_px": 32}), backend="cpu", judge=True)
    assert len(result.loss) == 4
    assert result.held_out == alone.held_out


def test_a_run_that_is_judged_stores_it_and_a_stop_costs_the_quality_only(scan, tmp_path):
    quick = PRESET.model_copy(update={"epoch_max": 2, "sweeps": 1})
    result = refine(scan, quick, backend="cpu", judge=True)
    path = add_refinement(tmp_path / "r.h5", Run("r", quick, result), Calibration(), {}).path
    stored = read_runs(path)["r"]["held_out"]
    assert stored["loss"] == pytest.approx(result.held_out.mean)
    assert stored["groups"] == list(result.held_out.groups) and stored["patterns"] == 18
    assert refine(scan, quick, backend="cpu").held_out is None, "nobody asked"
    some = refine(scan, quick.model_copy(update={"sequence": "0:100"}), backend="cpu", judge=True)
    assert some.held_out.patterns == 12, "of those that are refined"

    asked = []
    stopped = refine(
        scan,
        quick,
        backend="cpu",
        judge=True,
        should_stop=lambda: bool(asked),
        on_progress=lambda p: asked.append(p) if "held out" in p.message else None,
    )
    assert stopped.state == "done" and len(stopped.loss) == 2


def test_it_can_be_interrupted(scan):
    def never() -> None:
        raise RefinementError("stopped on request")

    with pytest.raises(RefinementError, match="stopped"):
        held_out_quality(scan, PRESET, replace(CPU, pause=never))
