"""Ctrl-C as a request: the first is noted, the second interrupts, and afterwards it is what it was."""

import signal
import threading

import pytest

from ptylive.server.cli.interrupt import ctrl_c_asks_to_stop


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
