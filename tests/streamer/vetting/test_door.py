"""Files that are named on a command line: looked through before they are opened, and only if they are files."""

import errno

import h5py
import numpy as np
import pytest
from stream_tools import make_frames, make_header, stored_recording

from ptylive.streamer.vetting import door
from ptylive.streamer.vetting.worker import Limits


class Asked:
    """A worker that only says what it was asked."""

    def __init__(self, limits):
        self.limits, self.tasks = limits, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, task, path, limits=None, **arguments):
        self.tasks.append((task.__name__, path.name, limits, arguments))


@pytest.fixture
def asked(monkeypatch):
    made = []
    monkeypatch.setattr(door, "FileWorker", lambda limits: made.append(Asked(limits)) or made[-1])
    return made


def test_a_scan_and_the_results_that_go_with_it_are_looked_through(tmp_path, asked):
    scan, results = tmp_path / "scan.h5", tmp_path / "results.h5"
    scan.write_bytes(b"x")
    results.write_bytes(b"x")
    door.vet(scan, {"energy_eV": 80e3}, results, tmp_path / "none.h5")
    (worker,) = asked
    assert worker.limits.memory_bytes >= Limits().memory_bytes
    assert [(task, name, said) for task, name, _, said in worker.tasks] == [
        ("walk", "scan.h5", {"values": {"energy_eV": 80e3}}),
        ("walk_hdf5", "results.h5", {}),
    ]
    door.vet_results(results, tmp_path)
    assert [task[:2] for task in asked[1].tasks] == [("walk_hdf5", "results.h5")]


def test_large_files_and_those_of_other_programs_have_more_time(tmp_path, asked):
    for name, size in (("a.h5", 0), ("large.h5", 4 * 10**9), ("a.mib", 0)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # nothing is written: a hole
        door.vet(tmp_path / name)
    native, large, foreign = (worker.tasks[0][2].cpu_s for worker in asked)
    assert native < large
    assert foreign == door.FOREIGN_CPU_S + native - door.CPU_S


@pytest.mark.parametrize("path", ["", "missing.h5", "x" * 5000, "a\0b"])
def test_what_is_no_file_is_left_to_whoever_opens_it(tmp_path, asked, path):
    door.vet(tmp_path / path, {}, tmp_path / path)
    assert asked[0].tasks == []


def test_a_folder_that_cannot_be_asked_holds_no_file(tmp_path, monkeypatch):
    def denied(_path, **_given):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_file", denied)
    assert not door.is_file(tmp_path / "scan.h5")


def test_a_scan_goes_through_the_real_process(tmp_path):
    header = make_header()
    door.vet(stored_recording(tmp_path, header, make_frames(header)))
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["data"] = np.zeros((0, 4))
    door.vet_results(tmp_path / "empty.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    door.vet(tmp_path / "text.h5")
