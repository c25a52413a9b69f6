"""Ctrl-C as a request: the first is noted, the second interrupts, and afterwards it works as before."""

import signal
import threading

import pytest

from ptylive.server.cli.interrupt import ctrl_c_asks_to_stop, ended_as_by_ctrl_c
from ptylive.server.process.ending_signals import ENDING


def test_the_first_asks_and_the_second_interrupts(capsys):
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c_asks_to_stop("stopping after this epoch") as asked:
        assert not asked.is_set()
        signal.raise_signal(signal.SIGINT)
        assert asked.is_set()
        assert "stopping after this epoch" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_raised_inside_puts_it_back_too():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), ctrl_c_asks_to_stop("stopping"):
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_is_nobodys():
    before, found = signal.getsignal(signal.SIGINT), []

    def work():
        with ctrl_c_asks_to_stop("stopping") as asked:
            found.append((signal.getsignal(signal.SIGINT) is before, asked.is_set()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found == [(True, False)]


@pytest.fixture
def as_at_the_start():
    """Default signal handlers; the previous ones are restored afterwards."""
    before = {one: signal.signal(one, signal.SIG_DFL) for one in ENDING}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("number", ENDING)
def test_other_signals_to_end_are_taken_for_ctrl_c(number, as_at_the_start, capsys):
    ended_as_by_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    with ctrl_c_asks_to_stop("stopping after this epoch") as asked:
        signal.raise_signal(number)
        assert asked.is_set()
        assert "stopping after this epoch" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_what_is_ignored_stays_so(as_at_the_start):
    """``nohup`` ignores SIGHUP; a shell's background job ignores SIGINT, and SIGTERM ends it nevertheless."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ended_as_by_ctrl_c()
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
