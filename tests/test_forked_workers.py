"""Tests in several forked processes: the same results as in one."""

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import forked_workers
import pytest
from forked_workers import ForkedWorkers, Worker

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
import forked_workers

def pytest_configure(config):
    config.pluginmanager.register(forked_workers.ForkedWorkers(2))
"""
TESTS = """
import os, signal
import pytest

@pytest.fixture(scope="module")
def value():
    print("made")
    yield os.getpid()
    with open(os.environ["ENDED"], "a") as file:
        print(os.getpid(), file=file)

@pytest.fixture
def broken():
    raise LookupError("no such thing")

@pytest.mark.parametrize("number", range(20))
def test_passes(value, number, tmp_path):
    assert value == os.getpid() and not list(tmp_path.iterdir())

def test_fails(capfd):
    os.write(1, b"seen by nobody else")
    assert capfd.readouterr().out == "seen by nobody else"
    print("what it printed")
    assert 1 == 2

def test_errs(broken): ...

@pytest.mark.skip(reason="not today")
def test_skipped(): ...

@pytest.mark.xfail(strict=True)
def test_expected():
    raise ValueError

@pytest.mark.parametrize("number", range({deaths}))
def test_dies(number):
    os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("number", range(20))
def test_passes_still(value, number):
    assert value == os.getpid()
"""


def run(folder: Path, *options: str, deaths: int = 0) -> str:
    """Run the tests above with two workers; return what pytest says."""
    (folder / "conftest.py").write_text(CONFTEST.format(tests=str(Path(__file__).parent)))
    (folder / "test_all.py").write_text(TESTS.replace("{deaths}", str(deaths)))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "ENDED": str(folder / "ended"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return done.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of all tests."""
    return run(tmp_path_factory.mktemp("all"), "-rA", deaths=2)


def test_all_results_are_counted(said: str) -> None:
    assert re.search(r"= 3 failed, 40 passed, 1 skipped, 1 xfailed, 1 error in ", said)


def test_the_cause_of_a_failure_is_shown(said: str) -> None:
    assert "assert 1 == 2" in said
    assert "what it printed" in said
    assert "LookupError: no such thing" in said


def test_a_dead_worker_fails_its_test_and_no_other(said: str) -> None:
    assert said.count("its worker ended with status -9") >= 2
    assert "FAILED test_all.py::test_dies[0]" in said and "FAILED test_all.py::test_dies[1]" in said


def test_fixtures_end_in_the_worker_that_made_them(tmp_path: Path) -> None:
    assert "40 passed" in run(tmp_path, "-k", "passes")
    ended = (tmp_path / "ended").read_text().split()
    assert 1 <= len(ended) == len(set(ended)) <= 2


def test_the_first_failure_ends_the_run(tmp_path: Path) -> None:
    text = run(tmp_path, "-x", "-k", "fails or still")
    assert "stopping after 1 failures" in text


def test_tests_wait_for_whoever_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = (Path(__file__).resolve().parents[1] / "tools" / "compile_all.py").read_text()
    assert '"build" / "compiling.lock"' in tool and forked_workers.COMPILING.parts[-2:] == ("build", "compiling.lock")
    monkeypatch.setattr(forked_workers, "COMPILING", tmp_path / "compiling.lock")
    forked_workers.wait_until_compiled()  # nobody has compiled
    order = []
    with forked_workers.COMPILING.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: (forked_workers.wait_until_compiled(), order.append("tests")))
        waiting.start()
        waiting.join(0.1)
        order.append("compiled")
    waiting.join(60)
    assert order == ["compiled", "tests"]


class Asked:
    """Worker and parent, of tests in files of 20."""

    def __init__(self, left: range) -> None:
        self.workers, (ours, self._theirs) = ForkedWorkers(2), Pipe()
        self.workers._left.append(left)
        self.worker = Worker(0, ours)

    def given(self, shouldfail: str = "") -> range:
        """The span that a worker gets now."""
        items = [SimpleNamespace(path=index // 20) for index in range(1000)]
        self.workers._give(self.worker, SimpleNamespace(items=items, shouldfail=shouldfail, shouldstop=""))
        return range(*json.loads(self._theirs.recv_bytes()))


def test_no_test_is_given_out_after_the_last_failure_that_is_allowed() -> None:
    asked = Asked(range(3, 30))
    assert asked.given() == range(3, 6)
    assert not asked.given("stopping after 1 failures")
    assert list(asked.worker.held) == [3, 4, 5] and list(asked.workers._left) == [range(6, 30)]


def test_long_spans_end_with_a_file_and_short_ones_need_not() -> None:
    asked = Asked(range(1000))
    spans = []
    while span := asked.given():
        spans.append(span)
    assert [index for span in spans for index in span] == list(range(1000))
    assert spans[0] == range(140)  # an eighth of 1000, and the rest of the file
    assert all(span.stop % 20 == 0 for span in spans if len(span) > 16)
    assert {len(span) for span in spans[-8:]} == {1}
