"""``python -m ptylive`` is the command line."""

import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "ptylive"]


@pytest.mark.slow
def test_it_tells_its_version() -> None:
    told = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, timeout=120, check=True)
    assert told.stdout.startswith("ptylive ")


def test_it_is_the_command_line() -> None:
    wrong = subprocess.run([*COMMAND, "inspect"], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2
    assert "python -m ptylive inspect" in wrong.stderr


def test_ctrl_c_while_it_loads_is_a_line() -> None:
    program = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from ptylive.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "ptylive: interrupted: nothing was written\n"
