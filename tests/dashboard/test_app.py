"""The dashboard as a process: how it starts, how it ends, and what it loads."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from quick_first import quick_first
from running_dashboard import RunningDashboard, forked, start_dashboard

from ptylive.dashboard import __main__ as dashboard_main
from ptylive.dashboard.app import serve


def test_a_taken_port_is_one_clear_line(
    dashboard: RunningDashboard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("say_unraisable_in_a_line", "logging"):  # they are for a process of its own
        monkeypatch.setattr(dashboard_main, name, MagicMock())
    with ThreadPoolExecutor(1) as other:  # in this one, an event loop of the browser's tests may run
        assert other.submit(dashboard_main.main, ["--port", str(dashboard.port)]).result() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().splitlines() == [
        f"ptylive.dashboard: the dashboard cannot listen on 127.0.0.1:{dashboard.port}: Address already in use:"
        " choose another --port"
    ]


@pytest.mark.slow  # test_access.py starts a dashboard, too, with a fake server
def test_it_runs_without_a_server_and_ends_when_asked() -> None:
    running = start_dashboard("tcp://127.0.0.1:9")
    running.process.send_signal(signal.SIGTERM)
    running.process.communicate(timeout=60)
    assert running.process.returncode == 0


@pytest.mark.parametrize("wait", quick_first(["p.stdout.readline()", "None"]), ids=["serving", "not yet begun"])
def test_it_ends_with_its_parent(wait: str) -> None:
    """Even if the parent is gone before the dashboard can check: on a busy machine Python takes seconds to start."""
    script = (
        "import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'ptylive.dashboard', '--control',"
        " 'tcp://127.0.0.1:9', '--port', '0', '--exit-with-parent', str(os.getpid())], stdout=subprocess.PIPE,"
        f" text=True); {wait}; print(p.pid)"
    )
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    child = int(parent.stdout)
    deadline = time.monotonic() + 60
    while _alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_whose_parent_has_ended_it_takes_no_port() -> None:
    """Another dashboard may need it: the same server, started again."""
    late, said = forked("tcp://127.0.0.1:9", parent=1)
    late.join(120)
    assert late.exitcode == 0
    with pytest.raises(EOFError):
        said.recv()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_loads_no_kernels_and_no_files() -> None:
    heavy = (
        "numba",
        "cupy",
        "h5py",
        "scipy",
        "ptylive.engine",
        "ptylive.streamer.receiver",
        "ptylive.streamer.storage",
    )
    script = (
        "import sys, ptylive.dashboard.__main__; print('bokeh' in sys.modules);"
        f"import ptylive.dashboard.app; print([m for m in {heavy!r} if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stdout.split() == ["False", "[]"]


def test_one_whose_address_nobody_reads_any_more_ends_without_a_word_of_pipes(monkeypatch):
    ran = []

    class Deaf(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    class Stub:
        url = "http://127.0.0.1:1"

        async def run(self, _stop):
            ran.append(True)

    monkeypatch.setattr(sys, "stdout", Deaf())
    # earlier browser tests leave an event loop running in this thread: set it aside
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        serve(Stub)
    finally:
        asyncio._set_running_loop(loop)
    assert ran == [True]
