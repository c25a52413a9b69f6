"""Who is told of results, and when, while values change without pause."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from ptylive.engine.imaging.render import Rendering
from ptylive.engine.results_file import ResultsFileError
from ptylive.schema import Calibration, Detector, InputFileError, LiveMap, Scan, ScanHeader
from ptylive.server.commands import refine_commands
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.commands.refine_commands import RefineCommands
from ptylive.server.process.config import ServerConfig
from ptylive.server.session import finisher as finisher_module
from ptylive.server.session.finisher import Finisher, save_results
from ptylive.server.session.scan_session import ScanSession
from ptylive.streamer.source import open_source
from ptylive.streamer.vetting.known_files import note_written
from ptylive.streamer.vetting.worker import FileWorker


@pytest.fixture
def scan(tmp_path):
    header = ScanHeader(uid="a", series="grain", frames=16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8)))
    (tmp_path / "grain.h5").touch()
    one = ScanSession(header, None, header, recording=tmp_path / "grain.h5", results=tmp_path / "grain_results.h5")
    one.coverage = np.ones((4, 4), dtype=bool)
    one.ended = "complete"
    return one


def test_a_refinement_begins_though_values_never_stop_coming(scan, monkeypatch):
    """A refinement needs the values at the time of the request, not a pause."""
    begun = threading.Event()

    class Processes:
        def __init__(self, *_arguments):
            self.current, self.busy, self.jobs = SimpleNamespace(uid="a", run="run1"), False, []

        def queue(self, run, uid, _series):
            self.current = SimpleNamespace(uid=uid, run=run)

        def start(self, job, uid, *, announced):
            self.jobs.append((job.run, scan.made))
            begun.set()

    monkeypatch.setattr(refine_commands, "Refinements", Processes)
    monkeypatch.setattr(refine_commands, "check_metadata", lambda *_a, **_k: None)
    log = SimpleNamespace(log=lambda *_a: None, publish=lambda *_a: None)
    values = CalibrationCommands({}, {}, lambda: scan, lambda _scan: None)
    commands = RefineCommands(
        ServerConfig(), log, lambda: scan, values, "test", AllowedPlaces(ServerConfig()), lambda _name: scan
    )
    finisher = Finisher.__new__(Finisher)
    Finisher.__init__(finisher, log, "test", commands.scan_finished, *[SimpleNamespace()] * (finisher_parameters() - 3))

    def finish(one):
        if one.requests == 1:
            assert commands.command_refine()["state"] == "queued"
            finisher.add(one)  # asked again before this one is done, and so on forever
        elif not begun.is_set():
            finisher.add(one)

    monkeypatch.setattr(finisher, "_finish", finish)
    finisher.add(scan)
    finisher.start()
    assert begun.wait(60)
    finisher.stop(60)
    assert commands.refinements.jobs == [("run1", 1)]


def test_a_server_that_ends_says_which_recordings_have_no_maps(scan, monkeypatch, caplog):
    """One that waited for compiled code, one that is being finished, and none that is done."""
    log = SimpleNamespace(log=lambda *_a: None, publish=lambda *_a: None)
    compilation = SimpleNamespace(wait=lambda *_a: False)
    rest = [SimpleNamespace()] * (finisher_parameters() - 6)
    finisher = Finisher(log, "test", lambda _scan: None, SimpleNamespace(), SimpleNamespace(), compilation, *rest)
    stuck, more, done = (ScanSession(replace(scan.header, uid=uid), None, scan.source) for uid in "bcd")
    for one in (stuck, more, done):
        one.recording = scan.recording.with_name(f"{one.uid}.h5")
    done.results = done.recording
    scan.results = None
    scan.recorded.set()
    began, forever, finish = threading.Event(), threading.Event(), finisher._finish

    def finish_or_hang(one):
        if one is stuck:
            began.set()
            forever.wait(60)
        elif one is not done:
            finish(one)

    monkeypatch.setattr(finisher, "_finish", finish_or_hang)
    for one in (done, scan, stuck, more):
        finisher.add(one)
    finisher.start()
    assert began.wait(60)
    finisher.stop(0.1)
    forever.set()
    assert [record.message for record in caplog.records] == [
        "the server stopped before the maps of grain.h5, b.h5, c.h5 were made: "
        "make them with ptylive reconstruct grain.h5 -o grain_results.h5"
    ]


def finisher_parameters() -> int:
    import inspect

    return len(inspect.signature(Finisher.__init__).parameters) - 1


def test_results_say_of_which_patterns_they_are_once_the_recording_is_complete(scan):
    counts = np.random.default_rng(3).integers(0, 9, (4, 4, 8, 8), np.uint16)
    with h5py.File(scan.recording, "w") as file:
        file["data"] = counts
    with open_source(scan.recording) as source:
        digest = source.digest()
    scan.rendering = Rendering([LiveMap("bf", np.ones((4, 4), np.float32), "1", None, 16, "bf")])

    names = {"scan_uid": "a", "scan_file": "grain.h5", "scan_path": "grain.h5"}

    def said():
        with h5py.File(save_results(scan, "test")) as file:
            attributes = file["settings"].attrs
            return {name: attributes[name] for name in attributes if name in {*names, "scan_sha256"}}

    assert said() == names  # not vouched for: still being written
    note_written(scan.recording)
    assert said() == {**names, "scan_sha256": digest}


def test_an_opened_scan_shows_its_patterns_and_its_dose(scan, monkeypatch):
    """Regression: a scan opened from the library had no dose, no limit and no diffraction pattern."""
    header = replace(scan.header, scan=Scan(shape=(4, 4), step_A=0.5))
    opened = ScanSession(header, None, header, recording=scan.recording, stored=Calibration())
    published, told = [], []
    log = SimpleNamespace(log=lambda *line: told.append(line), publish=lambda *event: published.append(event))
    finisher = Finisher(log, "test", lambda _scan: None, *[SimpleNamespace()] * (finisher_parameters() - 3))
    mean, last = np.full((8, 8), 2.0, np.float32), np.ones((8, 8), np.float32)
    monkeypatch.setattr(finisher.files, "read", lambda *_a, **_k: {"mean": mean, "last": last})
    doses = []
    monkeypatch.setattr(
        finisher_module, "publish_dose_so_far", lambda _to, one, *, final: doses.append((one.uid, final))
    )
    finisher.show_patterns(opened)
    finisher.start()
    finisher.stop(60)
    assert {event["name"] for topic, event in published if topic == "maps"} == {"pattern", "pattern_mean"}
    assert (opened.dose["per_A2"], opened.dose["unit"], doses) == (512.0, "counts", [("a", True)])
    assert {"pattern", "pattern_mean"} <= set(opened.pictures)
    assert told == []


def test_a_recording_that_cannot_be_read_costs_the_patterns_only(scan, monkeypatch):
    told = []
    log = SimpleNamespace(log=lambda *line: told.append(line), publish=lambda *_event: None)
    finisher = Finisher(log, "test", lambda _scan: None, *[SimpleNamespace()] * (finisher_parameters() - 3))
    opened = ScanSession(scan.header, None, scan.header, recording=scan.recording, stored=Calibration())

    def fails(*_a, **_k):
        raise InputFileError("it loops", "make it anew")

    monkeypatch.setattr(finisher.files, "read", fails)
    finisher.show_patterns(opened)
    finisher.start()
    finisher.stop(60)
    assert (opened.dose, opened.problem) == ({}, "")
    ((level, line),) = told
    assert (level, line.startswith("grain: its patterns cannot be read: it loops")) == ("warning", True)


def test_the_process_that_reads_files_starts_before_it_is_needed(monkeypatch):
    """Regression: the first scan that was opened waited for it, longer than clients wait for an answer."""
    begun = threading.Event()
    monkeypatch.setattr(FileWorker, "prepare", lambda _worker: begun.set())
    finisher = Finisher(SimpleNamespace(), "test", print, *[SimpleNamespace()] * (finisher_parameters() - 3))
    assert finisher.prepared() is finisher
    assert begun.wait(60)


class Engine:
    """Makes one map, or raises what it is given."""

    def __init__(self):
        self.error, self.calibration, self.header = None, Calibration(), None
        self.coverage, self.last_pattern, self.mean_pattern, self.store = np.ones((4, 4), bool), None, None, None
        self.computed_on = {}

    def recent_mean(self, _patience_s):
        return None

    def finish(self, *_arguments):
        if self.error is not None:
            raise self.error
        return Rendering([LiveMap("bf", np.ones((4, 4), np.float32), "1", None, 16, "bf")])


class Finishing(Finisher):
    """A finisher of one scan, which knows its own lines in the log, and how often the scan was finished."""

    def __init__(self, scan):
        self.scan, self.lines, self.ended = scan, [], []
        log = SimpleNamespace(log=lambda level, line: self.lines.append((level, line)), publish=lambda *_a: None)
        compilation, shown = SimpleNamespace(wait=lambda *_a: True), SimpleNamespace(wanted=lambda: None)
        rest = [SimpleNamespace()] * (finisher_parameters() - 6)
        super().__init__(log, "test", self.ended.append, SimpleNamespace(), shown, compilation, *rest)
        self._dose_curves = SimpleNamespace(take=lambda _scan: None)
        self.start()

    def finish(self):
        self.add(self.scan)
        assert self.scan.finished.wait(60)


@pytest.fixture
def finishing(scan, monkeypatch):
    for name in ("publish_calibration", "frames_of", "_digest"):
        monkeypatch.setattr(finisher_module, name, lambda *_a, **_k: None)
    scan.engine, scan.results = Engine(), None
    scan.recorded.set()
    finishing = Finishing(scan)
    yield finishing
    finishing.stop(60)


def refusing(monkeypatch, line):
    """Let results be refused with a line; return the function that lets them be written again."""
    write = finisher_module.write_maps

    def refuse(*_arguments):
        raise ResultsFileError(line, "make room")

    monkeypatch.setattr(finisher_module, "write_maps", refuse)
    return lambda: monkeypatch.setattr(finisher_module, "write_maps", write)


def test_results_that_could_not_be_written_are_written_once_there_is_room(scan, finishing, monkeypatch):
    """Regression: the log said nothing of them, and the line shown for them never went away."""
    monkeypatch.setattr(finisher_module, "RETRY_S", 0.05)
    make_room = refusing(monkeypatch, "grain_results.h5 could not be written: No space left on device")
    finishing.finish()
    refusal = "grain_results.h5 could not be written: No space left on device: make room"
    remedy = "make them with ptylive reconstruct grain.h5 -o grain_results.h5"
    assert scan.message == refusal
    assert finishing.lines == [("error", f"grain: {refusal}; {remedy}")]
    make_room()
    give_up = time.monotonic() + 60
    while len(finishing.ended) < 2 and time.monotonic() < give_up:  # the first time was before there was room
        time.sleep(0.01)
    assert finishing.lines[1:] == [("info", "grain: its results have been written after all")]
    assert not scan.message
    assert scan.results.is_file()


def test_a_refused_request_to_save_is_no_lasting_problem(scan, finishing, monkeypatch):
    """Regression: `status` said until the next save that the results could not be written, although they were there."""
    finishing.finish()
    make_room = refusing(monkeypatch, "grain_results.h5 could not be written: Read-only file system")
    with pytest.raises(ResultsFileError, match="Read-only"):
        finisher_module.save_results(scan, "ptylive serve")
    assert not scan.message
    assert scan.results.is_file()
    make_room()


def test_what_could_not_be_made_is_forgotten_once_it_is_made(scan, finishing):
    """Regression: a user who corrected the value that was at fault went on reading of it."""
    scan.engine.error = InputFileError("grain.h5 has no such frames", "give scan_shape")
    finishing.finish()
    assert scan.message == "grain.h5 has no such frames: give scan_shape"
    assert finishing.lines[0][1].startswith("grain: grain.h5 has no such frames: give scan_shape; make them with")
    scan.engine.error = None
    finishing.finish()
    assert not scan.message
    assert scan.results.is_file()


def test_a_problem_hides_no_other(scan):
    scan.problem, scan.unsaved = "no maps", "not written"
    scan.recording_error, scan.recording_waits = "no space left", "the folder does not respond"
    assert scan.message == "no maps; recording failed: no space left; not written"
    scan.recording_error = ""
    assert scan.message == "no maps; recording waits: the folder does not respond; not written"
    scan.problem = scan.unsaved = scan.recording_waits = ""
    for written, message in ((16, ""), (9, "recorded after all, as far as there was room: 9 of 16 frames")):
        scan.recorded_late = f"{written} of 16 frames"
        assert scan.message == message


def test_a_scan_that_is_recorded_late_gets_results(scan, finishing):
    """Regression: its maps stayed in memory until the next scan came."""
    recording, scan.recording = scan.recording, None
    finishing.finish()
    assert scan.results is None
    scan.recording, scan.recorded_late = recording, "16 of 16 frames in 0.1 s"
    finishing.recorded(scan)
    assert scan.finished.wait(60)
    assert finishing.lines == [("info", "grain: recorded after all: 16 of 16 frames in 0.1 s")]
    assert scan.results.is_file()
