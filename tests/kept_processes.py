"""Recorder and file-reader processes shared by many tests: fixtures for folders whose tests start such processes."""

import os
import subprocess

import pytest

from ptylive.streamer.recording.converter import RecorderProcess
from ptylive.streamer.vetting.worker import FileWorker

SPARE: list[tuple[dict[str, str], subprocess.Popen[str]]] = []
"""Idle recorders, and the environment in which each was started."""
READERS: list[tuple[object, subprocess.Popen[bytes]]] = []
"""Idle file readers, and what each was started with; the one that has been idle longest first, which ends first."""
MOST_READERS = 4


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def a_recorder_that_stays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep an idle recorder for the next test: each start costs half a second of imports, in some hundred tests.

    It remembers nothing of what it has recorded. Marked ``own_recorder``: tests that examine the process itself.
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


@pytest.fixture(autouse=True)
def a_reader_that_stays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the process that opens files, of which a receiver may have three. It remembers nothing of a file
    either.

    Tests of that process itself, in the folder ``vetting``, have their own.
    """
    if request.path.parent.name == "vetting":
        return
    running, close = FileWorker._running, FileWorker.close

    def started_with(worker: FileWorker) -> object:
        return worker.limits.memory_bytes, worker._modules, environment()

    def take_up(worker: FileWorker) -> subprocess.Popen[bytes]:
        if worker._process is None:
            fitting = [one for one in READERS if one[0] == started_with(worker)]
            if fitting:
                READERS.remove(fitting[-1])
                worker._process = fitting[-1][1]
        return running(worker)

    def lay_down(worker: FileWorker) -> None:
        if worker._lock.acquire(blocking=False):
            try:
                process = worker._process
                if process is not None and process.poll() is None:
                    READERS.append((started_with(worker), process))
                    # else readers that no test asks for any more would leave no room for those that many ask for
                    worker._process = READERS.pop(0)[1] if len(READERS) > MOST_READERS else None
            finally:
                worker._lock.release()
        close(worker)

    monkeypatch.setattr(FileWorker, "_running", take_up)
    monkeypatch.setattr(FileWorker, "close", lay_down)
