"""Files opened in this process: its own, and those that another process has examined."""

import h5py
import numpy as np
import pytest
from odd_files import put_loop
from quick_first import quick_first
from stream_tools import make_frames, make_header, stored_recording

from ptylive.engine import file_guard
from ptylive.engine.file_guard import guarded
from ptylive.engine.results import write_maps
from ptylive.engine.results_file import Change, apply, pending_path, reserve_run
from ptylive.schema import Calibration, InputFileError, LiveMap
from ptylive.streamer.vetting import known_files
from ptylive.streamer.vetting.known_files import FileAdmission, can_be_opened, is_known, known_as, trust
from ptylive.streamer.vetting.worker import FileWorker, stamp_of


class Counted(FileWorker):
    """A file worker that records what it is asked to examine."""

    def __init__(self) -> None:
        super().__init__()
        self.read_files: list[str] = []

    def read(self, task, path, limits=None, **arguments):
        self.read_files.append(path.name)
        return super().read(task, path, limits, **arguments)


@pytest.fixture(scope="module")
def worker():
    with Counted() as files:
        yield files


@pytest.fixture
def files(worker, monkeypatch):
    monkeypatch.setattr(known_files, "_CPU_S", 0.3)  # limit for an endless loop; the good files here take milliseconds
    worker.read_files.clear()
    return worker


def write(path, name="bf"):
    made = LiveMap(name, np.ones((6, 7), np.float32), "", (1.0, 1.0), 42, name)
    write_maps(path, [made], np.ones((6, 7), bool), Calibration(), {})


def test_a_file_is_looked_through_once_and_again_when_it_changes(tmp_path, files):
    path = tmp_path / "results.h5"
    write(path)
    keeper = FileAdmission(files)
    keeper.admit(path)
    keeper.admit(path)
    assert files.read_files == ["results.h5"]
    with h5py.File(path, "a") as file:
        file["more"] = np.ones(1000)
    assert not is_known(path)
    keeper.admit(path)
    assert len(files.read_files) == 2


def test_what_this_process_wrote_needs_no_look(tmp_path, files):
    path = tmp_path / "results.h5"
    with guarded(FileAdmission(files)):
        write(path)
        write(path, "adf")
        assert reserve_run(path) == "run1"
    assert files.read_files == []


def test_what_another_process_knows_can_be_told(tmp_path, files):
    path = tmp_path / "scan.h5"
    path.write_bytes(b"frames")
    assert known_as(path) == ()
    known_files.note_written(path)
    state = known_as(path)
    known_files._stamps.clear()
    trust(path, state)
    assert is_known(path)
    path.write_bytes(b"others")
    path.touch()
    trust(path, ())
    assert not is_known(path)
    assert known_as(tmp_path / "missing.h5") == ()


@pytest.mark.parametrize("work", quick_first([apply, write]), ids=["taken in", "written"])
def test_a_results_file_that_is_read_for_ever_is_refused(tmp_path, files, work):
    loop = put_loop(tmp_path, "results.h5")
    with guarded(FileAdmission(files)), pytest.raises(InputFileError, match=r"could not be read in 0\.3 s"):
        work(loop)


def test_beside_a_results_file_that_is_read_for_ever_names_are_still_given(tmp_path, files):
    loop = put_loop(tmp_path, "results.h5")
    with guarded(FileAdmission(files)):
        assert reserve_run(loop) == "run1"
    assert files.read_files == ["results.h5"]


def test_a_pending_refinement_that_is_read_for_ever_is_left_where_it_is(tmp_path, files):
    path = tmp_path / "results.h5"
    lies = put_loop(tmp_path, pending_path(path, "run4").name)
    with guarded(FileAdmission(files)):
        write(path)
    assert files.read_files == [lies.name]
    assert lies.exists()
    with h5py.File(path) as file:
        assert list(file["maps"]) == ["bf"]


def test_the_last_guard_decides_and_is_gone_after_its_block(tmp_path):
    class Nobody:
        def admit(self, path):
            raise InputFileError(f"{path} is refused")

        def wrote(self, path):
            pass

    path = tmp_path / "results.h5"
    write(path)
    with guarded(Nobody()), pytest.raises(InputFileError, match="refused"):
        apply(path, Change(frozenset(), lambda root: None, {}))
    apply(path)
    assert len(file_guard._guards) == 1


def test_files_of_long_ago_are_looked_through_again(tmp_path, monkeypatch):
    monkeypatch.setattr(known_files, "_REMEMBERED", 1)
    monkeypatch.setattr(known_files, "_stamps", type(known_files._stamps)())
    for name in "ab":
        (tmp_path / name).touch()
        trust(tmp_path / name, stamp_of(tmp_path / name))
    assert [is_known(tmp_path / name) for name in "ab"] == [False, True]


def test_a_recording_is_looked_through_once_for_each_of_its_states(tmp_path):
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header))
    assert can_be_opened(path)
    assert can_be_opened(path)
    (tmp_path / "none.h5").write_bytes(b"nothing")
    assert not can_be_opened(tmp_path / "none.h5")
    with Counted() as files:
        FileAdmission(files).admit_scan(path)
        assert files.read_files == []
