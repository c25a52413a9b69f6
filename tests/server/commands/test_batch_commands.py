"""Batches of the recording folder: what their process receives, and what a viewer is told."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from side_processes import Process

from ptylive.application.batch.rows import Row, State, write_rows
from ptylive.schema import CommandError, MetadataError
from ptylive.server.commands.batch_commands import NOTHING_LEFT, BatchCommands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.process.config import ServerConfig
from ptylive.server.tune import side_work


def rows(**states):
    found = [Row(scan=f"/r/{name}.h5", name=name, state=state) for name, state in states.items()]
    return {"kind": "rows", "rows": [row.model_dump(mode="json") for row in found]}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    monkeypatch.setattr(side_work.SideWork.__init__, "__defaults__", (Process,))
    monkeypatch.setattr(Process, "script", ["wait", {"kind": "ended"}])
    monkeypatch.setattr(Process, "started", [])

    def find(name):
        if not (tmp_path / name).exists():
            raise CommandError(f"there is no recording {name}")
        return tmp_path / name

    for name in ("a.h5", "b.h5"):
        (tmp_path / name).touch()
    config = ServerConfig(record=str(tmp_path), refine={"sweeps": 2}, defaults={"energy_eV": 80e3})
    log = SimpleNamespace(log=lambda *_: None)
    pinned = SimpleNamespace(pinned={"defocus_A": 5.0})
    maps = SimpleNamespace(settings={"wdd.epsilon": 0.1, "obf.noise": 3.0, "ssb.crop": 0.5})
    drawn = SimpleNamespace(detector_texts={"haadf": "ring:8,8,3,5"})
    one = BatchCommands(config, log, find, AllowedPlaces(config), pinned, maps, drawn)
    yield one
    one.close()


def ended(commands):
    commands._work._thread.join(30)
    return commands.command_batch_status()


def test_scans_are_handed_to_a_process_of_its_own(commands, tmp_path):
    assert commands.command_batch(["a.h5", "b.h5", "a.h5"], preset={"epoch_max": 2}) == {
        "scans": 2,
        "state": "running",
    }
    request = Process.started[0].request
    assert request["scans"] == [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]
    assert request["folder"] == str(tmp_path)
    assert request["preset"] == {"sweeps": 2, "epoch_max": 2, "map_settings": {"obf.noise": 3.0}}
    assert request["map_settings"] == {"wdd.epsilon": 0.1, "obf.noise": 3.0, "ssb.crop": 0.5}
    assert request["detectors"] == {"haadf": "ring:8,8,3,5"}
    assert (request["values"], request["defaults"]) == ({"defocus_A": 5.0}, {"energy_eV": 80e3})
    assert commands.needs(tmp_path / "a.h5") and not commands.needs(tmp_path / "c.h5")
    with pytest.raises(CommandError, match="a batch is running"):
        commands.command_batch(["b.h5"])
    commands.command_batch_stop()
    assert ended(commands)["state"] == "stopped"


@pytest.mark.parametrize("said", [{"ssb.crop": 0.7}, {"map_settings": {"ssb.crop": 0.7}}], ids=["name", "table"])
def test_what_the_form_says_of_the_start_wins(commands, said):
    commands.command_batch(["a.h5"], preset={"start_map": "ssb", **said})
    request = Process.started[0].request
    assert request["preset"]["map_settings"] == {"ssb.crop": 0.7}
    assert request["map_settings"]["ssb.crop"] == 0.5, "of other maps none is lost"


def test_a_viewer_is_told_what_failed_and_why(commands, monkeypatch):
    failed = Row(scan="/r/b.h5", name="b", state=State.FAILED, reason="b.h5 is damaged").model_dump(mode="json")
    last = {"kind": "rows", "rows": [*rows(a="done")["rows"], failed]}
    monkeypatch.setattr(Process, "script", [rows(a="running", b="waiting"), last, {"kind": "ended"}])
    commands.command_batch(["a.h5", "b.h5"])
    status = ended(commands)
    assert (status["state"], status["message"]) == ("done", "")
    assert [(row["recording"], row["state"], row["reason"]) for row in status["rows"]] == [
        ("a.h5", "done", ""), ("b.h5", "failed", "b.h5 is damaged"),
    ]  # fmt: skip
    assert commands.summary == {"state": "done", "done": 1, "failed": 1, "scans": 2}


def test_a_second_press_says_that_nothing_was_left(commands, monkeypatch):
    monkeypatch.setattr(Process, "script", [rows(a="done"), {"kind": "ended"}])
    commands.command_batch(["a.h5"])
    assert ended(commands)["message"] == NOTHING_LEFT


def test_after_a_restart_the_table_of_the_folder_is_told(commands, tmp_path):
    assert commands.command_batch_status()["rows"] == []
    write_rows(tmp_path, [Row(scan=str(tmp_path / "a.h5"), name="a", state=State.DONE, loss=2.5)])
    (row,) = commands.command_batch_status()["rows"]
    assert (row["recording"], row["state"], row["loss"]) == ("a.h5", "done", 2.5)


def test_the_table_is_one_page_with_its_pictures(commands, tmp_path):
    with pytest.raises(CommandError, match="there is no table yet"):
        commands.command_batch_table()
    write_rows(tmp_path, [Row(scan=str(tmp_path / "a.h5"), name="a", state=State.DONE)])
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "a-map.png").write_bytes(b"picture")
    page = commands.command_batch_table()["path"]
    text = Path(page).read_text(encoding="utf-8")
    assert "data:image/png;base64,cGljdHVyZQ==" in text and "refresh" not in text
    policy = text.partition("img-src")[2].partition(";")[0]
    assert "data:" in policy.split(), "the page lets its own pictures be shown"


def test_what_cannot_be_is_refused_before_anything_begins(commands):
    with pytest.raises(CommandError, match="0 scans are named"):
        commands.command_batch([])
    with pytest.raises(CommandError, match=r"there is no recording c\.h5"):
        commands.command_batch(["c.h5"])
    with pytest.raises(CommandError, match="is not a place"):
        commands.command_batch(["a.h5"], place="moon")
    with pytest.raises(MetadataError, match="epoch_max"):
        commands.command_batch(["a.h5"], preset={"epoch_max": "many"})
    assert Process.started == []
