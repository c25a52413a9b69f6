"""One file on its way to the server: which failures are the file's fault, and which are not."""

from pathlib import Path
from typing import Any

import pytest
from replay_tools import native

from ptylive.schema import ServerGoneError
from ptylive.server.serve import send_file
from ptylive.server.serve.send_file import SendSettings, send
from ptylive.simulators.replay import ReplayReport, ReplaySettings


def settings(file: Path, **others: Any) -> SendSettings:
    about = {"data": "tcp://127.0.0.1:9", "control": None, "uid": "a uid", "series": "scan", **others}
    return SendSettings(file=str(file), **about)


def test_it_is_sent_under_its_own_uid_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ReplaySettings] = []

    def replay(_path: Path, how: ReplaySettings) -> ReplayReport:
        asked.append(how)
        return ReplayReport(400, 1.0, 400.0, 0, ("a uid",))

    monkeypatch.setattr(send_file, "replay", replay)
    assert send(settings(native(tmp_path / "scan.h5"), control="tcp://127.0.0.1:8", keys="/keys")).frames == 400
    (how,) = asked
    assert (how.to, how.control, how.uid, how.series) == ("tcp://127.0.0.1:9", "tcp://127.0.0.1:8", "a uid", "scan")
    assert how.keys == Path("/keys")


def test_a_server_that_is_away_is_not_the_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_path: Path, _how: ReplaySettings) -> ReplayReport:
        raise ServerGoneError("no server takes frames", "start one")

    monkeypatch.setattr(send_file, "replay", gone)
    failed = send(settings(native(tmp_path / "scan.h5")))
    assert (failed.frames, failed.error, failed.of_file) == (0, "no server takes frames: start one", False)


@pytest.mark.parametrize("text", ["", "this is no scan"])
def test_what_is_no_scan_is_the_fault_of_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "scan.h5").write_text(text)
    failed = send(settings(tmp_path / "scan.h5"))
    assert failed.of_file
    assert "scan.h5" in failed.error
