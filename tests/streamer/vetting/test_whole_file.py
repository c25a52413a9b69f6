"""Files named on a command line: examined before they are opened, and only if they are files."""

import errno
import time

import h5py
import numpy as np
import pytest
from stream_tools import make_frames, make_header, stored_recording

from ptylive.streamer.vetting import whole_file
from ptylive.streamer.vetting.worker import Limits


class Asked:
    """A worker that only records its requests."""

    def __init__(self, limits):
        self.limits, self.tasks, self.closed = limits, [], 0

    def close(self):
        self.closed += 1

    def read(self, task, path, limits=None, **arguments):
        self.tasks.append((task.__name__, path.name, limits, arguments))


@pytest.fixture
def asked(monkeypatch):
    made = []
    monkeypatch.setattr(whole_file, "FileWorker", lambda limits: made.append(Asked(limits)) or made[-1])
    monkeypatch.setattr(whole_file, "_READER", whole_file.Reader())
    return made


def test_a_scan_and_the_results_that_go_with_it_are_looked_through(tmp_path, asked):
    scan, results = tmp_path / "scan.h5", tmp_path / "results.h5"
    scan.write_bytes(b"x")
    results.write_bytes(b"x")
    whole_file.vet(scan, {"energy_eV": 80e3}, results, tmp_path / "none.h5")
    (worker,) = asked
    assert worker.limits.memory_bytes >= Limits().memory_bytes
    assert [(task, name, said) for task, name, _, said in worker.tasks] == [
        ("walk", "scan.h5", {"values": {"energy_eV": 80e3}}),
        ("walk_hdf5", "results.h5", {}),
    ]
    whole_file.vet_results(results, tmp_path)
    assert [task[:2] for task in worker.tasks[2:]] == [("walk_hdf5", "results.h5")]
    assert len(asked) == 1


def test_files_among_the_values_are_looked_through_each_by_its_size(tmp_path, asked):
    scan, dark, image = tmp_path / "scan.h5", tmp_path / "dark.h5", tmp_path / "gain.npy"
    for path in (scan, dark, image):
        path.write_bytes(b"x")
    given = {"detector.dark_reference": str(dark), "gain_reference": image, "vacuum_pattern": np.ones((2, 2))}
    whole_file.vet(scan, {**given, "energy_eV": 80e3})
    (worker,) = asked
    assert [(name, said) for _, name, _, said in worker.tasks] == [
        ("dark.h5", {"values": {}}),
        ("scan.h5", {"values": {"energy_eV": 80e3}}),
    ]


def test_the_worker_goes_when_nobody_has_used_it_for_a_while(asked):
    reader = whole_file.Reader(kept_s=0.0)
    with reader.worker() as worker, reader.worker() as again:
        assert worker is again
        reader._close_idle()
        assert not worker.closed
    give_up = time.monotonic() + 60
    while not worker.closed:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_forked_process_has_a_worker_of_its_own(asked, monkeypatch):
    reader = whole_file.Reader()
    with reader.worker() as before:
        monkeypatch.setattr(whole_file.os, "getpid", lambda: -1)
        with reader.worker() as after:
            assert after is not before


def test_one_process_looks_through_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_file, "_READER", reader := whole_file.Reader())
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = np.zeros((2, 2, 4, 4))
        whole_file.vet(tmp_path / name)
    with reader.worker() as worker:
        first = worker.process_id
        whole_file.vet(tmp_path / "a.h5")
        assert worker.process_id == first is not None
        worker.close()


def test_large_files_and_those_of_other_programs_have_more_time(tmp_path, asked):
    for name, size in (("a.h5", 0), ("large.h5", 4 * 10**9), ("a.mib", 0)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # nothing is written: a hole
        whole_file.vet(tmp_path / name)
    (worker,) = asked
    native, large, foreign = (task[2].cpu_s for task in worker.tasks)
    assert native < large
    assert foreign == whole_file.FOREIGN_CPU_S + native - whole_file.CPU_S


@pytest.mark.parametrize("path", ["", "missing.h5", "x" * 5000, "a\0b"])
def test_what_is_no_file_is_left_to_whoever_opens_it(tmp_path, asked, path):
    whole_file.vet(tmp_path / path, {}, tmp_path / path)
    assert asked[0].tasks == []


def test_a_folder_that_cannot_be_asked_holds_no_file(tmp_path, monkeypatch):
    def denied(_path, **_given):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_file", denied)
    assert not whole_file.is_file(tmp_path / "scan.h5")


def test_a_scan_goes_through_the_real_process(tmp_path):
    header = make_header()
    whole_file.vet(stored_recording(tmp_path, header, make_frames(header)))
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["data"] = np.zeros((0, 4))
    whole_file.vet_results(tmp_path / "empty.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    whole_file.vet(tmp_path / "text.h5")
