"""``python -m ptylive`` is the command line."""

import subprocess
import sys


def test_it_is_the_command_line() -> None:
    command = [sys.executable, "-m", "ptylive"]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=120, check=True)
    assert told.stdout.startswith("ptylive ")
    wrong = subprocess.run([*command, "inspect"], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2
    assert "python -m ptylive inspect" in wrong.stderr
