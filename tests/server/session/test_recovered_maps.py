"""Maps of recordings recovered from the journals of a server that was killed."""

import threading
import time

import h5py
import numpy as np
import pytest
from running import server
from stream_tools import make_frames, make_header, messages_of, stored_recording

from ptylive.schema import MetadataError
from ptylive.schema.metadata import overlay
from ptylive.server.session.library import Library
from ptylive.server.session.recovered_maps import FROM_JOURNAL, RecoveredMaps
from ptylive.server.session.run_names import results_path
from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.vetting.worker import FileWorker
from ptylive.streamer.wire import EndMessage


class Recovery:
    """Arguments of :class:`RecoveredMaps`, recording what it does with them."""

    def __init__(self):
        self.made, self.said, self.idle = [], [], threading.Event()
        self.problem, self.done = None, threading.Event()

    def make(self, scan):
        if self.problem is not None:
            raise self.problem
        self.made.append(scan)

    def tell(self, level, line):
        self.said.append((level, line))
        self.done.set()

    def maps(self):
        return RecoveredMaps(lambda path: path.name, self.make, self.idle.is_set, self.tell)


def test_they_are_made_when_nothing_else_is_to_be_done(tmp_path, monkeypatch):
    monkeypatch.setattr("ptylive.server.session.recovered_maps.IDLE_POLL_S", 0.01)
    recovery = Recovery()
    maps = recovery.maps()
    results_path(tmp_path / "b.h5").touch()
    for name in ("b.h5", "a.h5"):
        maps.add(tmp_path / name, FROM_JOURNAL)
    assert recovery.made == []
    recovery.idle.set()
    assert recovery.done.wait(30)
    assert recovery.made == ["a.h5"]  # b has results
    assert recovery.said[0][0] == "info"


@pytest.mark.parametrize("problem", [MetadataError("the scan does not say its shape", "give scan.shape"), ValueError()])
def test_where_they_cannot_be_made_the_log_says_how(tmp_path, problem):
    recovery = Recovery()
    recovery.idle.set()
    recovery.problem = problem
    recovery.maps().add(tmp_path / "a.h5", FROM_JOURNAL)
    assert recovery.done.wait(30)
    ((level, line),) = recovery.said
    assert level == "warning"
    assert "ptylive reconstruct a.h5 -o a_results.h5" in line and str(problem) in line


def marks(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".unmade")]


def test_what_a_killed_server_left_without_maps_gets_them(tmp_path):
    killed, recovery = Recovery().maps(), Recovery()
    recovery.idle.set()
    for name in ("a.h5", "b.h5", "c.h5"):
        (tmp_path / name).touch()
        killed.recorded(tmp_path / name, of_this_server=True)
    results_path(tmp_path / "b.h5").touch()
    killed.finished(tmp_path / "b.h5")
    (tmp_path / "c.h5").unlink()
    assert len(marks(tmp_path)) == 2
    second = recovery.maps()
    second.look_through(tmp_path)
    assert second._waiting == type(second._waiting)() and second._thread is None, "they are those of the first"
    for lock in killed._marks.values():
        lock.close()  # as the system does when it is killed
    second.look_through(tmp_path)
    assert recovery.done.wait(30)
    assert recovery.made == ["a.h5"]
    assert recovery.said == [("info", "a.h5, which an earlier server left without maps: its maps have been made")]
    second._thread and second._thread.join(30)
    assert marks(tmp_path) == []


def test_what_the_recorder_of_a_killed_server_has_made_gets_them(tmp_path):
    """Regression: the mark was made when the recording was complete, by the server that had been killed."""
    killed, recovery = Recovery().maps(), Recovery()
    recovery.idle.set()
    recording, journal, gone = (tmp_path / name for name in ("a.h5", "a.journal", "b.h5"))
    journal.touch()
    for path in (recording, gone):
        killed.heard(RecordingEvent("uid", "converting", str(path)), of_this_server=True)
    give_up = time.monotonic() + 30
    while len(killed._marks) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    for lock in killed._marks.values():
        lock.close()  # as the system does when it is killed
    second = recovery.maps()
    second.look_through(tmp_path)
    assert marks(tmp_path) == [".a_results.h5.unmade"]
    assert not recovery.done.wait(0.2)
    recording.touch()
    journal.unlink()
    assert recovery.done.wait(30)
    assert recovery.made == ["a.h5"]
    second._thread and second._thread.join(30)
    assert marks(tmp_path) == []


def test_a_server_that_ends_leaves_to_the_next_what_it_has_not_made(tmp_path):
    ending = Recovery().maps()
    ending.recorded(tmp_path / "a.h5", of_this_server=True)
    ending.stop()
    ending.finished(tmp_path / "a.h5")
    assert marks(tmp_path) == [".a_results.h5.unmade"]
    results_path(tmp_path / "a.h5").touch()
    ending.finished(tmp_path / "a.h5")
    ending.recorded(tmp_path / "a.h5", of_this_server=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a_results.h5"]


def test_the_history_says_how_maps_are_made(tmp_path):
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header))
    with FileWorker() as files:
        (entry,) = Library(tmp_path, files).history()["scans"]
    assert f"ptylive reconstruct {path.name} -o {path.stem}_results.h5" in entry["results_problem"]


@pytest.mark.slow
def test_a_server_makes_the_maps_of_what_it_takes_from_journals(tmp_path):
    header = overlay(make_header(), {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "scan_step_A": 0.4})
    journal = Journal(tmp_path / "left.journal", header)
    for message in messages_of(header, make_frames(header)):
        journal.append(message)
    journal.append(EndMessage(header.uid, header.frames, "complete"))
    journal.close()
    with server(tmp_path) as running:
        running.wait_for(lambda s: (tmp_path / "left_results.h5").exists())
        (entry,) = running.call("history")["scans"]
        assert not entry.get("results_problem")
    with h5py.File(tmp_path / "left_results.h5") as file:
        assert np.asarray(file["coverage"]).all()
        assert set(file["maps"]) >= {"bf", "adf"}
