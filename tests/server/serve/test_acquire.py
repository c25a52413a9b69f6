"""The receiving process: a fault of the system is a line for the person at the terminal."""

import errno
import json
import logging
import os

import pytest

from ptylive.schema import PtyliveError
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve import acquire


@pytest.mark.parametrize(
    ("fault", "said", "logged"),
    [
        (PtyliveError("no scan", "give one"), "no scan: give one", ""),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "the line above says why", "allow more of them (ulimit -n"),
        (OSError(errno.ENOSPC, "full", "/data"), "the line above says why", "/data: full"),
    ],
)
def test_a_fault_is_a_line_and_no_traceback(fault, said, logged, monkeypatch, capsys, caplog):
    def serve(*_):
        raise fault

    monkeypatch.setattr(acquire, "_serve", serve)
    monkeypatch.setattr(acquire, "exit_with_parent", lambda: None)
    monkeypatch.setattr(acquire, "say_unraisable_in_a_line", lambda _: None)
    told = []
    monkeypatch.setattr(acquire, "tell_parent", told.append)
    with caplog.at_level(logging.ERROR):
        assert acquire.main([ServerConfig(dashboard="127.0.0.1:0", record=None).model_dump_json(), ""]) == 1
    assert said in json.loads(told[0])["error"]
    assert logged in caplog.text


def test_threads_share_memory_before_any_is_started(monkeypatch):
    done = []
    for name in ("share_freed_memory", "exit_with_parent"):
        monkeypatch.setattr(acquire, name, lambda name=name: done.append(name))
    monkeypatch.setattr(acquire, "say_unraisable_in_a_line", lambda _: None)
    monkeypatch.setattr(acquire, "_serve", lambda *_: done.append("serves") or 0)
    assert acquire.main([ServerConfig(dashboard="127.0.0.1:0", record=None).model_dump_json(), ""]) == 0
    assert done == ["share_freed_memory", "exit_with_parent", "serves"]
