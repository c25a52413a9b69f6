"""Tests in several processes: ``pytest --workers 4`` collects once and forks.

With pytest-xdist every worker collects for itself: fifteen CPU seconds each for thirteen thousand tests. A worker here
asks for one span of the collected tests after the other, and knows the next test before it runs one: which fixtures
end after a test depends on that.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, pairwise, takewhile
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import pytest

SPANS_OF_A_WORKER = 4
"""A span has this share of what each worker would get of the tests that are left: the last spans are single tests."""
SPLIT_BELOW = 16
"""Longer spans end with a file: its fixtures are not made by two workers."""
COMPILING = Path(__file__).resolve().parents[1] / "build" / "compiling.lock"
"""Locked while ``tools/compile_all.py`` compiles."""


@dataclass
class Worker:
    """A forked process, as its parent sees it."""

    pid: int
    pipe: Connection
    held: deque[int] = field(default_factory=deque)
    """Tests it was given and has not reported, the running one first."""


class ForkedWorkers:
    """Plugin of the process that collects: gives tests out, and passes on what is reported of them."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._workers: list[Worker] = []
        self._left: deque[range] = deque()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all collected tests; errors of collection and mere lists of tests are left to pytest's own loop."""
        if session.testsfailed or session.config.option.collectonly:
            return None
        wait_until_compiled()
        self._left = deque([range(len(session.items))])
        session.config._tmp_path_factory.getbasetemp()  # workers have folders in it
        try:
            for _ in range(min(self._number, len(session.items))):
                self._start_worker(session)
            while self._workers:
                self._listen(session)
        finally:
            self._end_workers()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        return True

    def _start_worker(self, session: pytest.Session) -> None:
        ours, theirs = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which numpy's BLAS ends before a fork
            pid = os.fork()
        if pid == 0:
            for pipe in (ours, *(worker.pipe for worker in self._workers)):
                pipe.close()  # else a worker would not see that the parent has ended
            _work_and_exit(session, theirs)
        theirs.close()
        self._workers.append(Worker(pid, ours))

    def _listen(self, session: pytest.Session) -> None:
        ready = wait([worker.pipe for worker in self._workers])
        for worker in [worker for worker in self._workers if worker.pipe in ready]:
            try:
                message = json.loads(worker.pipe.recv_bytes())
            except (EOFError, ConnectionError):
                self._bury(worker, session)
                continue
            if message is None:
                self._give(worker, session)
            else:
                self._report(session, worker.held.popleft(), message)

    def _give(self, worker: Worker, session: pytest.Session) -> None:
        """Answer a request for tests; an empty span ends the worker."""
        span = range(0)
        if self._left and not (session.shouldfail or session.shouldstop):
            span = self._next_span(session.items)
        worker.held.extend(span)
        with suppress(ConnectionError):  # it has died since it asked: its pipe says so next
            worker.pipe.send_bytes(json.dumps([span.start, span.stop]).encode())

    def _next_span(self, items: list[pytest.Item]) -> range:
        first = self._left.popleft()
        count = max(1, sum(map(len, (first, *self._left))) // (SPANS_OF_A_WORKER * self._number))
        if count > SPLIT_BELOW:
            file = items[first[count - 1]].path
            count += len(list(takewhile(lambda index: items[index].path == file, first[count:])))
        if count < len(first):
            self._left.appendleft(first[count:])
        return first[:count]

    def _report(self, session: pytest.Session, index: int, reports: list[dict[str, object]]) -> None:
        item, hook = session.items[index], session.config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for data in reports:
            report = hook.pytest_report_from_serializable(config=session.config, data=data)
            if isinstance(report.longrepr, list):
                report.longrepr = tuple(report.longrepr)  # place and reason of a skipped test: JSON has no tuples
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _bury(self, worker: Worker, session: pytest.Session) -> None:
        """A worker has ended. If it still had tests, the running one is to blame; another worker gets the others."""
        self._workers.remove(worker)
        worker.pipe.close()
        status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if not worker.held:
            return
        item = session.items[worker.held.popleft()]
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=f"{item.nodeid}: its worker ended with status {status}",
            when="call",
        )
        session.config.hook.pytest_runtest_logreport(report=report)
        self._left.extend(range(index, index + 1) for index in worker.held)
        self._start_worker(session)

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.pipe.close()  # it ends with the test that it runs
        for worker in self._workers:
            os.waitpid(worker.pid, 0)


def wait_until_compiled() -> None:
    """Wait for ``tools/compile_all.py``, if it is running: else tests would compile the same code."""
    if COMPILING.exists():
        with COMPILING.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)


class Reports:
    """Plugin of a worker: what pytest reports of the test that runs."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def take(self) -> list[dict[str, object]]:
        """Return the reports since the last call."""
        reports, self._reports = self._reports, []
        return reports


class SilentReporter(pytest.TerminalReporter):
    """Lets other plugins write to a terminal, and itself writes nothing of tests: the parent does."""

    def pytest_runtest_logstart(self) -> None: ...  # type: ignore[override]
    def pytest_runtest_logreport(self) -> None: ...  # type: ignore[override]
    def pytest_runtest_logfinish(self) -> None: ...  # type: ignore[override]


def _work_and_exit(session: pytest.Session, pipe: Connection) -> None:
    """Run tests until there are none left. Ends the process: the rest of pytest belongs to the parent."""
    status = 1
    try:
        _work(session, pipe)
        status = 0
    except (EOFError, ConnectionError):
        pass  # the parent has ended
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def _work(session: pytest.Session, pipe: Connection) -> None:
    config, plugins = session.config, session.config.pluginmanager
    plugins.unregister(name="terminalreporter")
    plugins.register(SilentReporter(config, file=Path(os.devnull).open("w")), "terminalreporter")
    capture = plugins.get_plugin("capturemanager")
    capture.stop_global_capturing()  # into the files of the parent, at the place where all would write
    capture.start_global_capturing()
    capture.suspend_global_capture()
    own = config._tmp_path_factory.getbasetemp() / f"worker{os.getpid()}"
    own.mkdir()
    config._tmp_path_factory._basetemp = own
    reports = Reports(config)
    plugins.register(reports)
    for index, following in pairwise(chain(_indices(pipe), [None])):
        item = session.items[index]
        nextitem = None if following is None else session.items[following]
        config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        pipe.send_bytes(json.dumps(reports.take()).encode())


def _indices(pipe: Connection) -> Iterator[int]:
    """Ask for spans of tests until an empty one comes."""
    while True:
        pipe.send_bytes(b"null")
        span = range(*json.loads(pipe.recv_bytes()))
        if not span:
            return
        yield from span
