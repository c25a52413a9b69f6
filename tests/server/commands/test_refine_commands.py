"""Refinements in line: their order, their names, and what may not be deleted meanwhile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptylive.engine.imaging.render import Rendering
from ptylive.schema import (
    Calibration,
    CommandError,
    Detector,
    LiveMap,
    MetadataError,
    Origin,
    PtyliveError,
    Quantity,
    Scan,
    ScanHeader,
)
from ptylive.schema.basis import Basis
from ptylive.schema.metadata import overlay
from ptylive.schema.preset import Preset
from ptylive.server.commands import refine_commands
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.commands.refine_commands import MOST_WAITING, RefineCommands
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.refine_job import RefineJob, history_of
from ptylive.server.refinement.refinements import RunState
from ptylive.server.session import run_names
from ptylive.server.session.scan_session import ScanSession


class Processes:
    """Refinement processes that run until they are told to end."""

    def __init__(self, _publisher: object, on_ended: Any, launch: Any) -> None:
        self.launch, self._on_ended = launch, on_ended
        self.current, self.last_job, self.last_uid, self.last_epochs = RunState(), None, "", 0
        self.started, self.broken = list[str](), set[str]()

    @property
    def busy(self) -> bool:
        return self.current.state in ("queued", "running")

    def start(self, job: Any, uid: str, done: int | None = None, *, announced: bool = False) -> None:
        assert announced == (self.current.state == "queued")
        if job.run in self.broken:
            raise PtyliveError("it cannot be started")
        if self.busy and not announced:
            raise CommandError("stop it first")
        self.started.append(job.run)
        self.current, self.last_job = RunState(state="running", run=job.run, uid=uid), job
        self.last_uid, self.last_epochs = uid, done or 0

    def end(self, state: str = "done") -> None:
        self.current.state, self.last_epochs = state, max(self.current.epoch, self.last_epochs)
        self._on_ended(self.current)

    def queue(self, run: str, uid: str, series: str) -> None:
        self.current = RunState(state="queued", run=run, uid=uid, series=series)

    def stop(self, run: str = "", uid: str = "") -> None:
        self.current.state = "stopped"

    def fail_queued(self, reason: str) -> None:
        self.current.state, self.current.message = "failed", reason

    def close(self) -> None:
        self.current.state = "stopped"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []

    def publish(self, topic: str, payload: dict[str, Any]) -> None:
        self.told.append((topic, payload))

    def log(self, _level: str, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def scan(tmp_path: Path) -> ScanSession:
    header = ScanHeader(uid="a", series="grain", frames=16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8)))
    header = overlay(header, {"energy_eV": 80e3, "convergence_semiangle_mrad": 25, "scan_step_A": 0.4})
    recording = tmp_path / "grain.h5"
    recording.touch()
    one = ScanSession(header, None, header, recording=recording, results=tmp_path / "grain_results.h5")
    one.coverage = np.ones((4, 4), dtype=bool)
    one.finished.set()
    return one


def refining(config: ServerConfig, scan: ScanSession) -> RefineCommands:
    def opened(name: str) -> ScanSession:
        """Another scan of the folder; one called `sums.h5` has coefficients, `bare.h5` no maps."""
        other = ScanSession(scan.header, None, scan.header, recording=scan.recording.parent / name)
        if name == "sums.h5":
            other.header = replace(scan.header, basis=Basis(kind="zernike", n_bright=3))
        if name != "bare.h5":
            maps = [LiveMap(one, np.zeros((4, 4), np.float32), "rad", (0.4, 0.4), 16, "") for one in ("obf", "idpc")]
            other.take_stored(np.ones((4, 4), bool), Rendering(maps))
        return other

    values = CalibrationCommands({}, {}, lambda: scan, lambda _scan: None)
    return RefineCommands(config, Log(), lambda: scan, values, "test", AllowedPlaces(config), opened)


@pytest.fixture
def commands(scan: ScanSession, monkeypatch: pytest.MonkeyPatch) -> RefineCommands:
    monkeypatch.setattr(refine_commands, "Refinements", Processes)
    return refining(ServerConfig(), scan)


def test_without_optics_nothing_starts_and_what_is_missing_is_named(
    commands: RefineCommands, scan: ScanSession
) -> None:
    scan.header = overlay(scan.header, {"scan_step_A": None, "energy_eV": None})
    with pytest.raises(MetadataError, match="the refinement needs scan_step_A, energy_eV") as caught:
        commands.command_refine()
    assert "--set energy_eV=" in caught.value.hint
    assert not commands.refinements.started


def test_the_line_moves_when_one_ends(commands: RefineCommands, scan: ScanSession) -> None:
    processes = commands.refinements
    assert commands.command_refine() == {"run": "run1", "state": "running", "uid": "a"}
    with pytest.raises(CommandError, match="stop it first"):
        commands.command_refine()
    assert commands.command_refine(queue=True) == {"run": "run2", "state": "waiting", "uid": "a"}
    assert commands.command_refine(queue=True) == {"run": "run3", "state": "waiting", "uid": "a"}
    assert commands.waiting == [{"run": name, "uid": "a", "series": "grain"} for name in ("run2", "run3")]
    assert commands.needs(scan.recording)
    assert not commands.needs(Path("other.h5"))
    processes.end()
    assert processes.started == ["run1", "run2"]
    processes.end()
    processes.end()
    assert processes.started == ["run1", "run2", "run3"]
    assert commands.waiting == []
    assert not commands.needs(scan.recording)


def test_a_process_stands_by_when_maps_are_there_or_a_refinement_is_done_and_no_other_runs(
    commands: RefineCommands, scan: ScanSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stood: list[str] = []
    monkeypatch.setattr(AllowedPlaces, "stand_by", lambda _self, header: stood.append(header.uid))
    monkeypatch.setattr(refine_commands, "is_compiled_for_gpu", lambda header: header.uid in compiled)
    compiled: set[str] = set()
    commands.scan_finished(scan)
    assert not stood  # it would start compilers
    compiled.add(scan.uid)
    commands.scan_finished(scan)
    assert stood == ["a"]
    commands.command_refine()
    commands.command_refine(queue=True)
    commands.scan_finished(scan)
    commands.refinements.end()  # the next one runs
    commands.refinements.end("failed")
    assert stood == ["a"]
    commands.command_refine()
    commands.refinements.end()
    assert stood == ["a", "a"]


def test_what_it_found_for_the_microscope_is_told_of_the_scan_on_show(
    commands: RefineCommands, scan: ScanSession
) -> None:
    scan.stored = Calibration({"C10": Quantity(145.0, Origin.ESTIMATED, 11.0)})
    drift = {"value": [2.1, -0.6], "origin": "estimated", "uncertainty": [0.4, 0.1]}
    told = commands._publisher.told
    for uid, found in (("a", {}), ("another", {"drift_A": drift}), ("a", {"drift_A": drift})):
        commands._on_ended(RunState(state="done", run="run1", uid=uid, found=found))
    assert [(topic, event["uid"], event["refined"]) for topic, event in told] == [
        ("calibration", "a", {"run": "run1", "drift_A": drift})
    ]


def test_one_that_cannot_start_does_not_hold_up_the_others(commands: RefineCommands) -> None:
    processes = commands.refinements
    for _ in range(3):
        commands.command_refine(queue=True)
    processes.broken.add("run2")
    processes.end()
    assert processes.started == ["run1", "run3"]
    assert any("cannot be started" in line for line in commands._publisher.lines)


def test_a_recording_that_is_taken_back_meanwhile_is_one_line_and_frees_the_name(
    commands: RefineCommands, scan: ScanSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens on a full disk, between reserving the run's name and creating its job."""
    recording, reserve = scan.recording, run_names.reserve_run

    def reserved(results: Path, above: int) -> str:
        name = reserve(results, above)
        scan.recording = None
        return name

    monkeypatch.setattr(run_names, "reserve_run", reserved)
    with pytest.raises(CommandError, match="needs the recording, but this scan was not recorded"):
        commands.command_refine()
    monkeypatch.setattr(run_names, "reserve_run", reserve)
    scan.recording = recording
    assert commands.command_refine() == {"run": "run1", "state": "running", "uid": "a"}


def test_one_that_is_overtaken_keeps_its_place(commands: RefineCommands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own refinement began between its removal from the line and its start."""
    processes = commands.refinements
    for _ in range(3):
        commands.command_refine(queue=True)
    start = processes.start

    def overtaken(job: Any, uid: str) -> None:
        monkeypatch.setattr(processes, "start", start)
        start(replace(job, run="run9"), uid)
        start(job, uid)

    monkeypatch.setattr(processes, "start", overtaken)
    processes.end()
    assert processes.started == ["run1", "run9"]
    assert [one["run"] for one in commands.waiting] == ["run2", "run3"]
    processes.end()
    processes.end()
    assert processes.started == ["run1", "run9", "run2", "run3"]


def test_the_line_is_bounded_and_forgotten_at_the_end(commands: RefineCommands) -> None:
    for _ in range(MOST_WAITING + 1):
        commands.command_refine(queue=True)
    with pytest.raises(CommandError, match="already waiting"):
        commands.command_refine(queue=True)
    commands.command_refine_withdraw("run5")
    with pytest.raises(CommandError, match="'run5' waits"):
        commands.command_refine_withdraw("run5")
    commands.close()
    assert commands.waiting == []


def reserved(folder: Path) -> list[str]:
    return sorted(path.name.split(".")[-2] for path in folder.glob(".*.reserved"))


def test_the_name_of_a_withdrawn_refinement_is_given_back(commands: RefineCommands, tmp_path: Path) -> None:
    for _ in range(3):
        commands.command_refine(queue=True)
    assert reserved(tmp_path) == ["run1", "run2", "run3"]
    commands.command_refine_withdraw("run3")
    assert reserved(tmp_path) == ["run1", "run2"]
    commands.refinements.broken.add("run2")
    commands.refinements.end()
    assert reserved(tmp_path) == ["run1"]
    commands.refinements.broken.clear()
    commands.command_refine(queue=True)
    commands.command_refine(queue=True)
    commands.close()
    assert reserved(tmp_path) == ["run1", "run4"]  # that one had begun


def test_the_name_of_one_that_waits_for_results_is_given_back_when_it_is_stopped(
    commands: RefineCommands, scan: ScanSession, tmp_path: Path
) -> None:
    scan.finished.clear()
    assert commands.command_refine() == {"run": "run1", "state": "queued", "uid": "a"}
    commands.command_refine_stop()
    assert reserved(tmp_path) == []
    commands.command_refine()
    scan.recording.unlink()
    scan.finished.set()
    commands.scan_finished(scan)
    assert commands.refinements.current.state == "failed"
    assert reserved(tmp_path) == []
    scan.recording.touch()
    scan.finished.clear()
    commands.command_refine()
    commands.close()
    assert reserved(tmp_path) == []


@pytest.mark.parametrize(("left", "kept"), [("", []), ("grain_run1.checkpoint", ["run1"])])
def test_the_name_of_one_that_failed_is_kept_with_its_checkpoint(
    commands: RefineCommands, tmp_path: Path, left: str, kept: list[str]
) -> None:
    commands.command_refine()
    if left:
        (tmp_path / left).touch()
    commands.refinements.end("failed")
    assert reserved(tmp_path) == kept


def test_one_of_an_earlier_server_is_named(commands: RefineCommands, tmp_path: Path) -> None:
    (tmp_path / f"grain_{run_names.reserve_run(tmp_path / 'grain_results.h5')}.checkpoint").touch()
    with pytest.raises(CommandError, match="refinement run1 of grain was cut off"):
        commands.resuming.command_refine_resume()


def test_what_is_kept_for_a_film_lies_beside_the_recording(commands: RefineCommands, tmp_path: Path) -> None:
    commands.command_refine(history=2)
    job = commands.refinements.last_job
    assert RefineJob.from_plain(job.to_plain()).history == 2
    assert history_of(job.recording, job.run) == tmp_path / "grain_run1.history"
    with pytest.raises(CommandError, match="history must be"):
        commands.command_refine(history=-2)


def test_a_cluster_gets_whole_scans_and_this_machine_rows_as_they_arrive(scan: ScanSession) -> None:
    config = ServerConfig(refine_cluster="tcp://there:8786")
    elsewhere = refining(config, scan)
    scan.finished.clear()
    with pytest.raises(CommandError, match="a cluster refines complete scans only"):
        elsewhere.command_refine(during_scan=True)
    with pytest.raises(CommandError, match="'moon' is not a place where refinements run"):
        elsewhere.command_refine(place="moon")
    elsewhere.close()
    with pytest.raises(MetadataError, match="'nowhere' is not a cluster"):
        refining(ServerConfig(refine_cluster="nowhere"), scan)


def test_a_run_goes_on_for_so_many_epochs_more(
    commands: RefineCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptylive.engine.refine.run.checkpoint.exists", lambda _path: True)
    commands.command_refine({"num_slices": 1})
    commands.refinements.current.epoch = 14
    commands.refinements.end()
    for wrong in (-1, 10**6, True, 2.5):
        with pytest.raises(CommandError, match="epochs must be a whole number from 1 to"):
            commands.resuming.command_refine_resume(wrong)
    commands.resuming.command_refine_resume(20)
    job = commands.refinements.last_job
    assert (job.resume, job.preset.solver.epoch_max, commands.refinements.started) == (True, 34, ["run1", "run1"])
    commands.refinements.end()
    commands.refinements.last_job = replace(job, preset=Preset(stages=({"epoch_max": 2}, {"epoch_max": 3})))
    with pytest.raises(CommandError, match="in stages"):
        commands.resuming.command_refine_resume(20)


TILTS = {"scan_tilts_mrad": [[0, 0], [20, 0], [-20, 4]]}


def test_scans_beside_go_along_with_what_is_known_of_each(commands: RefineCommands, scan: ScanSession) -> None:
    scan.stored = Calibration({"rotation_deg": Quantity(30.0, Origin.ESTIMATED)})
    commands.command_refine(preset=TILTS, beside=["left.h5", "right.h5"])
    job = commands.refinements.last_job
    assert [one.recording.name for one in job.beside] == ["left.h5", "right.h5"]
    assert [one.calibration.get("rotation_deg") for one in job.beside] == [30.0, 30.0], "as the first scan has it"
    assert all(one.start is not None and one.start.rotation_deg == 30.0 for one in job.beside)
    assert job.beside[0].values["energy_eV"] == 80e3
    there = RefineJob.from_plain(job.to_plain())
    assert [one.recording for one in there.beside] == [one.recording for one in job.beside]
    assert commands.needs(scan.recording.parent / "right.h5"), "not to be deleted meanwhile"


@pytest.mark.parametrize(
    ("beside", "more", "said"),
    [
        (["left.h5"], {}, "2 scans, but scan_tilts_mrad has 3 tilts"),
        (["left.h5", "left.h5"], {}, "named twice"),
        (["left.h5", "grain.h5"], {}, "named twice"),
        (["left.h5", "sums.h5"], {}, "holds coefficients"),
        (["left.h5", "bare.h5"], {}, "no map obf to align it with"),
        (["left.h5", "right.h5"], {"during_scan": True}, "when all have ended"),
        (["left.h5", "right.h5"], {"preset": {}}, "scan_tilts_mrad is not given"),
    ],
)
def test_scans_that_do_not_go_together_are_refused_by_a_line(
    commands: RefineCommands, beside: list[str], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        commands.command_refine(**{"preset": TILTS, "beside": beside, **more})
    assert not commands.refinements.started


def test_a_scan_without_its_map_goes_along_where_its_place_is_given(commands: RefineCommands) -> None:
    given = {**TILTS, "scan_shifts_A": [[0, 0], [1, 0], [0, 1]]}
    commands.command_refine(preset=given, beside=["left.h5", "bare.h5"])
    assert commands.refinements.started == ["run1"]


def test_several_scans_are_refined_on_this_machine(scan: ScanSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine_commands, "Refinements", Processes)
    config = ServerConfig(refine_cluster="local:1", refine_here=True)
    commands = refining(config, scan)
    with pytest.raises(CommandError, match="on the server's machine only"):
        commands.command_refine(preset=TILTS, beside=["left.h5", "right.h5"], place="cluster")
    commands.command_refine(preset=TILTS, beside=["left.h5", "right.h5"])
    assert commands.refinements.last_job.place == "here", "though the cluster comes first where nothing is said"
    commands.close()
