"""The one-file sender works alone: without this program's packages, from any folder."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stream_tools import digest, running

import ptylive.simulators.sender_example as example
from ptylive.simulators.sender_example import LiveScan

SOURCE = Path(example.__file__)
SCRIPT = """
import sys
import numpy as np
from sender_example import LiveScan

camera = np.arange(6 * 7 * 8 * 8, dtype="<u2").reshape(6, 7, 8, 8)
scan, detector = {"shape": np.array([6, 7]), "step_A": np.float32(0.5)}, {"shape": [8, 8], "dtype": "<u2"}
with LiveScan(sys.argv[1], scan, detector, {"energy_eV": np.int64(80000)}, series="mine") as live:
    for number in np.arange(6):
        live.send(camera[number], first=7 * number, count=7)
assert not [name for name in sys.modules if name.startswith("ptylive")]
"""


def test_it_imports_nothing_of_this_program() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"__future__", "time", "uuid", "typing", "msgpack", "zmq"}


def test_a_copy_of_it_sends_a_scan(tmp_path: Path) -> None:
    shutil.copy(SOURCE, tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    camera = np.arange(6 * 7 * 8 * 8, dtype="<u2").reshape(42, 8, 8)
    with running() as run:
        subprocess.run([sys.executable, tmp_path / "script.py", run.address], check=True, cwd=tmp_path, timeout=60)
        (end,) = run.wait_for_ends(1)
        assert (end.reason, run.receiver.status().series) == ("complete", "mine")
        assert run.arms()[0].header.scan.step_A == (0.5, 0.5)
        assert run.frames[end.uid] == {k: digest(pattern) for k, pattern in enumerate(camera)}


def test_an_exception_aborts_the_scan_and_pings_keep_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "PING_S", 0.0)
    with running(idle_timeout_s=1.0) as run:
        with (
            pytest.raises(ValueError, match="camera"),
            LiveScan(run.address, {"shape": [4, 4]}, {"shape": [2, 2]}) as live,
        ):
            live.send(bytes(8), first=3)
            live.ping()
            raise ValueError("camera")
        (end,) = run.wait_for_ends(1)
        assert (end.reason, end.summary.placed) == ("aborted", 1)
        assert run.receiver.status().rejected == {}


def test_without_a_server_it_says_so() -> None:
    with (
        pytest.raises(TimeoutError, match="no server has taken anything"),
        LiveScan("tcp://127.0.0.1:9", {"shape": [4, 4]}, {"shape": [2, 2]}, timeout_s=0.2) as live,
    ):
        for _ in range(20):
            live.send(bytes(8))
