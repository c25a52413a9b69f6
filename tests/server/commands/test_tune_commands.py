"""Trials for the scan being shown: the request, where they are kept, and what a viewer is told."""

import errno
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from side_processes import Process

from ptylive.schema import CommandError, MetadataError
from ptylive.server.commands import tune_commands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.commands.tune_commands import TuneCommands
from ptylive.server.process.config import ServerConfig
from ptylive.server.tune import side_work

FOUND = {"kind": "found", "trials": [{"number": 0}], "ended": 1, "sentences": ["defocus 151 Å"]}


@pytest.fixture
def scan(tmp_path):
    recording = tmp_path / "a.h5"
    recording.write_bytes(b"frames")
    finished = threading.Event()
    finished.set()
    header = SimpleNamespace(series="grain")
    return SimpleNamespace(header=header, recording=recording, results=tmp_path / "a_results.h5", finished=finished)


@pytest.fixture
def commands(scan, monkeypatch):
    monkeypatch.setattr(side_work.SideWork.__init__, "__defaults__", (Process,))
    monkeypatch.setattr(tune_commands, "check_metadata", lambda *_a, **_k: None)
    monkeypatch.setattr(tune_commands, "plain_values", lambda _header: {"energy_eV": 80e3})
    monkeypatch.setattr(Process, "script", ["wait", {"kind": "ended"}])
    monkeypatch.setattr(Process, "started", [])
    log = SimpleNamespace(log=lambda *_: None)
    config = ServerConfig(refine={"probe_modes": 2})
    shown = {"scan": scan}
    one = TuneCommands(config, log, lambda: shown["scan"], AllowedPlaces(config), "ptylive serve")
    one.shown = shown
    yield one
    one.close()


def ended(commands):
    commands._work._thread.join(30)
    return commands.command_tune_status()


def test_what_is_asked_for_is_handed_to_a_process_of_its_own(commands, scan):
    said = commands.command_tune(["defocus", "thickness=50:200"], trials=7, preset={"epoch_max": 3})
    assert said == {"folder": str(scan.recording.with_name("a_tuning")), "state": "running"}
    (process,) = Process.started
    request = process.request
    assert (request["scan"], request["maps"]) == (str(scan.recording), str(scan.results))
    assert (request["over"], request["trials"]) == (["defocus", "thickness=50:200"], 7)
    assert request["preset"] == {"probe_modes": 2, "epoch_max": 3}
    assert request["values"] == {"energy_eV": 80e3}
    assert request["where"][1:] == [None, "refuse"]
    assert commands.needs(scan.recording) and not commands.needs(Path("b.h5"))
    with pytest.raises(CommandError, match="scan grain is being tuned"):
        commands.command_tune(["defocus"])


def test_the_same_is_gone_on_from_and_something_else_has_a_folder_of_its_own(commands, monkeypatch):
    monkeypatch.setattr(Process, "script", [{"kind": "ended"}])
    folders = []
    for over, trials in ((["defocus"], 5), (["defocus"], 9), (["tilt"], 5), (["defocus"], 5)):
        folders.append(Path(commands.command_tune(over, trials=trials)["folder"]).name)
        ended(commands)
    assert folders == ["a_tuning", "a_tuning", "a_tuning2", "a_tuning"]


def test_without_room_no_folder_is_left(commands, scan, monkeypatch):
    """Regression: the next call began in a second folder, next to an empty first one."""

    def full(_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tune_commands, "replacing", full)
    with pytest.raises(CommandError, match=r"a_tuning could not be written: No space left on device.*\s*make room, or"):
        commands.command_tune(["defocus"])
    monkeypatch.undo()
    assert [path.name for path in scan.recording.parent.iterdir()] == ["a.h5"]
    assert tune_commands._folder(scan.recording, {"over": ["defocus"]}).name == "a_tuning"


def test_a_folder_of_somebody_elses_tuning_is_left_alone(commands, scan):
    scan.recording.with_name("a_tuning").mkdir()
    assert commands.command_tune(["defocus"])["folder"].endswith("a_tuning2")


def test_a_viewer_is_told_how_far_it_is_and_what_it_came_to(commands, monkeypatch):
    doing = {"kind": "doing", "message": "compiling"}
    monkeypatch.setattr(Process, "script", [doing, FOUND, {"kind": "ended"}])
    commands.command_tune(["defocus"], trials=1)
    status = ended(commands)
    assert (status["state"], status["ended"], status["wanted"]) == ("done", 1, 1)
    assert status["sentences"] == ["defocus 151 Å"]
    assert status["asked"]["over"] == ["defocus"] and status["place"] == "this machine"
    assert commands.summary == {"state": "done", "series": "grain", "ended": 1, "wanted": 1}


@pytest.mark.parametrize(
    ("last", "state", "message"),
    [
        ([{"kind": "failed", "message": "no optics: give them"}], "failed", "no optics: give them"),
        ([], "failed", "the process was killed (signal 9)"),
    ],
)
def test_one_that_fails_says_why(commands, monkeypatch, last, state, message):
    monkeypatch.setattr(Process, "script", last)
    commands.command_tune(["defocus"])
    status = ended(commands)
    assert (status["state"], status["message"]) == (state, message)


def test_a_stop_keeps_what_has_ended(commands):
    with pytest.raises(CommandError, match="the tuning is not running"):
        commands.command_tune_stop()
    commands.command_tune(["defocus"])
    commands.command_tune_stop()
    assert ended(commands)["state"] == "stopped"


def test_after_a_restart_what_was_kept_is_shown_with_what_was_asked(commands, scan):
    folder = scan.recording.with_name("a_tuning")
    folder.mkdir()
    (folder / "tuned.json").write_text(json.dumps({"ended": 4, "sentences": ["defocus 151 Å"]}))
    (folder / "asked.json").write_text(json.dumps({"over": ["defocus"], "preset": {}, "values": {"energy_eV": 1.0}}))
    status = commands.command_tune_status()
    assert (status["state"], status["ended"]) == ("kept", 4)
    assert status["asked"] == {"over": ["defocus"], "preset": {}}, "values are those of the scan as it is now"
    (folder / "tuned.json").write_text("[" * 10_000)
    assert commands.command_tune_status()["state"] == "none"


def test_while_another_scan_is_shown_the_one_that_is_tuned_is_named(commands, scan, tmp_path):
    commands.command_tune(["defocus"])
    commands.shown["scan"] = SimpleNamespace(recording=tmp_path / "b.h5")
    assert commands.command_tune_status() == {"state": "none", "other": "grain"}


def test_what_cannot_be_is_refused_before_anything_begins(commands, scan):
    with pytest.raises(MetadataError, match="cannot be tuned"):
        commands.command_tune(["luck"])
    with pytest.raises(CommandError, match="sweeps = 0"):
        commands.command_tune(["defocus"], sweeps=0)
    with pytest.raises(CommandError, match="is not a place"):
        commands.command_tune(["defocus"], place="cluster")
    scan.finished.clear()
    with pytest.raises(CommandError, match="has not ended yet"):
        commands.command_tune(["defocus"])
    scan.finished.set()
    scan.recording = None
    with pytest.raises(CommandError, match="needs the recording"):
        commands.command_tune(["defocus"])
    assert Process.started == []
