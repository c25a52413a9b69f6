"""One recorder process for many tests: a fixture for the ``conftest.py`` of folders whose receivers record."""

import os
import subprocess

import pytest

from ptylive.streamer.recording.converter import RecorderProcess

SPARE: list[tuple[dict[str, str], subprocess.Popen[str]]] = []
"""Recorders that nobody uses, and the environment that each was started in."""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def a_recorder_that_stays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of imports for each of some hundred tests: an idle recorder serves the next test too.

    It knows nothing of what it has recorded. Marked ``own_recorder``: tests that look at the process itself.
    """
    if request.node.get_closest_marker("own_recorder") is not None:
        return
    running, end = RecorderProcess._running, RecorderProcess.end

    def take_up(recorder: RecorderProcess) -> subprocess.Popen[str]:
        if recorder._process is None and SPARE:
            begun, process = SPARE.pop()
            if begun == environment():
                recorder._process = process
            else:
                process.stdin.close()
                process.wait(60)
        return running(recorder)

    def lay_down(recorder: RecorderProcess, *, kill: bool) -> None:
        process = recorder._process
        if kill or process is None or process.poll() is not None:
            return end(recorder, kill=kill)
        recorder._process = None
        SPARE.append((environment(), process))

    def dismiss(recorder: RecorderProcess) -> None:
        end(recorder, kill=False)
        recorder._process = None

    for name, instead in (("_running", take_up), ("end", lay_down), ("_dismiss", dismiss)):
        monkeypatch.setattr(RecorderProcess, name, instead)
