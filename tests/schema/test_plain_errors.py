"""Errors that nobody can catch become a line; errors that end a program keep their traceback."""

import signal
import subprocess
import sys

import pytest

from ptylive.schema.plain_errors import ORPHANED, ctrl_c_held

TELL = "from ptylive.schema.plain_errors import tell_parent; import sys; sys.stdin.readline(); tell_parent('word')"
INSTALLED = (
    "from ptylive.schema.plain_errors import say_unraisable_in_a_line\nsay_unraisable_in_a_line('ptylive test')\n"
)
FULL = """
import gc, resource, signal, sys
from pathlib import Path
import numpy as np
from ptylive.engine.results_file import created
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # to HDF5 the same as a disk that is full
try:
    with created(Path(sys.argv[1])) as file:
        for k in range(12):
            values = np.random.default_rng(k).random(3000)
            made = file.create_group("a%d" % k).create_dataset("d", data=values, chunks=100)
            made.attrs["x"] = k
except OSError as error:
    print("failed:", error.errno)
gc.collect()
"""
CLUMSY = """
class Clumsy:
    def __del__(self):
        raise ValueError("oh\\nno")
for _ in range(25):
    Clumsy()
"""


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-B", "-c", INSTALLED + code, *arguments], capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_a_results_file_whose_disk_is_full(tmp_path):
    """One error, and none from h5py when its objects are destroyed: HDF5 does not know that the disk is full."""
    done = run(FULL, str(tmp_path / "a.h5"))
    assert (done.stdout, done.stderr, done.returncode) == ("failed: 27\n", "", 0)


def test_an_error_while_an_object_is_taken_down_is_said_once_and_counted():
    done = run(CLUMSY)
    first, tenth = done.stderr.splitlines()
    assert first.startswith("ptylive test: WARNING: this error could not be reported, ")
    assert "Clumsy.__del__" in first  # Python 3.14 adds more about the place
    assert first.endswith(": ValueError: oh no")
    assert tenth.endswith(" (10 so far)")


def test_what_ends_a_program_keeps_its_traceback():
    done = run("raise ValueError('oh')")
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: oh\n")


def started() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", TELL], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_parent_hears_it_at_once() -> None:
    with started() as process:
        out, err = process.communicate("\n")
    assert (process.returncode, out, err) == (0, "word\n", "")


def test_a_process_whose_parent_has_gone_ends_without_a_word() -> None:
    with started() as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate("\n")
    assert (process.returncode, err) == (ORPHANED, "")


INTERRUPTED = "import os, signal; os.kill(os.getpid(), signal.SIGINT); "
TAKEN = "from ptylive.schema.plain_errors import take_ctrl_c; signal.signal(signal.SIGINT, lambda *_: print('told')); "


@pytest.mark.parametrize(
    ("code", "said"), [("print('loaded')", "loaded"), (f"{TAKEN}take_ctrl_c(); print('ready')", "told\nready")]
)
def test_a_process_that_loads_is_not_interrupted_until_it_asks(code, said):
    with ctrl_c_held():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        ended = subprocess.run(
            [sys.executable, "-c", INTERRUPTED + code], capture_output=True, text=True, check=True, timeout=60
        )
    assert (ended.stdout.strip(), ended.stderr) == (said, "")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
