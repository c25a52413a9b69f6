"""What HDF5 files may hold in place of frames: each is reported in a line; links out of the file are not followed."""

import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest

from ptylive.engine.stored_maps import StoredMaps
from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source
from ptylive.streamer.storage import hdf5
from ptylive.streamer.storage.hdf5 import attributes, dataset, has_checksums, opened, stores_bslz4_patterns
from ptylive.streamer.vetting.tasks import walk_hdf5
from ptylive.streamer.vetting.worker import FileWorker


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3)
    return tmp_path / "a.h5"


def external_link(file):
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def through_a_group(file):
    file["group"] = h5py.ExternalLink("other.h5", "/")
    file["x"] = h5py.SoftLink("/group/x")


def nothing_in_it(file):
    file.create_dataset("x", data=h5py.Empty("f4"))


def virtual(file):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(3,))
    file.create_virtual_dataset("x", layout)


def external_storage(file):
    file.create_dataset("x", (3,), "f8", external=[("raw.bin", 0, 24)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external_link, "x is an external link"),
        (through_a_group, "x is a link to another file"),
        (nothing_in_it, "/x holds nothing"),
        (virtual, "x is a virtual data set"),
        (external_storage, "x is external storage"),
    ],
)
def test_data_that_lie_elsewhere_or_nowhere_are_refused_by_name(path, make, words):
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(InputFileError, match=words) as caught, opened(path) as file:
        dataset(file, "x")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("make", [external_link, virtual, external_storage])
def test_the_way_to_copy_them_works(tmp_path, monkeypatch, make):
    """Regression: h5repack, which was named, copies links and virtual data sets as such."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.bin").write_bytes(np.arange(3.0).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.arange(3.0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(InputFileError) as caught, opened(tmp_path / "a.h5") as file:
        dataset(file, "x")
    statement = caught.value.hint.partition("with h5py, ")[2]
    with h5py.File(tmp_path / "a.h5") as old, h5py.File(tmp_path / "new.h5", "w") as new:
        exec(statement, {"old": old, "new": new})
    with opened(tmp_path / "new.h5") as file:
        assert dataset(file, "data").shape == (3,)


def test_compression_that_nothing_here_undoes_is_named(path, monkeypatch):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((4, 4)), chunks=(2, 2), **hdf5plugin.Zstd())
    monkeypatch.setattr(hdf5.h5py.h5z, "filter_avail", lambda code: False)
    with (
        pytest.raises(InputFileError, match="x is compressed with filter 32015, which is not supported"),
        opened(path) as file,
    ):
        dataset(file, "x")


def test_groups_and_names_that_are_not_there_are_none(path):
    with h5py.File(path, "w") as file:
        file.create_group("group")
        file["gone"] = h5py.SoftLink("/nowhere")
    with opened(path) as file:
        assert [dataset(file, name) for name in ("group", "gone", "never", "group/x")] == [None] * 4


def test_attributes_are_plain(path):
    given = {
        "text": "Å",
        "bytes": np.bytes_(b"\xffab"),
        "number": np.float32(0.5),
        "flag": np.bool_(True),
        "one": np.array([7]),
        "two": np.array([1, 2]),
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(given)
    with opened(path) as file:
        found = attributes(file)
    assert found == {"text": "Å", "bytes": "\ufffdab", "number": 0.5, "flag": True, "one": 7, "two": [1, 2]}
    assert {name: type(value) for name, value in found.items()}["number"] is float


def test_patterns_as_the_stream_codes_them_are_known(path):
    frames = np.zeros((2, 3, 8, 8), "<u2")
    coded = {"chunks": (1, 1, 8, 8), **hdf5plugin.Bitshuffle(cname="lz4")}
    with h5py.File(path, "w") as file:
        kinds = {
            "coded": coded,
            "two patterns": {**coded, "chunks": (1, 2, 8, 8)},
            "half": {**coded, "chunks": (1, 1, 4, 8)},
            "shuffled only": {**coded, **hdf5plugin.Bitshuffle(cname="none")},
            "zstd": {**coded, **hdf5plugin.Zstd()},
            "and checked": {**coded, "fletcher32": True},
            "only checked": {"chunks": (1, 1, 8, 8), "fletcher32": True},
            "plain": {},
        }
        for name, options in kinds.items():
            file.create_dataset(name, data=frames, **options)
        assert [name for name in kinds if stores_bslz4_patterns(file[name])] == ["coded", "and checked"]
        assert [name for name in kinds if has_checksums(file[name])] == ["and checked", "only checked"]


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        (5, {"chunks": (2, 2, 8, 8)}, ""),
        (2, {"chunks": (2, 2, 8, 8)}, "4 of 6 chunks of its data set were never written"),
        (0, {"chunks": (2, 2, 8, 8)}, "6 of 6 chunks of its data set were never written"),
        (5, {}, ""),
        (0, {}, "its data set was never written"),
    ],
)
def test_what_was_never_written_is_told(path, rows, options, told):
    """A program that creates the whole data set and is broken off leaves patterns that HDF5 reads as 0."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (5, 3, 8, 8), "<u2", **options)
        if rows:
            data[:rows] = 1
    with open_source(path) as source:
        notes = [note for note in source.doubts if "never written" in note]
    assert notes == ([f"{told}, patterns there are empty: check it"] if told else [])


def test_frames_that_are_marked_as_missing_are_no_doubt(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (5, 3, 8, 8), "<u2", chunks=(1, 1, 8, 8))[:2] = 1
        file["metadata/received"] = np.repeat(np.arange(5) < 2, 3)
    with open_source(path) as source:
        assert source.doubts == ()


def test_what_cannot_be_opened_says_why(tmp_path):
    (tmp_path / "a.h5").write_text("text")
    for name, words in (("a.h5", "is not an HDF5 file"), ("none.h5", "no such file"), (".", "is not a file")):
        with pytest.raises(InputFileError, match=words), opened(tmp_path / name):
            pass


def test_a_file_that_swmr_marks_as_open_is_said_to_be_no_damage(tmp_path):
    """Such files are not locked but marked, and the mark stays if their writer is killed."""
    path = tmp_path / "scan.h5"
    script = (
        f"import h5py; f = h5py.File({str(path)!r}, 'w', libver='latest'); f['data'] = [[[1.0]]]; f.swmr_mode = True"
    )
    with subprocess.Popen([sys.executable, "-c", f"{script}; import os; os._exit(1)"]) as other:
        other.wait()
    with pytest.raises(InputFileError) as refused, opened(path):
        pass
    with FileWorker() as files, pytest.raises(InputFileError) as of_worker:
        files.read(walk_hdf5, path)
    for one in (refused, of_worker):
        assert "scan.h5 is open for writing in another program, or was not closed by it: " in one.value.line()
        assert "h5clear" in one.value.hint


def test_a_file_that_another_program_writes_is_said_to_be_no_damage(tmp_path):
    path = tmp_path / "scan.h5"
    words = "scan.h5 is open for writing in another program: close it there, or wait for its end"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((2, 2, 4, 4))
    script = f"import h5py; file = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(InputFileError) as refused, opened(path):
            pass
        with pytest.raises(InputFileError) as of_results:
            StoredMaps.read(path)
        with FileWorker() as files, pytest.raises(InputFileError) as of_worker:
            files.read(walk_hdf5, path)
        other.communicate(b"\n")
    for one in (refused, of_results, of_worker):
        assert one.value.line().endswith(words)
    with opened(path) as file:
        assert "data" in file


def test_an_old_file_of_matlab_is_called_so(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128))
    with pytest.raises(InputFileError, match="MATLAB file from before") as caught, opened(path):
        pass
    assert "-v7.3" in caught.value.hint
