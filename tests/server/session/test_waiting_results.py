"""Refinements waiting next to their results files: who adds them to the file, and when."""

import h5py
import numpy as np
import pytest
import stored_runs
from stream_tools import make_frames, make_header, stored_recording
from typer.testing import CliRunner

from ptylive.engine.results import write_maps
from ptylive.engine.results_file import GOES_ON, IDENTITY, pending_files, pending_path, release_run, reserve_run
from ptylive.schema import Calibration, LiveMap, PtyliveError
from ptylive.schema.files.filelock import locked
from ptylive.server.cli.main import build
from ptylive.server.session.library import Library
from ptylive.server.session.waiting_results import cut_off, look_after, merge_all_waiting, merge_waiting_now
from ptylive.streamer.vetting.worker import FileWorker


@pytest.fixture
def results(tmp_path):
    """The results of a recording, with a refinement waiting next to them."""
    header = make_header()
    recording = stored_recording(tmp_path, header, make_frames(header))
    path = recording.with_name(f"{recording.stem}_results.h5")
    made = LiveMap("bf", np.ones((6, 7), np.float32), "", (1.0, 1.0), 42, "bf")
    write_maps(path, [made], np.ones((6, 7), bool), Calibration(), {})
    wait_beside(path)
    return path


def wait_beside(path):
    waiting = pending_path(path, reserve_run(path))
    stored_runs.write_results(waiting)
    with h5py.File(waiting, "a") as file:
        file.create_group("settings")
        file["refinements/run1"].attrs.update({IDENTITY: "one", GOES_ON: False})


def runs(path):
    with h5py.File(path) as file:
        return list(file.get("refinements", {}))


def test_a_server_takes_them_in_when_it_starts(results):
    said = []
    damaged = results.with_name("other_results.h5")
    damaged.write_bytes(b"no results")
    wait_beside(damaged)
    merge_all_waiting(results.parent, lambda level, line: said.append((level, line)))
    assert runs(results) == ["run1"]
    told = dict(said)
    assert set(told) == {"info", "warning"}
    assert results.name in told["info"] and damaged.name in told["warning"]
    assert pending_files(damaged) != []
    assert not list(results.parent.glob(f".{results.name}.*.reserved"))


def test_a_look_takes_them_in_but_waits_for_nobody(results):
    said = []
    with locked(results, 0.0):
        merge_waiting_now(results, lambda level, line: said.append(line))
    assert runs(results) == []
    merge_waiting_now(results, lambda level, line: said.append(line))
    assert runs(results) == ["run1"]
    assert said == []


def test_a_scan_of_the_library_has_them(results):
    with FileWorker() as files:
        (entry,) = Library(results.parent, files).history()["scans"]
    assert list(entry["runs"]) == ["run1"]
    assert runs(results) == ["run1"]


def test_commands_that_read_a_results_file_take_them_in(results, tmp_path):
    done = CliRunner().invoke(build(), ["export", str(results), str(tmp_path / "out"), "--to", "nxs"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "run1.nxs").exists()
    assert runs(results) == ["run1"]


def test_links_that_lead_to_each_other_are_told_of(tmp_path):
    circle = tmp_path / "a_results.h5"
    circle.symlink_to(circle)
    said = []
    merge_waiting_now(circle, lambda level, line: said.append(line))
    assert "links that point to each other" in said[0] or "symbolic links" in said[0]
    with pytest.raises(PtyliveError, match="a_results"):
        reserve_run(circle)
    release_run(circle, "run1")


def test_a_refinement_that_was_cut_off_is_told_of_with_its_checkpoint(results):
    """It has a checkpoint and a reserved name, but neither results nor a file of its own."""
    name, said = results.stem.removesuffix("_results"), []
    run = reserve_run(results)
    assert cut_off(results.parent) == [], "it left nothing"
    checkpoint = results.with_name(f"{name}_{run}.checkpoint")
    checkpoint.write_bytes(b"state")
    look_after(results.parent, lambda level, line: said.append((level, line)))
    assert said[0] == (
        "warning",
        f"refinement {run} of {name} was cut off: to continue it, copy {checkpoint.name} to NEW.checkpoint, "
        f"and give its settings to ptylive refine {name}.h5 -o NEW.h5 --resume",
    )
    assert pending_files(results) == [], "and the others are merged"
    assert cut_off(results.parent, name) == [said[0][1]]
    assert cut_off(results.parent, "other") == []
    release_run(results, run)
    assert cut_off(results.parent) == []


def test_one_that_was_cut_off_before_its_first_checkpoint_is_told_of_too(tmp_path):
    """Regression: after kill -9 during the trials nothing said that there had been a refinement."""
    run, said = reserve_run(tmp_path / "scan_results.h5"), []
    job = tmp_path / f"scan_{run}.job"
    job.write_bytes(b"settings")
    look_after(tmp_path, lambda level, line: said.append((level, line)))
    words = (
        f"refinement {run} of scan was cut off before its first checkpoint: to begin it again with its settings, "
        f"open the scan and resume it (refine_resume, run {run})"
    )
    assert said == [("warning", words)]
    job.unlink()
    assert cut_off(tmp_path) == []


def test_a_name_with_brackets_is_taken_as_it_is(tmp_path):
    run = reserve_run(tmp_path / "scan[1]_results.h5")
    (tmp_path / f"scan[1]_{run}.checkpoint").write_bytes(b"state")
    assert len(cut_off(tmp_path, "scan[1]")) == 1
