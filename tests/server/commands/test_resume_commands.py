"""Refinements that another server began are continued by this one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.results_file import reserve_run
from ptylive.schema import Calibration, CommandError, Origin, Quantity, Scan, ScanHeader
from ptylive.schema.files.filelock import locked
from ptylive.schema.preset import Preset
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.commands.resume_commands import ResumeCommands
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.kept_jobs import Kept, keep, path_of
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.refinements import RunState
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.waiting_results import cut_off


class Refinements:
    """What a new server has refined: nothing."""

    def __init__(self):
        self.current, self.last_job, self.last_uid, self.last_epochs = RunState(), None, "", None
        self.started: list[RefineJob] = []

    def start(self, job, uid, done=None):
        self.started.append(job)
        self.last_epochs = done
        self.current, self.last_job, self.last_uid = RunState("running", job.run, uid, epoch=3), job, uid

    def adopt(self, run, uid, series):
        self.current = RunState("stopped", run, uid, series)


def job_of(folder: Path, run: str, **more) -> RefineJob:
    return RefineJob(
        recording=folder / "grain.h5",
        results=folder / "grain_results.h5",
        run=run,
        preset=Preset.from_mapping({"num_slices": 2, "total_thickness_A": 40, "epoch_max": 12}),
        calibration=Calibration({"C10": Quantity(90.0, Origin.ESTIMATED, 4.0)}),
        start=StartGuess(np.arange(6.0).reshape(2, 3), (0.4, 0.5), 30.0, (0.0, 1.0)),
        values={"energy_eV": 80e3},
        checkpoint=folder / f"grain_{run}.checkpoint",
        place="here",
        **more,
    )


def kept(folder: Path, run: str, epochs: int | None = None, **more) -> RefineJob:
    """A job as an earlier server left it, with its checkpoint."""
    job = job_of(folder, run, **more)
    keep(Kept(job, epochs))
    job.checkpoint.touch()
    return job


@pytest.fixture
def scan(tmp_path):
    header = ScanHeader(uid="a", series="grain", frames=16, scan=Scan(shape=(4, 4)))
    return ScanSession(header, None, header, recording=tmp_path / "grain.h5", results=tmp_path / "grain_results.h5")


@pytest.fixture
def commands(scan):
    config = ServerConfig(refine_threads=2)
    return ResumeCommands(config, Refinements(), lambda: scan, AllowedPlaces(config), "ptylive serve")


def test_a_run_of_an_earlier_server_goes_on_as_it_was_begun(commands, tmp_path):
    before = kept(tmp_path, "run1", epochs=12, history=2)
    assert commands.command_refine_resume() == {"run": "run1"}
    (job,) = commands._refinements.started
    assert (job.resume, job.threads, job.command_line, job.history) == (True, 2, "ptylive serve", 2)
    assert (job.preset, job.values, job.calibration.to_plain()) == (
        before.preset, before.values, before.calibration.to_plain()
    )  # fmt: skip
    np.testing.assert_array_equal(job.start.phase, before.start.phase)


def test_it_goes_on_for_so_many_epochs_more(commands, tmp_path):
    kept(tmp_path, "run1", epochs=12)
    commands.command_refine_resume(epochs=20)
    assert commands._refinements.started[0].preset.solver.epoch_max == 32
    kept(tmp_path, "run2")
    commands._refinements.current = RunState()
    with pytest.raises(CommandError, match="did not say how far it came"):
        commands.command_refine_resume(epochs=20, run="run2")


def test_the_last_one_unless_another_is_named(commands, tmp_path):
    for run in ("run1", "run3", "run2"):
        kept(tmp_path, run)
    kept(tmp_path, "run4").checkpoint.unlink()
    (tmp_path / "grain_run_big_run9.job").touch()
    assert commands.command_refine_resume() == {"run": "run2"}
    assert commands.command_refine_resume() == {"run": "run2"}, "the last of this server"
    assert commands.command_refine_resume(run="run3") == {"run": "run3"}
    for unknown in ("run4", "run7", "../run1", "run_big_run9"):
        with pytest.raises(CommandError, match="left nothing to continue from"):
            commands.command_refine_resume(run=unknown)
    (tmp_path / "grain_run3.checkpoint").unlink()
    with pytest.raises(CommandError, match="run3 left no checkpoint"):
        commands.command_refine_resume()


def test_a_folder_that_was_moved(commands, tmp_path, scan):
    other = tmp_path / "elsewhere"
    beside = replace(job_of(tmp_path, "run1"), recording=tmp_path / "left.h5")
    far = replace(beside, recording=Path("/far/right.h5"))
    kept(tmp_path, "run1", beside=(beside, far))
    other.mkdir()
    for file in list(tmp_path.glob("grain*")):
        file.rename(other / file.name)
    scan.recording = other / "grain.h5"
    commands.command_refine_resume()
    (job,) = commands._refinements.started
    assert (job.recording, job.results) == (other / "grain.h5", other / "grain_results.h5")
    assert job.checkpoint == other / "grain_run1.checkpoint"
    assert [each.recording for each in job.beside] == [other / "left.h5", Path("/far/right.h5")]


@pytest.mark.parametrize("spoiled", [b"", b"\x81\xa1a\x01", None], ids=["empty", "another", "a flipped bit"])
def test_a_job_that_cannot_be_read_is_a_line(commands, tmp_path, scan, spoiled):
    path = path_of(kept(tmp_path, "run1").checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content if spoiled is None else spoiled)
    with pytest.raises(CommandError, match=r"run1.job is damaged, or.*\s*copy grain_run1.check"):
        commands.command_refine_resume()
    reserve_run(scan.results)
    commands.shown(scan)
    assert commands._refinements.current.state == "stopped", "the scan can be opened all the same"


def test_one_that_another_server_is_running_is_left_alone(commands, tmp_path):
    path = path_of(kept(tmp_path, "run1").checkpoint)
    with locked(path, 0.0), pytest.raises(CommandError, match="another server is running this refinement"):
        commands.command_refine_resume()


def test_a_run_that_was_cut_off_is_offered_with_its_scan(commands, tmp_path, scan):
    kept(tmp_path, reserve_run(scan.results), epochs=4)
    assert cut_off(tmp_path) == [
        "refinement run1 of grain was cut off: to continue it, open the scan and resume it (refine_resume, run run1)"
    ]
    commands.shown(None)
    commands.shown(scan)
    assert (commands._refinements.current.state, commands._refinements.current.run) == ("stopped", "run1")
    kept(tmp_path, "run2")
    assert commands.command_refine_resume() == {"run": "run1"}


def test_a_run_that_was_cut_off_before_its_first_checkpoint_begins_again_with_its_settings(commands, tmp_path, scan):
    before = kept(tmp_path, reserve_run(scan.results))
    before.checkpoint.unlink()
    commands.shown(scan)
    assert (commands._refinements.current.state, commands._refinements.current.run) == ("stopped", "run1")
    assert commands.command_refine_resume() == {"run": "run1"}
    (job,) = commands._refinements.started
    assert not job.resume, "there is no checkpoint to read"
    assert (job.preset, job.values, job.checkpoint) == (before.preset, before.values, before.checkpoint)


def test_one_that_ended_is_not_taken_for_cut_off(commands, tmp_path, scan):
    kept(tmp_path, "run1", epochs=4)
    commands.shown(scan)
    assert commands._refinements.current.state == "none"


def test_a_run_of_no_scan(commands):
    commands._current = lambda: None
    with pytest.raises(CommandError, match="no scan is shown whose 'run1' could be resumed"):
        commands.command_refine_resume(run="run1")
    with pytest.raises(CommandError, match="there is no refinement to resume"):
        commands.command_refine_resume()


def test_a_place_that_is_no_more_is_the_usual_one(commands, tmp_path):
    job = replace(job_of(tmp_path, "run1"), place="cluster")
    keep(Kept(job))
    job.checkpoint.touch()
    commands.command_refine_resume()
    assert commands._refinements.started[0].place == "here"
    with pytest.raises(CommandError, match="'moon' is not a place"):
        commands.command_refine_resume(place="moon")


def test_epochs_are_counted_from_those_that_were_done_after_a_resumption_failed_too(commands, tmp_path):
    """Regression: a run that failed at once after it was resumed did not know how far it had come before."""
    kept(tmp_path, "run1", epochs=12)
    commands.command_refine_resume(epochs=20)
    commands._refinements.current = RunState("failed", "run1", "a")
    commands.command_refine_resume(epochs=5)
    assert [job.preset.solver.epoch_max for job in commands._refinements.started] == [32, 17]


def test_a_run_of_another_scan_is_not_taken_for_the_one_that_was_meant(commands, scan, tmp_path):
    """Regression: names of runs begin anew with every scan, and the run1 of whatever scan was shown was continued."""
    kept(tmp_path, "run1")
    with pytest.raises(CommandError, match="for a run of another scan; scan 'grain' is displayed now"):
        commands.command_refine_resume(run="run1", uid="b")
    assert commands._refinements.started == []
    assert commands.command_refine_resume(run="run1", uid="a") == {"run": "run1"}
    commands._current = lambda: None
    assert commands.command_refine_resume(run="run1", uid="a") == {"run": "run1"}, "the last of this server"
    with pytest.raises(CommandError, match="for a run of another scan; no scan is displayed now"):
        commands.command_refine_resume(run="run1", uid="b")
