"""Signals that end a server become requests, except a terminal's hang-up if ``nohup`` blocks it."""

import signal

import pytest

from ptylive.server.process.ending_signals import ENDING, handle_ending


@pytest.fixture
def as_before():
    """Restore the handlers."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, *ENDING)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("ignored", [False, True])
def test_all_ask_but_a_terminal_s_under_nohup(as_before, ignored):
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN if ignored else signal.SIG_DFL)
    asked = []
    handle_ending(lambda number, frame: asked.append(number))
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.raise_signal(one)
    assert asked == [signal.SIGTERM, *([] if ignored else [signal.SIGHUP]), signal.SIGINT]
