"""A results file that grows at its end: a single write commits, and until then everybody sees the old file."""

import errno
import os

import h5py
import numpy as np
import pytest
import results_writers as writers

from ptylive.engine import appending, results_file
from ptylive.engine.results_file import ResultsFileError

SUPERBLOCK_BYTES = 96


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file with one refinement, which is appended to however small it is."""
    monkeypatch.setattr(results_file, "APPEND_BYTES", 0)
    writers.refine(tmp_path / "r.h5", 1.0)
    writers.save(tmp_path / "r.h5")
    return tmp_path / "r.h5"


def numbers(path) -> list[float]:
    with h5py.File(path, "r") as file:
        return [float(group["object"][0, 0, 0, 0].real) for group in file["refinements"].values()]


def test_nothing_but_the_superblock_changes_before_the_end(path):
    before, node = path.read_bytes(), path.stat().st_ino
    with h5py.File(path, "r") as reader:
        writers.refine(path, 2.0)
        after = path.read_bytes()
        assert list(reader["refinements"]) == ["run1"] and reader["coverage"][()].all()
        assert reader["refinements/run1/object"][0, 0, 0, 0] == 1.0
    assert after[SUPERBLOCK_BYTES : len(before)] == before[SUPERBLOCK_BYTES:] and len(after) > len(before)
    assert path.stat().st_ino == node and numbers(path) == [1.0, 2.0]
    halfway = path.with_name("halfway.h5")  # everything is written but the superblock
    halfway.write_bytes(before[:SUPERBLOCK_BYTES] + after[SUPERBLOCK_BYTES:])
    assert numbers(halfway) == [1.0]
    writers.refine(halfway, 3.0)
    assert numbers(halfway) == [1.0, 3.0]


@pytest.mark.slow
def test_others_read_and_change_what_was_appended(path):
    for number in range(2, 20):
        writers.refine(path, float(number))
        writers.save(path, number)
    with h5py.File(path, "a") as file:
        del file["maps"]
        file["mine"] = np.arange(4)
    writers.refine(path, 20.0)
    assert sorted(numbers(path)) == [float(n) for n in range(1, 21)]
    with h5py.File(path, "r") as file:
        assert set(file) == {"calibration", "coverage", "entry", "mine", "refinement", "refinements", "settings"}


@pytest.mark.parametrize("writes", [0, 3])
def test_a_full_disk_on_the_way(path, monkeypatch, writes):
    before, left = path.read_bytes(), [writes]

    def pwrite(handle, data, at, genuine=os.pwrite):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return genuine(handle, data, at)

    monkeypatch.setattr(appending.os, "pwrite", pwrite)
    monkeypatch.setattr(results_file, "locked", unlocked)
    with pytest.raises(ResultsFileError, match="No space left on device"):
        writers.save(path, 5.0)
    monkeypatch.undo()
    assert path.read_bytes() == before


class unlocked:
    def __init__(self, *_arguments) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_arguments) -> None:
        pass


def test_what_does_not_read_back_is_written_anew(path, monkeypatch):
    node = path.stat().st_ino
    monkeypatch.setattr(appending, "_reread", lambda *_arguments: b"something else")
    writers.refine(path, 2.0)
    assert numbers(path) == [1.0, 2.0] and path.stat().st_ino != node


def test_files_of_another_form_are_written_anew(path):
    with h5py.File(path, "r") as old, h5py.File(path.with_name("new.h5"), "w", libver="v110") as new:
        for name in old:
            old.copy(name, new)
    path.with_name("new.h5").replace(path)
    writers.refine(path, 2.0)
    assert numbers(path) == [1.0, 2.0]


def test_a_file_that_somebody_else_writes_is_not_appended_to(path):
    node = path.stat().st_ino
    handle = os.open(path, os.O_RDWR)
    appending.fcntl.flock(handle, appending.fcntl.LOCK_EX)  # as HDF5 does
    with pytest.raises(appending.NotAppendableError, match="open for writing in another program"):
        appending.append(path, lambda _root, _keep: None)
    os.close(handle)
    assert path.stat().st_ino == node and numbers(path) == [1.0]


@pytest.mark.slow
def test_a_file_that_is_mostly_idle_is_written_anew(path, monkeypatch):
    monkeypatch.setattr(results_file, "SPARE_BYTES", 200_000)
    for number in range(200):
        writers.save(path, number)
        assert path.stat().st_size < 200_000 + 100_000  # plus what one change adds
    assert numbers(path) == [1.0]
