"""Files of a job between this machine and a worker that sees none of its folders."""

from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from results_writers import SETTINGS, refine, save, small_result

from ptylive.engine import results_file
from ptylive.engine.results import Run, add_refinement, read_runs
from ptylive.schema import Calibration
from ptylive.schema.preset import Preset
from ptylive.server.cluster import transfer
from ptylive.server.cluster.home import Home
from ptylive.server.refinement.refine_job import RefineJob


class Worker:
    """A folder on another machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._seen = folder, {}
        folder.mkdir()

    def put(self, name, start, piece):
        path = self.folder / name
        before = path.read_bytes()[:start] if start else b""
        path.write_bytes(before + piece)

    def get(self, name, start):
        return (self.folder / name).read_bytes()[start : start + 1000]

    def changed(self, names):
        there = {name: (self.folder / name).stat().st_mtime_ns for name in names if (self.folder / name).exists()}
        found = [name for name, stamp in there.items() if self._seen.get(name) != stamp]
        self._seen.update(there)
        return found


@pytest.fixture
def both(tmp_path, monkeypatch):
    """A job here, and its worker."""
    monkeypatch.setattr(transfer, "PIECE_BYTES", 4096)
    here = tmp_path / "here"
    here.mkdir()
    job = RefineJob(
        here / "a.h5",
        here / "a_results.h5",
        "run1",
        Preset(),
        Calibration(),
        checkpoint=here / "a.checkpoint",
        methods=("obf",),
        resume=True,
    )
    return job, Worker(tmp_path / "worker")


def ended(**more):
    return {"kind": "ended", "state": "done", "run": "run1", "results": "/worker/a_results.h5", "problem": "", **more}


def test_a_job_that_goes_on_takes_maps_and_checkpoint_along_and_no_earlier_refinement(both):
    job, worker = both
    save(job.results, 3.0)
    refine(job.results, 1.0)
    job.checkpoint.write_bytes(b"x" * 10000)
    Home(job, worker).send()
    assert (worker.folder / "a.checkpoint").read_bytes() == b"x" * 10000
    with h5py.File(worker.folder / "a_results.h5") as file:
        assert float(file["maps/obf"][0, 0]) == 3.0
        assert "refinements" not in file
    assert sorted(path.name for path in job.results.parent.iterdir()) == ["a.checkpoint", "a_results.h5"]


def test_a_job_that_begins_takes_nothing_along(both):
    job, worker = both
    job.checkpoint.write_bytes(b"of another run")
    from dataclasses import replace

    Home(replace(job, resume=False), worker).send()
    assert list(worker.folder.iterdir()) == []


def test_maps_are_here_before_it_is_said_that_they_are_made(both):
    job, worker = both
    save(worker.folder / "a_results.h5", 2.0)
    assert Home(job, worker).brought({"kind": "maps"}) == {"kind": "maps"}
    with h5py.File(job.results) as file:
        assert float(file["maps/obf"][0, 0]) == 2.0


def test_checkpoints_come_as_they_are_written(both):
    job, worker = both
    home = Home(job, worker)
    home.fetch_checkpoints()
    assert not job.checkpoint.exists()
    (worker.folder / "a.checkpoint").write_bytes(b"y" * 5000)
    home.fetch_checkpoints()
    assert job.checkpoint.read_bytes() == b"y" * 5000


def refined_there(worker, number, goes_on=False):
    save(worker.folder / "a_results.h5", 2.0)
    run = Run("run1", Preset(), small_result(number), goes_on=goes_on)
    add_refinement(worker.folder / "a_results.h5", run, Calibration(), SETTINGS)


def test_a_refinement_is_taken_into_the_results_file_beside_what_is_there(both):
    job, worker = both
    save(job.results, 5.0)
    (worker.folder / "a.checkpoint").write_bytes(b"last")
    refined_there(worker, 7.0)
    said = Home(job, worker).brought(ended())
    assert (said["run"], said["results"], said["problem"]) == ("run1", str(job.results), "")
    with h5py.File(job.results) as file:
        assert file["refinement/object"][0, 0, 0, 0] == 7.0
        assert float(file["maps/obf"][0, 0]) == 5.0
    assert results_file.pending_files(job.results) == []
    assert job.checkpoint.read_bytes() == b"last"


def test_one_that_was_resumed_takes_the_place_of_itself_and_another_gets_a_name_of_its_own(both):
    job, worker = both
    refine(job.results, 1.0, "run1")
    refined_there(worker, 7.0)
    assert Home(job, worker).brought(ended())["run"] == "run2"
    (worker.folder / "a_results.h5").unlink()
    refined_there(worker, 8.0, goes_on=True)
    assert Home(job, worker).brought(ended())["run"] == "run1"
    with h5py.File(job.results) as file:
        assert {name: complex(group["object"][0, 0, 0, 0]).real for name, group in file["refinements"].items()} == {
            "run1": 8.0,
            "run2": 7.0,
        }


def test_one_that_had_nothing_left_to_do_is_not_stored_twice(both):
    job, worker = both
    refine(job.results, 7.0, "run1")
    run = Run("run2", Preset(), replace(small_result(7.0), unchanged=True))
    add_refinement(worker.folder / "a_results.h5", run, Calibration(), SETTINGS)
    assert Home(job, worker).brought(ended(run="run2", outcome={"unchanged": True}))["run"] == "run1"
    assert list(read_runs(job.results)) == ["run1"]
    assert results_file.pending_files(job.results) == []


def test_one_for_which_the_worker_had_no_room_in_its_results_comes_from_its_own_file(both):
    job, worker = both
    refined_there(worker, 7.0)
    own = (worker.folder / "a_results.h5").rename(worker.folder / "own")
    save(worker.folder / "a_results.h5", 2.0)
    own.rename(worker.folder / "a_results.h5.run1.pending")
    said = Home(job, worker).brought(ended(results="/tmp/a_results.h5.run1.pending", problem="no space"))
    assert (said["run"], said["results"], said["problem"]) == ("run1", str(job.results), "")
    with h5py.File(job.results) as file:
        assert file["refinement/object"][0, 0, 0, 0] == 7.0


def test_a_refinement_that_finds_no_place_stays_whole_beside_the_results(both):
    job, worker = both
    job.results.write_bytes(b"something else")
    refined_there(worker, 7.0)
    said = Home(job, worker).brought(ended())
    pending = job.results.with_name("a_results.h5.run1.pending")
    assert said["problem"].endswith(f"the refinement is complete in {pending}")
    assert results_file.Pending.read(pending).name == "run1"


def test_a_refinement_that_was_stopped_before_it_had_anything_brings_nothing(both):
    job, worker = both
    message = ended(results="", state="stopped")
    assert Home(job, worker).brought(message) == message
