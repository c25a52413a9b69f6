"""``ptylive advise`` on the command line; with a real server it runs in tests/server/test_scan_to_results.py."""

import json
from contextlib import contextmanager

import pytest
from running import ptylive_here

from ptylive.schema import Calibration, Origin, Quantity, ServerGoneError
from ptylive.schema.advice import advise
from ptylive.server.cli.commands.advise import command
from ptylive.server.process.exit_codes import ExitCode


class FakeClient:
    """Answers `status` with the entries of ``answers`` in turn, then always with the last."""

    def __init__(self, answers):
        self.answers = list(answers)

    def call(self, _command):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def status(c10):
    found = Calibration({"C10": Quantity(c10, Origin.ESTIMATED, 11.0)})
    return {"series": "grain", "uid": "a", "calibration": found.to_plain()}


def event(c10):
    told = status(c10)
    return "calibration", {**told, "advice": advise(Calibration.from_plain(told["calibration"])).to_plain()}


@pytest.fixture
def heard(monkeypatch):
    """Make a server emit these events and answers."""

    def say(answers, events):
        @contextmanager
        def client(*_arguments, **_options):
            yield FakeClient(answers)

        class Events:
            def next(self, _timeout_s):
                return events.pop(0) if events else None

        @contextmanager
        def stream(*_arguments, **_options):
            yield Events()

        monkeypatch.setattr(command, "ControlClient", client)
        monkeypatch.setattr(command, "EventStream", stream)

    return say


def test_following_prints_what_changes_until_the_server_has_gone(heard, capsys):
    gone = ServerGoneError("no server answers")
    heard([status(145.0), status(160.0), gone], [event(145.0), event(150.0), ("calibration", {"uid": "odd"}), None])
    with pytest.raises(ServerGoneError):
        command.advise(follow=True)
    out = capsys.readouterr().out.splitlines()
    assert all(line.endswith("; ±: one standard deviation") for line in out)
    lines = [line.partition(";")[0] for line in out]
    assert lines == [
        "grain: defocus −145 ± 11 Å: focus up 14.5 nm",
        "grain: defocus −150 ± 11 Å: focus up 15.0 nm",
        "grain: defocus −160 ± 11 Å: focus up 16.0 nm",
    ]


def test_following_prints_a_json_line_each(heard, capsys):
    heard([status(145.0), ServerGoneError("gone")], [event(150.0)])
    with pytest.raises(ServerGoneError):
        command.advise(follow=True, as_json=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["correction"] for one in told] == [{"C10": -145.0}, {"C10": -150.0}]


def test_a_server_that_cannot_be_understood_is_one_line(heard):
    heard([{"uid": "a", "calibration": {"C10": {"value": 3.0, "origin": "guessed"}}}], [])
    with pytest.raises(ServerGoneError, match="calibration cannot be read"):
        command.advise()


def test_before_the_first_scan_there_is_nothing_to_tell(heard, capsys):
    heard([{"series": "", "uid": "", "state": "waiting"}], [])
    command.advise()
    assert capsys.readouterr().out == "no scan yet\n"


def test_without_a_server_it_fails_with_a_line():
    done = ptylive_here("advise", "--control", "tcp://127.0.0.1:1")
    assert done.returncode == ExitCode.FAILED
    assert "no server answers" in done.stderr
