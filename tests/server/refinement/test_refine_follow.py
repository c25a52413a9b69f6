"""Rounds on a scan that arrives: when one is made, and what ends them."""

import threading
from types import SimpleNamespace

import pytest

from ptylive.schema import InputFileError, MetadataError, RefinementError
from ptylive.server.refinement import refine_follow
from ptylive.server.refinement.refine_follow import rounds_until_the_end


class Arriving:
    """Patterns that have arrived, a quarter more with each look."""

    def __init__(self, journal):
        self.journal, self.share = journal, 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self):
        self.share = min(1.0, self.share + 0.25)

    def dataset(self, calibration, values):
        return (calibration, values, self.share)


class Inbox:
    """Messages that come while one waits; after the last one, it is settled."""

    def __init__(self, *messages):
        self.messages, self.known, self.whole, self.problem = list(messages), None, None, ""
        self.stop = threading.Event()

    @property
    def settled(self):
        return self.stop.is_set() or self.whole is not None or bool(self.problem)

    def wait(self, _seconds):
        message = self.messages.pop(0)
        if message in ("stop", "whole, stop"):
            self.stop.set()
        if message in ("whole", "whole, stop"):
            self.whole = SimpleNamespace(calibration="final", values={"b": 2})
        elif message == "problem":
            self.problem = "it was lost"
        elif message not in ("stop", None):
            self.known = message


class Rounds:
    """Rounds from a half on, which may fail."""

    def __init__(self, errors=()):
        self.made, self.errors = [], list(errors)

    def due(self, share):
        return share >= 0.5 and share > (self.made[-1][2] if self.made else 0.0)

    def round(self, dataset, share):
        assert share == dataset[2]
        self.made.append(dataset)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error


def known(calibration):
    return SimpleNamespace(calibration=calibration, values={"a": 1})


@pytest.fixture
def followed(monkeypatch):
    def follow(inbox, rounds, journal="scan.journal", opened=Arriving):
        monkeypatch.setattr(refine_follow, "ArrivingFrames", opened)
        return rounds_until_the_end(SimpleNamespace(journal=journal), inbox, rounds)

    return follow


def test_rounds_are_made_with_what_is_known_and_the_whole_scan_has_the_final_values(followed):
    inbox, rounds = Inbox(known("early"), None, known("late"), "whole"), Rounds()
    dataset = followed(inbox, rounds)
    assert rounds.made[0] == ("early", {"a": 1}, 0.5)
    assert [made[2] for made in rounds.made] == [0.5, 0.75, 1.0]
    assert dataset[:2] == ("final", {"b": 2})


@pytest.mark.parametrize("error", [MetadataError("it needs energy_eV", "give it"), RefinementError("no", "no")])
def test_a_round_that_is_refused_is_not_repeated_until_more_is_known(followed, error):
    first, second = known("without an energy"), known("with it")
    inbox, rounds = Inbox(first, None, None, None, second, "whole"), Rounds([error])
    assert followed(inbox, rounds) is not None
    assert [made[0] for made in rounds.made][:2] == ["without an energy", "with it"]


@pytest.mark.parametrize("last", ["stop", "whole, stop", "problem"])
def test_nothing_is_left_to_refine_after_a_stop_or_a_problem(followed, last):
    assert followed(Inbox(known("early"), last), Rounds()) is None


def gone(_journal):
    raise FileNotFoundError


def empty(_journal):
    raise InputFileError("it holds no frames", "wait")


@pytest.mark.parametrize(("journal", "opened"), [(None, Arriving), ("scan.journal", gone), ("scan.journal", empty)])
def test_without_a_journal_the_recording_is_read_later(followed, journal, opened):
    rounds = Rounds()
    assert followed(Inbox(known("early"), None, "whole"), rounds, journal, opened) is None
    assert rounds.made == []
