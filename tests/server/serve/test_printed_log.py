"""The log of a server without a page is printed, and nothing waits for the output."""

import logging
import threading

import pytest

from ptylive.server.serve import printed_log
from ptylive.server.wire.publisher import Publisher, lines


class Terminal(logging.Handler):
    """Keeps lines; accepts none while it is stopped."""

    def __init__(self):
        super().__init__()
        self.said, self.goes_on = [], threading.Event()

    def emit(self, record):
        self.goes_on.wait(60)
        self.said.append((record.levelname, record.getMessage()))


@pytest.fixture
def publisher():
    made = Publisher("tcp://127.0.0.1:0")
    yield made
    made.close()


@pytest.fixture
def terminal(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(logging.getLogger(), "handlers", [shown])
    monkeypatch.setattr(printed_log, "MOST_WAITING", 3)
    level = lines.level
    yield shown
    lines.handlers.clear()
    lines.propagate = True
    lines.setLevel(level)


def test_it_is_silent_where_a_page_shows_it(publisher, terminal):
    terminal.goes_on.set()
    publisher.log("error", "refinement run1: no")
    assert terminal.said == []


def test_lines_come_and_a_terminal_that_stands_still_holds_up_nothing(publisher, terminal):
    listener = printed_log.print_log()
    publisher.log("warning", "image 0:\x1b[2J")
    for number in range(100):
        publisher.log("info", f"scan {number} armed")
    terminal.goes_on.set()
    listener.queue.join()
    listener.stop()
    assert terminal.said[0] == ("WARNING", "image 0:\\x1b[2J")
    assert 3 <= len(terminal.said) <= 5
