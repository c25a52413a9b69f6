"""One piece of work at a time, in a process that is scripted here."""

import queue
import threading

import pytest

from ptylive.schema import CommandError
from ptylive.server.tune.side_work import SideWork

LONG_S = 60.0


class Process:
    """A child that says what the test tells it to."""

    def __init__(self, module, request):
        self.module, self.request, self.told = module, request, []
        self.says = queue.Queue()

    def messages(self):
        while (message := self.says.get(timeout=LONG_S)) is not None:
            yield message

    def tell(self, message):
        self.told.append(message)

    def ending(self):
        return "it was killed"

    def end(self):
        self.says.put(None)


@pytest.fixture
def lab():
    class Lab:
        def __init__(self):
            self.processes, self.heard, self.ended = [], [], []
            self.over = threading.Event()
            self.work = SideWork("the tuning", "a.module", self.started)

        def started(self, module, request):
            self.processes.append(Process(module, request))
            return self.processes[-1]

        def begin(self):
            self.over.clear()
            self.work.begin({"scan": "a"}, self.heard.append, self.on_ended)
            return self.processes[-1]

        def on_ended(self, reason):
            self.ended.append((reason, self.work.runs))
            self.over.set()

        def wait(self):
            assert self.over.wait(LONG_S)

    made = Lab()
    yield made
    made.work.close()


def test_messages_are_heard_until_the_end(lab):
    process = lab.begin()
    assert (process.module, process.request, lab.work.runs) == ("a.module", {"scan": "a"}, True)
    for message in ({"kind": "doing"}, {"kind": "rows"}, {"kind": "ended"}, None):
        process.says.put(message)
    lab.wait()
    assert [message["kind"] for message in lab.heard] == ["doing", "rows"]
    assert lab.ended == [("", False)], "it is over before its end is told, so that another may begin"


@pytest.mark.parametrize(
    ("said", "stopped", "reason"),
    [
        ([{"kind": "failed", "message": "no memory"}], False, "no memory"),
        ([], False, "it was killed"),
        ([], True, ""),
    ],
)
def test_the_reason_of_a_failure(lab, said, stopped, reason):
    process = lab.begin()
    if stopped:
        lab.work.stop()
    for message in [*said, None]:
        process.says.put(message)
    lab.wait()
    assert lab.ended[0][0] == reason


def test_only_one_runs_at_a_time_and_another_after_it(lab):
    process = lab.begin()
    with pytest.raises(CommandError, match="the tuning is running"):
        lab.begin()
    assert len(lab.processes) == 1
    lab.work.stop()
    process.says.put(None)
    lab.wait()
    lab.begin()
    assert len(lab.processes) == 2 and not lab.work.stopping


def test_it_is_asked_to_stop_and_keeps_what_is_done(lab):
    with pytest.raises(CommandError, match="the tuning is not running"):
        lab.work.stop()
    process = lab.begin()
    lab.work.stop()
    assert process.told == [{"stop": True}] and lab.work.stopping and lab.work.runs


def test_closing_ends_it_in_whatever_state_it_is(lab):
    lab.begin()
    lab.work.close()
    assert lab.ended == [("", False)]
    lab.work.close()
