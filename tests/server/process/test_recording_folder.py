"""A server that cannot record says so at once, and one that failed to record does not end as if it had succeeded."""

import os
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from running import PATIENCE_S, Server, ptylive_here
from scan_parts import part_of

from ptylive.schema import PtyliveError
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.process import recording_folder
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.process.recording_folder import require_recordable
from ptylive.server.serve import acquire
from ptylive.server.serve.session import Session
from ptylive.server.serve.supervisor import Supervisor
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
    done = ptylive_here("serve", "--headless", "--record", tmp_path / "taken")
    assert done.returncode == ExitCode.FAILED
    (line,) = done.stderr.strip().splitlines()
    assert "not a folder" in line
    assert "--no-record" in line


def test_a_recording_that_fails_later_is_shouted_and_is_the_status_of_the_receiving_process(
    tmp_path, monkeypatch, caplog
):
    for name in ("handle_ending", "_warm_up", "_say"):
        monkeypatch.setattr(acquire, name, lambda *_: None)
    data, control = free_addresses()
    folder = tmp_path / "recordings"
    session = Session(ServerConfig(data=data, control=control, record=str(folder), dashboard=None, metrics=None))
    monkeypatch.setattr(session.compilation, "start", lambda: None)
    folder.write_text("in the way")

    def use():
        replay(part_of("mos2_svac_80kV_focus", 8, tmp_path / "scan.h5"), ReplaySettings(to=data))
        for _ in range(int(PATIENCE_S / 0.01)):
            if session.recordings_failed:
                break
            time.sleep(0.01)
        session.shutdown_requested.set()

    user = threading.Thread(target=use)
    user.start()
    assert acquire._run(session, []) == ExitCode.PARTIAL
    user.join()
    assert "RECORDING FAILED" in caplog.text


def test_the_program_ends_as_its_receiving_process_did(monkeypatch):
    told = []
    made = Supervisor(ServerConfig(dashboard=None, record=None))
    monkeypatch.setattr(made, "say", told.append)
    for status in (ExitCode.DONE, ExitCode.PARTIAL):
        made._acquire = SimpleNamespace(wait=lambda status=status: status)
        assert made._ended() == status
    (line,) = told
    assert "NOT EVERYTHING WAS RECORDED" in line
    made._acquire = SimpleNamespace(wait=lambda: -signal.SIGTERM)
    assert made._ended() == ExitCode.DONE, "told to end before it accepted data"
    made._ready = True
    assert made._ended() == ExitCode.FAILED


@pytest.mark.slow
@pytest.mark.data
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
