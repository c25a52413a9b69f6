"""The supervisor while one of its processes is starting: it never blocks for long."""

import json
import subprocess
import sys
import threading
import time

import psutil
import pytest
from running import PTYLIVE

from ptylive.schema import PtyliveError
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.serve import supervisor as module
from ptylive.server.serve.supervisor import Supervisor

PATIENCE_S = 60.0


def test_a_dashboard_that_hangs_at_its_start_keeps_nobody_from_looking_after_the_receiver(monkeypatch):
    silent = [sys.executable, "-c", "import time; time.sleep(300)"]
    started = []

    def start(_arguments, **_options):
        started.append(subprocess.Popen(silent, stdout=subprocess.PIPE, text=True))
        return started[-1]

    monkeypatch.setattr(module, "_python", start)
    watched = Supervisor(ServerConfig(dashboard="127.0.0.1:1"))
    watched._dashboard = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, text=True)
    watched._dashboard.wait()
    looking = threading.Thread(target=watched._look_after_dashboard, daemon=True)
    looking.start()
    looking.join(PATIENCE_S)
    hung = looking.is_alive()
    for process in started:
        process.kill()
        process.wait()
    assert started
    assert not hung


@pytest.mark.slow
def test_a_server_that_is_told_to_end_while_it_starts_ends_with_all_its_processes(tmp_path):
    data, control = free_addresses()
    command = [PTYLIVE, "serve", "--data", data, "--control", control, "--record", str(tmp_path), "--dashboard"]
    serving = subprocess.Popen([*command, "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    parent, children = psutil.Process(serving.pid), []
    give_up = time.monotonic() + PATIENCE_S
    while not children and time.monotonic() < give_up:
        children = parent.children(recursive=True)
        time.sleep(0.01)
    serving.terminate()
    said = serving.communicate(timeout=PATIENCE_S)[1]
    assert serving.returncode == ExitCode.DONE, said
    assert "Traceback" not in said
    _, left = psutil.wait_procs(children, PATIENCE_S)
    assert not left


def test_the_last_state_it_was_told_of_is_given_to_the_next_receiver(monkeypatch):
    """Among other lines, such as a library may print."""
    given, listening = [], threading.Event()
    made = Supervisor(ServerConfig(dashboard=None, record=None))

    class Told:
        def __init__(self):
            self.lines = iter(['{"user_state": {"record": true}}', "oh", '{"user_state": {"record": false}}', "{}"])

        def __iter__(self):
            listening.wait(PATIENCE_S)
            yield from self.lines

    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(3)"])
    process.stdout = Told()
    process.wait()
    made._acquire = process
    made._listener = threading.Thread(target=made._hear_acquire, args=(process,))
    made._listener.start()
    monkeypatch.setattr(module.time, "sleep", lambda _s: listening.set())
    monkeypatch.setattr(made, "_start_acquire", lambda *history: given.append(history))
    assert made._restart()
    ((number, _notice, state),) = given
    assert (number, json.loads(state)) == ("1", {"record": False})


def test_a_folder_that_is_not_there_is_told_before_anything_starts(tmp_path):
    for option in ("watch", "files"):
        settings = ServerConfig(dashboard=None, record=str(tmp_path / "scans"), **{option: str(tmp_path / "none")})
        with pytest.raises(PtyliveError, match="none: it is not a folder"):
            Supervisor(settings).start()


def test_a_relative_path_is_told_with_the_folder_where_it_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ServerConfig(dashboard=None, record=None, detector_files={"dark_reference": "dark.npy"})
    with pytest.raises(PtyliveError, match=r"dark_reference: dark\.npy") as caught:
        Supervisor(settings).start()
    assert f"relative paths start at {tmp_path}" in caught.value.hint
    whole = ServerConfig(dashboard=None, record=None, detector_files={"dark_reference": str(tmp_path / "dark.npy")})
    with pytest.raises(PtyliveError, match="dark_reference: ") as caught:
        Supervisor(whole).start()
    assert "begins at" not in caught.value.hint


def test_an_offset_given_as_a_number_needs_no_file():
    supervisor = Supervisor(ServerConfig(dashboard=None, record=None))
    supervisor._keep_images({"dark_reference": "99.5"})
    assert supervisor.config.detector_files == {"dark_reference": "99.5"}


def test_tokens_that_could_be_guessed_are_told_before_anything_starts(monkeypatch):
    """Regression: the page's process ended with this message, and was started again and again."""
    monkeypatch.setenv("PTYLIVE_DASHBOARD_TOKENS", "a b")
    monkeypatch.setattr(module, "_python", lambda *_a, **_k: pytest.fail("a process was started"))
    settings = ServerConfig(record=None, security={"token": True})
    with pytest.raises(PtyliveError, match="two different tokens of at least 16 characters"):
        Supervisor(settings).start()
