"""Refinements that begin with the first rows of a scan, and what may happen to them before it has ended."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scripted_refinement import Scripted

from ptylive.engine.imaging.render import Rendering
from ptylive.engine.results_file import release_run
from ptylive.schema import CommandError, Detector, LiveMap, PtyliveError, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.server.commands import refine_commands
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.commands.refine_commands import RefineCommands
from ptylive.server.process.config import ServerConfig
from ptylive.server.session.run_names import RunNames, results_of
from ptylive.server.session.scan_session import ScanSession

STOPPED = {"kind": "failed", "message": "stopped on request", "stopped": True}


@pytest.fixture
def scans(tmp_path: Path) -> list[ScanSession]:
    """Scans that are arriving; the first one is shown."""
    made = []
    for name in ("gold", "film"):
        header = ScanHeader(uid=name, series=name, frames=16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8)))
        header = overlay(header, {"energy_eV": 80e3, "convergence_semiangle_mrad": 25, "scan_step_A": 0.4})
        made.append(ScanSession(header, None, header, recording=tmp_path / f"{name}.h5"))
    return made


@pytest.fixture
def commands(scans: list[ScanSession], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Scripted, "script", ["wait", STOPPED])
    monkeypatch.setattr(Scripted, "started", [])
    monkeypatch.setattr(AllowedPlaces, "launch", lambda _self, job: Scripted(job))
    monkeypatch.setattr(AllowedPlaces, "stand_by", lambda *_a: None)
    monkeypatch.setattr(refine_commands, "ScanNews", lambda *_a: None)
    monkeypatch.setattr(refine_commands, "is_compiled_for_gpu", lambda _header: False)
    log = SimpleNamespace(publish=lambda *_a: None, log=lambda _level, line: log.lines.append(line), lines=[])
    config = ServerConfig(refine_during_scan=True)
    values = CalibrationCommands({}, {}, lambda: scans[0], lambda _scan: None)
    commands = RefineCommands(
        config, log, lambda: scans[0], values, "test", AllowedPlaces(config), lambda _name: scans[0]
    )
    yield commands
    commands.close()


def ended(scan: ScanSession, commands: RefineCommands) -> None:
    """Let a scan end with a recording and maps."""
    assert scan.recording is not None
    scan.recording.touch()
    scan.results, scan.ended = scan.recording.with_name(f"{scan.header.series}_results.h5"), "complete"
    scan.take_stored(
        np.ones((4, 4), bool), Rendering([LiveMap("obf", np.zeros((4, 4), np.float32), "rad", None, 16, "")])
    )
    scan.finished.set()
    commands.scan_finished(scan)


def stopped(commands: RefineCommands) -> None:
    """Stop the running refinement, and wait until it has ended."""
    commands.command_refine_stop()
    thread = commands.refinements._thread
    assert thread is not None
    thread.join(60)


def left(folder: Path) -> list[str]:
    """Files that belong to runs."""
    return sorted(path.name for path in folder.iterdir() if "run" in path.name and not path.name.endswith(".lock"))


def test_the_whole_scan_is_handed_to_the_refinement_that_began_on_it(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    commands.scan_begun(scans[0])
    ended(scans[0], commands)
    (process,) = Scripted.started
    assert [list(message) for message in process.told] == [["whole"]]


def test_one_that_was_stopped_is_not_given_the_scan(
    commands: RefineCommands, scans: list[ScanSession], tmp_path: Path
) -> None:
    """Regression: its job was written when the scan had ended, next to no checkpoint, under a name that was free."""
    commands.scan_begun(scans[0])
    stopped(commands)
    ended(scans[0], commands)
    assert left(tmp_path) == []


def test_one_of_another_scan_is_not_given_the_settings_of_a_stopped_one(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    """Regression: the refinement of the next scan was continued with the settings of the one that was stopped."""
    commands._config = ServerConfig(refine_during_scan=True, refine={"sweeps": 3})
    commands.scan_begun(scans[0])
    stopped(commands)
    scans[0], scans[1] = scans[1], scans[0]
    ended(scans[0], commands)
    commands.command_refine({"sweeps": 7})
    ended(scans[1], commands)
    ended(scans[0], commands)  # finished again, with other values
    job = commands.refinements.last_job
    assert job is not None
    assert (job.series, job.preset.solver.sweeps) == ("film", 7)
    assert Scripted.started[-1].told == []


def series(begun: int) -> list[str]:
    """Series of the refinements that were started, once there are so many."""
    give_up = time.monotonic() + 60
    while len(Scripted.started) < begun and time.monotonic() < give_up:
        time.sleep(0.01)
    return [process.job.series for process in Scripted.started]


def test_one_of_a_scan_that_goes_on_is_queued_until_it_has_results(
    commands: RefineCommands, scans: list[ScanSession], tmp_path: Path
) -> None:
    """Regression: it was refused, so that somebody had to come back when the scan had ended."""
    commands.scan_begun(scans[1])
    assert commands.command_refine({"sweeps": 7}, queue=True) == {"run": "run1", "state": "waiting", "uid": "gold"}
    assert commands.waiting == [{"run": "run1", "uid": "gold", "series": "gold"}]
    assert scans[0].recording is not None
    assert commands.needs(scans[0].recording)
    stopped(commands)  # the other one; now only results are missing
    assert series(1) == ["film"]
    ended(scans[0], commands)
    assert series(2) == ["film", "gold"] and commands.waiting == []
    job = Scripted.started[1].job
    assert (job.run, job.preset.solver.sweeps) == ("run1", 7)


def test_one_whose_maps_are_being_made_again_is_queued_until_they_are(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    """Regression: with values, or after a change of the calibration, the reply was that the scan had not ended."""
    ended(scans[0], commands)
    commands.scan_begun(scans[1])
    scans[0].finished.clear()
    scans[0].requests += 1
    commands.command_refine(queue=True)
    commands.scan_finished(scans[0])  # with the values before
    assert [waiting.job for waiting in commands._queue] == [None]
    scans[0].made, scans[0].requests = scans[0].requests, scans[0].requests + 1
    commands.scan_finished(scans[0])
    stopped(commands)
    assert series(2) == ["film", "gold"]


def test_one_that_cannot_begin_when_its_scan_has_ended_is_logged_and_frees_its_name(
    commands: RefineCommands, scans: list[ScanSession], tmp_path: Path
) -> None:
    commands.scan_begun(scans[1])
    commands.command_refine(queue=True)
    scans[0].finished.set()
    commands.scan_finished(scans[0])
    assert commands._publisher.lines[-1].startswith("refinement run1: refinement needs the recording, but")
    assert commands.waiting == [] and not [name for name in left(tmp_path) if name.startswith(".gold")]


def test_a_refused_refinement_changes_no_value(commands: RefineCommands, scans: list[ScanSession]) -> None:
    """Regression: the values given with it were in use for everybody although nothing was refined with them."""
    ended(scans[0], commands)
    commands.command_refine(values={"defocus_A": 10})
    with pytest.raises(CommandError, match=r"run1 is .*\nqueue this one behind it"):
        commands.command_refine(values={"defocus_A": 20})
    for _ in range(refine_commands.MOST_WAITING):
        commands.command_refine(queue=True)
    with pytest.raises(CommandError, match="already waiting"):
        commands.command_refine(values={"defocus_A": 30}, queue=True)
    assert scans[0].values == {"defocus_A": 10}


def test_nothing_begins_while_the_server_ends(
    commands: RefineCommands, scans: list[ScanSession], tmp_path: Path
) -> None:
    """Regression: the second scan ended because the server did, and its refinement was started and killed."""
    commands.scan_begun(scans[0])
    commands.scan_begun(scans[1])  # waits for its end, as another one is running
    commands.close()
    ended(scans[1], commands)
    with pytest.raises(CommandError, match="the server is ending"):
        commands.refinements.queue("run1", "gold", "gold")
    ended(scans[0], commands)
    with pytest.raises(CommandError, match="the server is ending"):
        commands.command_refine()
    assert len(Scripted.started) == 1
    assert left(tmp_path) == []


def test_a_scan_without_room_is_refined_when_it_is_recorded_after_all(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    scans[1].recording_error = "no space left"
    commands.scan_begun(scans[1])
    ended(scans[1], commands)
    assert not Scripted.started
    scans[1].recording_error = ""
    commands.scan_finished(scans[1])
    assert series(1) == ["film"]


def test_a_stop_that_was_meant_for_another_refinement_stops_nothing(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    """Regression: a click on *Stop* that came late, because the machine was busy, stopped the next refinement."""
    ended(scans[0], commands)
    commands.command_refine()
    for run, uid in (("run7", "gold"), ("run1", "film"), ("run7", "")):
        with pytest.raises(CommandError, match="for another refinement; run1 of 'gold' is queued now"):
            commands.command_refine_stop(run=run, uid=uid)
    (process,) = Scripted.started
    assert process.told == []
    assert commands.command_refine_stop(run="run1", uid="gold") == {"run": "run1"}
    assert process.told == [{"stop": True}]


def test_one_that_is_stopped_as_the_results_come_does_not_begin(
    commands: RefineCommands, scans: list[ScanSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.command_refine()
    make = commands._job

    def stopped_meanwhile(scan: ScanSession, *wanted: Any) -> Any:
        commands.command_refine_stop()
        return make(scan, *wanted)

    monkeypatch.setattr(commands, "_job", stopped_meanwhile)
    ended(scans[0], commands)
    assert Scripted.started == []
    assert commands.refinements.current.state == "stopped"


def test_a_name_that_was_given_is_not_given_to_another_refinement(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    """Regression: who waited for a refinement that was withdrawn was told how the next one of that name ended."""
    ended(scans[0], commands)
    names = [commands.command_refine(queue=True)["run"] for _ in range(3)]
    commands.command_refine_withdraw("run3")
    names.append(commands.command_refine(queue=True)["run"])
    assert names == ["run1", "run2", "run3", "run4"]
    assert [waiting["run"] for waiting in commands.waiting] == ["run2", "run4"]


def test_the_names_are_those_of_a_server_and_not_of_its_process(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    """Regression: a table of all names was kept for as long as the process lived, whoever had given them."""
    ended(scans[0], commands)
    names = RunNames()
    for expected in ("run1", "run2"):
        with names.reserved(scans[0]) as run:
            assert run == expected
        release_run(results_of(scans[0]), run)
    with RunNames().reserved(scans[0]) as run:
        assert run == "run1"


def test_a_name_is_given_once_though_two_threads_ask(commands: RefineCommands, scans: list[ScanSession]) -> None:
    """One asks while the name of the other, which comes to nothing, is not noted as given yet."""
    ended(scans[0], commands)
    names, given = RunNames(), list[str]()

    def another() -> None:
        with names.reserved(scans[0]) as run:
            given.append(run)

    with names.reserved(scans[0]) as first:
        thread = threading.Thread(target=another)
        thread.start()
        thread.join(60)
    release_run(results_of(scans[0]), first)
    another()
    assert [first, *given] == ["run1", "run2", "run3"]


def without_optics(scan: ScanSession) -> None:
    scan.source = scan.header = overlay(scan.header, {"energy_eV": None, "scan_step_A": None})


def without_shape(scan: ScanSession) -> None:
    scan.source = scan.header = overlay(scan.header, {"scan_shape": None})


def unrecorded(scan: ScanSession) -> None:
    scan.recording = None


def with_results_that_cannot_be_written(scan: ScanSession) -> None:
    assert scan.recording is not None
    scan.recording.touch()
    scan.results = scan.recording / "in_a_file.h5"


TOGETHER: dict[str, Any] = {"preset": {"scan_tilts_mrad": [[0, 0], [20, 0]], "scan_shifts_A": [[0, 0], [1, 0]]}}


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (without_optics, {}, "the refinement needs scan_step_A, energy_eV"),
        (without_shape, {}, "the refinement needs scan_shape"),
        (None, {"values": {"convergence_semiangle_mrad": None}}, "needs convergence_semiangle_mrad"),
        (None, {"values": {"energy_eV": -3.0}}, "energy_eV"),
        (None, {"values": {"nothing_known": 3.0}}, "nothing_known"),
        (None, {"preset": {"sweeps": -1}}, "sweeps"),
        (None, {"place": "moon"}, "'moon' is not a place"),
        (None, {"history": -1}, "history must be"),
        (None, {"beside": ["film.h5"]}, "scan_tilts_mrad"),
        (None, {**TOGETHER, "beside": ["film.h5"], "during_scan": True}, "when all have ended"),
        (unrecorded, {"during_scan": True}, "this scan is not recorded"),
        (with_results_that_cannot_be_written, {}, "gold.h5 cannot be written"),
    ],
)
def test_values_of_a_refused_refinement_are_not_used(
    commands: RefineCommands, scans: list[ScanSession], change: Any, arguments: dict[str, Any], words: str
) -> None:
    """Regression: a refinement without energy was refused, and its defocus stayed, with maps made for it."""
    scan = scans[0]
    if change is not None:
        change(scan)
    header, remade = scan.header, list[ScanSession]()
    commands._values = CalibrationCommands({}, {}, lambda: scan, remade.append)
    values = {"defocus_A": 100.0, **arguments.get("values", {})}
    with pytest.raises(PtyliveError, match=words):
        commands.command_refine(**{**arguments, "values": values})
    assert (scan.values, scan.header is header, commands._values.own, remade) == ({}, True, {}, [])
    with pytest.raises(CommandError, match="nothing to undo"):
        commands._values.command_undo()


def test_values_of_scans_that_cannot_be_queued_together_are_not_used(
    commands: RefineCommands, scans: list[ScanSession]
) -> None:
    """Its maps would have been made again with these values, so that it was refused after they were set."""
    ended(scans[0], commands)
    commands.scan_begun(scans[1])
    header = scans[0].header
    with pytest.raises(CommandError, match="the maps of this scan are not complete yet"):
        commands.command_refine(values={"defocus_A": 100.0}, beside=["film.h5"], queue=True, **TOGETHER)
    assert (scans[0].values, scans[0].header is header) == ({}, True)


def test_values_of_a_refinement_that_cannot_be_started_are_taken_back(
    commands: RefineCommands, scans: list[ScanSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        assert scans[0].header.optics.aberrations["C10"] == -100.0
        raise PtyliveError("no process can be started")

    commands._values.command_configure({"rotation_deg": 3.0})
    monkeypatch.setattr(commands.refinements, "_launch", full)
    with pytest.raises(PtyliveError, match="no process"):
        commands.command_refine(values={"defocus_A": 100.0}, during_scan=True)
    assert scans[0].values == {"rotation_deg": 3.0}
    assert "C10" not in scans[0].header.optics.aberrations
    commands._values.command_undo()
    assert scans[0].values == {}, "the step before it is undone, not the one that was taken back"
