"""A server that cannot record says so at once, and one that failed to record does not end as if it had succeeded."""

import os
import shutil
import threading
from types import SimpleNamespace

import pytest
from running import Server, ptylive
from scan_parts import part_of

from ptylive.schema import PtyliveError
from ptylive.server.process import recording_folder
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.process.recording_folder import require_recordable
from ptylive.simulators.replay import ReplaySettings, replay


def test_a_folder_is_made_and_left_empty(tmp_path):
    require_recordable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "taken").write_text("x")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(PtyliveError, match="not a folder"):
            require_recordable(folder)


def test_a_folder_that_hangs_is_not_waited_for(monkeypatch, tmp_path):
    answers = threading.Event()
    monkeypatch.setattr(recording_folder, "_tried", lambda _folder: answers.wait(120))
    monkeypatch.setattr(recording_folder, "PATIENCE_S", 0.01)
    with pytest.raises(PtyliveError, match="it does not respond"):
        require_recordable(tmp_path)
    answers.set()


def test_a_file_system_that_takes_no_files():
    with pytest.raises(PtyliveError, match="cannot record in /proc/ptylive"):
        require_recordable(recording_folder.Path("/proc/ptylive"))


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PtyliveError, match="Permission denied"):
        require_recordable(tmp_path)


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_folder.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=3_000_000))
    with pytest.raises(PtyliveError, match="3 MB are free"):
        require_recordable(tmp_path)


def test_serve_refuses_before_it_says_that_it_records(tmp_path):
    (tmp_path / "taken").write_text("x")
    done = ptylive("serve", "--headless", "--record", tmp_path / "taken")
    assert done.returncode == ExitCode.FAILED
    (line,) = done.stderr.strip().splitlines()
    assert "not a folder" in line
    assert "--no-record" in line


def test_a_recording_that_fails_later_is_shouted_and_changes_the_exit_status(tmp_path):
    folder = tmp_path / "recordings"
    running = Server(folder)
    try:
        shutil.rmtree(folder)
        folder.write_text("in the way")
        replay(part_of("mos2_svac_80kV_focus", 8, tmp_path / "scan.h5"), ReplaySettings(to=running.data))
        status = running.wait_for(lambda s: s["recordings_failed"] == 1)
        assert "recording" in status["message"]
        running.process.terminate()
        said = running.process.stderr.read()
        assert running.process.wait(60) == ExitCode.PARTIAL
        assert "RECORDING FAILED" in said
        assert "NOT EVERYTHING WAS RECORDED" in said
    finally:
        running.stop()
