"""The program started with stdin, stdout and stderr as found with daemons, full disks and plain terminals."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from ptylive.server.cli import streams
streams.prepare()
opened = os.open({path!r}, os.O_RDONLY)
{does}
sys.exit(3 if opened < 3 else 0)
"""
SAYS = 'sys.stderr.write("said\\n"); sys.stderr.flush(); print("told \\u00c5"); sys.stdout.flush()'


def run(does: str, redirected: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that prepares its streams, opens a file and does that; 3: the file took a stream's number."""
    program = PROGRAM.format(path=__file__, does=does)
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


CHILD = "import os; [os.fstat(one) for one in range(3)]; print(1)"
"""A child process of the program, for which nothing is closed either."""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_nowhere_and_no_file_takes_its_number(closed: str) -> None:
    ended = run(f"{SAYS}; import subprocess; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)", closed)
    assert ended.returncode == 0
    assert ended.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "told Å\n1\n")
    assert ended.stderr == ("" if "2>&-" in closed else "said\n")


@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&- 3>&1"])
def test_messages_that_cannot_be_written_stop_nothing(lost: str) -> None:
    ended = run(SAYS, lost)
    assert (ended.returncode, ended.stdout) == (0, "told Å\n")


def test_results_that_cannot_be_written_are_an_error_that_says_where() -> None:
    does = f"""
try:
    {SAYS}
except OSError as error:
    assert error.filename == "standard output", error
    sys.exit(7)
"""
    ended = run(does, ">/dev/full")
    assert (ended.returncode, ended.stderr) == (7, "said\n")  # and nothing more at the end of the program


def test_characters_that_a_terminal_has_not_are_escaped() -> None:
    ended = run(SAYS, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (ended.returncode, ended.stdout) == (0, "told \\xc5\n")
