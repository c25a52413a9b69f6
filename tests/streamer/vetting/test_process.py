"""The process that reads files: whatever a task raises is an answer, and only our own tasks are run."""

import io
import subprocess
import sys

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.vetting import process, tasks
from ptylive.streamer.vetting.pipe import pack, read_message

PATH = "/folder/scan.h5"


@pytest.fixture
def answered(monkeypatch):
    """The answer to a task that does what it is told, and the limits in force meanwhile."""
    limits = []
    monkeypatch.setattr(process, "_set_timers", lambda *seconds: limits.append(seconds))

    def ask(does, **request):
        monkeypatch.setattr(tasks, "walk_hdf5", does)
        whole = {"task": f"{tasks.__name__}:walk_hdf5", "path": PATH, "cpu_s": 3.0, "wall_s": 30.0, "arguments": {}}
        return process._answer({**whole, **request}, 2**30), limits

    return ask


def raising(error):
    def does(_path):
        raise error

    return does


def test_a_task_answers_with_what_it_returns(answered):
    answer, limits = answered(lambda path, more: [str(path), more], arguments={"more": 7})
    assert answer == {"value": [PATH, 7]}
    assert limits == [(3.0, 30.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (InputFileError("it is empty", "fill it"), "it is empty", "fill it"),
        (MemoryError(), f"{PATH} could not be read in 1024 MiB of memory", "is it damaged?"),
        (ValueError("bad\n number"), f"{PATH} could not be read: bad number", "is it damaged?"),
        (RecursionError(), f"{PATH} could not be read: RecursionError", "is it damaged?"),
        (PermissionError(13, "no"), f"{PATH} cannot be read: permission denied", "check its permissions"),
    ],
)
def test_whatever_a_task_raises_is_a_line_with_the_file(answered, error, words, hint):
    answer, limits = answered(raising(error))
    assert answer == {"error": words, "hint": hint}
    assert limits[-1] == (0.0, 0.0)


@pytest.mark.parametrize("task", ["os:system", "ptyliveish.tasks:walk", "builtins:eval", ""])
def test_only_functions_of_this_program_are_tasks(answered, task):
    answer, _ = answered(lambda path: None, task=task)
    assert "is not a task" in answer["error"]


def test_what_cannot_be_told_is_said_to_be_so():
    out = io.BytesIO()
    process._say(out, {"value": np.array([object()])}, PATH)
    told = read_message(io.BytesIO(out.getvalue()).read)
    assert told["error"].startswith(f"{PATH}: the result cannot be sent")


def test_a_parent_that_is_killed_meanwhile_gets_no_last_word(tmp_path):
    """The process's output goes to the server's log, where a traceback would be read as somebody's fault."""
    asks = [{"task": f"{tasks.__name__}:walk_hdf5", "path": str(tmp_path), "cpu_s": 3.0, "wall_s": 30.0}]
    command = [sys.executable, "-m", "ptylive.streamer.vetting.process", str(2**30)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as worker:
        worker.stdout.read(1)
        worker.stdout.close()
        worker.stdin.write(b"".join(pack({**one, "arguments": {}}) for one in asks))
        worker.stdin.close()
        assert worker.stderr.read() == b""
    assert worker.returncode == 0
