"""Files that may be opened from the page: those of one folder, and nothing next to it."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptylive.schema import CommandError
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve import opened_files
from ptylive.server.serve.opened_files import MOST_LISTED, UPLOADS, OpenedFiles
from ptylive.server.serve.send_file import Sent
from ptylive.server.serve.watched_folder import WatchedFile


class Opened:
    """What a server would report, and a sender that waits until it is told what to answer."""

    def __init__(self, folder: Path | None, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.answer, self.answered = Sent(frames=16), threading.Event()
        self.sent: list[tuple[str, str]] = []
        self.logged: list[tuple[str, str]] = []
        monkeypatch.setattr(opened_files.FileSender, "__call__", self._send)
        settings = ServerConfig(files=None if folder is None else str(folder), **config)
        self.commands = OpenedFiles(settings, "tcp://127.0.0.1:9", lambda: True, self._log)

    def _send(self, file: WatchedFile, uid: str = "") -> Sent:
        self.answered.wait(60)
        self.sent.append((file.name, uid))
        return self.answer

    def _log(self, level: str, text: str) -> None:
        self.logged.append((level, text))

    def names(self, match: str = "") -> list[str]:
        return [file["name"] for file in self.commands.command_files(match)["files"]]

    def take(self, name: str) -> None:
        self.commands.command_take(name)
        self.answered.set()
        assert self.commands._thread is not None
        self.commands._thread.join(60)


def test_scan_files_are_listed_the_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for age, name in enumerate(["c.mib", "in/B.h5", "a.npy", "notes.txt"]):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    opened = Opened(tmp_path, monkeypatch)
    assert opened.names() == ["c.mib", "in/B.h5", "a.npy"]
    assert opened.names("b.H") == ["in/B.h5"]
    listed = opened.commands.command_files()
    assert listed["folder"] == str(tmp_path)
    assert listed["files"][0] == {"name": "c.mib", "bytes": 10, "time": 1e9}


def test_of_a_crowded_folder_the_newest_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MOST_LISTED + 5):
        (tmp_path / f"{number:03}.h5").touch()
        os.utime(tmp_path / f"{number:03}.h5", (number, number))
    listed = Opened(tmp_path, monkeypatch).commands.command_files()
    assert listed["count"] == MOST_LISTED + 5
    assert [listed["files"][i]["name"] for i in (0, -1)] == [f"{MOST_LISTED + 4}.h5", "005.h5"]


def test_a_file_is_sent_as_another_scan_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    opened = Opened(tmp_path, monkeypatch)
    opened.take("a.h5")
    opened.take("a.h5")
    (one, first), (other, second) = opened.sent
    assert one == other == "a.h5"
    assert first != second
    assert opened.logged == [("info", "a.h5: 16 frames opened")] * 2


def test_what_cannot_be_read_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    opened = Opened(tmp_path, monkeypatch)
    opened.answer = Sent(error="a.h5 is empty", of_file=True)
    opened.take("a.h5")
    assert opened.logged == [("warning", "a.h5 is not opened: a.h5 is empty")]


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    opened = Opened(tmp_path, monkeypatch)
    opened.commands.command_take("a.h5")
    with pytest.raises(CommandError, match="another file is being opened"):
        opened.commands.command_take("a.h5")
    opened.answered.set()


@pytest.mark.parametrize("name", ["../secret.h5", "/etc/passwd", "", "b.h5", "link.h5", "empad.xml", "notes.txt"])
def test_nothing_beside_the_folder_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "secret.h5").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").touch()
    (folder / "link.h5").symlink_to(tmp_path / "secret.h5")
    (folder / "empad.xml").touch()
    (folder / "empad.raw").symlink_to(tmp_path / "secret.h5")
    with pytest.raises(CommandError, match="is not a scan file in"):
        Opened(folder, monkeypatch).commands.command_take(name)


def test_without_a_folder_or_with_a_detector_the_remedy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="no folder is set from which files may be opened"):
        Opened(None, monkeypatch).commands.command_files()
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        Opened(tmp_path / "gone", monkeypatch).commands.command_files()
    detector = Opened(tmp_path, monkeypatch, protocol="dectris-v2", data="tcp://detector:9999")
    with pytest.raises(CommandError, match="listens to a dectris-v2 detector"):
        detector.commands.command_take("a.h5")


def test_a_file_of_a_browser_goes_into_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Opened(tmp_path, monkeypatch).commands
    told = commands.command_upload("a.h5", 10)
    assert told == {"path": str(tmp_path / UPLOADS / "a.h5"), "there": False}
    assert commands.command_files()["most_bytes"] == 20e9
    (tmp_path / UPLOADS / "header.hdr").write_bytes(b"x" * 7)
    assert commands.command_upload("header.hdr", 7)["there"], "also what stands for no scan by itself"
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "a.h5").write_bytes(b"x" * 10)
    assert commands.command_upload("a.h5", 10)["there"], "wherever it lies in the folder"
    assert not commands.command_upload("a.h5", 11)["there"]


@pytest.mark.parametrize(
    ("name", "size", "line"),
    [
        ("../a.h5", 1, "does not have the name of a scan file"),
        ("a/b.h5", 1, "does not have the name of a scan file"),
        (".a.h5", 1, "does not have the name of a scan file"),
        ("a\n.h5", 1, "does not have the name of a scan file"),
        ("a.exe", 1, "does not have the name of a scan file: docs/files.md lists what can be read"),
        ("picture.tif", 1, "does not have the name of a scan file"),
        ("", 1, "does not have the name of a scan file"),
        ("a.h5", 0, "a.h5 is empty: choose another file"),
        ("a.h5", -1, "a.h5 is empty"),
        ("a.h5", 3e9, "a.h5 has 3 GB; at most 2 GB are allowed"),
        ("other.h5", 5, "there is already another file other.h5"),
        ("link.h5", 5, "there is already another file link.h5"),
        ("large.h5", 2e9, "large.h5 has 2 GB, and 3.5 GB are free in"),
    ],
)
def test_what_a_browser_may_not_bring_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: float, line: str
) -> None:
    opened = Opened(tmp_path, monkeypatch, upload_limit_GB=2)
    (tmp_path / UPLOADS).mkdir()
    (tmp_path / UPLOADS / "other.h5").write_bytes(b"x")
    (tmp_path / UPLOADS / "link.h5").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(opened_files.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=3.5e9))
    with pytest.raises(CommandError) as refused:
        opened.commands.command_upload(name, size)
    assert line in refused.value.line()
    assert "\n" not in refused.value.line()


def test_nothing_is_brought_where_it_is_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no folder is set from which files may be opened"):
        Opened(None, monkeypatch).commands.command_upload("a.h5", 1)
    with pytest.raises(CommandError, match="at most 0 GB are allowed"):
        Opened(tmp_path, monkeypatch, upload_limit_GB=0).commands.command_upload("a.h5", 1)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / UPLOADS).symlink_to(tmp_path)
    with pytest.raises(CommandError, match="leads out of the folder"):
        Opened(folder, monkeypatch).commands.command_upload("a.h5", 1)
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / UPLOADS).touch()
    with pytest.raises(CommandError, match="cannot be written: File exists"):
        Opened(tmp_path / "shut", monkeypatch).commands.command_upload("a.h5", 1)
