"""A job on its way to the refinement process and back."""

import math
from dataclasses import fields, replace
from pathlib import Path

import msgpack
import numpy as np
import pytest

from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.results.refinement_result import Progress
from ptylive.schema import Calibration, CommandError, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.server.refinement.refine_job import RefineJob, history_of, progress_to_plain

CALIBRATION = Calibration({"energy_eV": Quantity(80e3, Origin.GIVEN)})
PLAIN = RefineJob(Path("/r/a.h5"), Path("/r/a_results.h5"), "run1", Preset(), CALIBRATION)
START = StartGuess(
    np.arange(6, dtype=np.float32).reshape(2, 3), (1.0, 2.0), 30.0, (4.0, 5.0), np.ones((2, 3), np.float32)
)
FULL = replace(
    PLAIN,
    preset=Preset.from_mapping({"sweeps": 3, "probe_modes": 2}),
    values={"rotation_deg": 1.0},
    backend="cpu",
    threads=3,
    checkpoint=Path("/r/a.checkpoint"),
    resume=True,
    command_line="ptylive refine",
    journal=Path("/r/a.journal"),
    methods=("obf", "idpc"),
    defaults={"defocus_A": 2.0},
    ends_at_once=True,
    trials={"over": "defocus"},
    judged=True,
    decides=True,
    place="gpu",
    takes_maps=True,
    map_settings={"wdd.epsilon": 0.1},
    detectors={"haadf": "lost"},
    beside=(replace(PLAIN, run="run2"),),
    history=5,
    known=(1, 2, 3),
    series="0142",
)


def sent(job):
    return RefineJob.from_plain(msgpack.unpackb(msgpack.packb(job.to_plain()), raw=False))


@pytest.mark.parametrize("job", [PLAIN, FULL], ids=["plain", "full"])
def test_it_arrives_as_it_was_sent(job):
    assert sent(job) == job


def test_all_that_a_job_has_is_sent():
    """A field that is left out has its default where the job arrives."""
    same = [field.name for field in fields(RefineJob) if getattr(FULL, field.name) == getattr(PLAIN, field.name)]
    assert same == ["recording", "results", "run", "calibration", "start"], "give the full job one of its own"
    assert set(FULL.to_plain()) == {field.name for field in fields(RefineJob)}


@pytest.mark.parametrize("start", [START, replace(START, amplitude=None)])
def test_a_map_to_start_from_keeps_its_place(start):
    back = sent(replace(PLAIN, start=start)).start
    np.testing.assert_array_equal(back.phase, start.phase)
    assert (back.sampling_A, back.rotation_deg, back.origin_A) == ((1.0, 2.0), 30.0, (4.0, 5.0))
    if start.amplitude is None:
        assert back.amplitude is None
    else:
        np.testing.assert_array_equal(back.amplitude, start.amplitude)


@pytest.mark.parametrize(("run", "valid"), [("run1", True), ("../run1", False), ("", False), ("run 1", False)])
def test_a_history_lies_beside_its_recording(run, valid):
    if valid:
        assert history_of(Path("/r/a.h5"), run) == Path("/r/a_run1.history")
        return
    with pytest.raises(CommandError, match="is not a refinement"):
        history_of(Path("/r/a.h5"), run)


@pytest.mark.parametrize(("told", "losses"), [(0, [3.0, 2.0, 1.0]), (2, [1.0]), (3, []), (9, [])])
def test_only_new_losses_are_told(told, losses):
    progress = Progress(
        "running", "sweep", 3, 9, math.nan, 1.0, math.inf, 3.0, losses=(3.0, 2.0, 1.0), phases=("sweep",) * 3
    )
    plain = progress_to_plain(progress, told)
    assert plain["losses"] == losses and len(plain["phases"]) == len(losses)
    assert plain["loss"] is plain["seconds_left"] is None, "what is not finite has no number"
    assert "object" not in plain and msgpack.packb(plain)
