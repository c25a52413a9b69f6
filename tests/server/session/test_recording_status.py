"""The final status of a recording reaches its scan, whichever of the two comes first."""

from threading import Event
from types import SimpleNamespace

import pytest

from ptylive.server.session import recording_status as module
from ptylive.server.session.recording_status import RecordingStatus
from ptylive.streamer.events import RecordingEvent


def scan(uid="a", ended="complete"):
    told = {"recording": None, "recording_waits": "", "recording_error": "", "recorded": Event()}
    return SimpleNamespace(uid=uid, ended=ended, **told)


def said(state, uid="a", message="", path="/folder/a.h5"):
    return RecordingEvent(uid, state, path, message)


@pytest.mark.parametrize("first", ["the scan", "the word"])
def test_the_scan_is_told_whichever_comes_first(first):
    status, one = RecordingStatus(), scan()
    steps = [lambda: status.follow(one), lambda: status.heard(said("complete"))]
    for step in steps if first == "the scan" else reversed(steps):
        step()
    assert str(one.recording) == "/folder/a.h5"
    assert one.recorded.is_set()


def test_a_scan_that_waits_for_its_folder_is_not_done():
    status, one = RecordingStatus(), scan()
    status.follow(one)
    status.heard(said("waiting", message="the folder does not respond"))
    assert (one.recording_waits, one.recorded.is_set()) == ("the folder does not respond", False)
    status.heard(said("complete"))
    assert (one.recording_waits, one.recorded.is_set()) == ("", True)


def test_failures_are_known_until_a_later_try_succeeds():
    status, one = RecordingStatus(), scan()
    status.follow(one)
    status.heard(said("failed", message="no space left"))
    status.heard(said("failed", uid="b", message="no folder"))
    assert (one.recording_error, one.recorded.is_set(), status.failures) == (
        "no space left",
        True,
        ("no space left", "no folder"),
    )
    status.heard(said("complete"))
    assert status.failures == ("no folder",)


def test_a_finished_scan_hears_nothing_more_and_another_under_its_uid_does():
    status, first, second = RecordingStatus(), scan(), scan()
    status.follow(first)
    status.follow(second)
    status.leave(first)
    status.heard(said("complete"))
    assert (first.recorded.is_set(), second.recorded.is_set()) == (False, True)
    status.leave(second)
    status.heard(said("failed", message="again"))
    assert second.recording_error == ""


def test_words_on_scans_of_long_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    status = RecordingStatus()
    for uid in "abc":
        status.heard(said("complete", uid=uid))
    told = [scan(uid) for uid in "abc"]
    for one in told:
        status.follow(one)
    assert [one.recorded.is_set() for one in told] == [False, True, True]


def test_a_recording_completed_after_it_failed_is_one():
    """Regression: a full disk was cleared and the scan recorded, but it was still refused as not recorded."""
    again = []
    status, one, running = RecordingStatus(again.append), scan(), scan("b", ended=None)
    for each in (one, running):
        status.follow(each)
        status.heard(said("failed", uid=each.uid, message="no space left"))
    status.leave(one)
    for uid in "aab":
        status.heard(said("complete", uid=uid))
    assert [one.recording_error, running.recording_error] == ["", ""]
    assert again == [one], "its maps are written next to the recording; a running scan is finished later anyway"
    status.leave(one)
    status.heard(said("failed", message="again"))
    assert one.recording_error == ""


def test_few_scans_wait_for_room(monkeypatch):
    monkeypatch.setattr(module, "MOST_UNRECORDED", 2)
    status, scans = RecordingStatus(), [scan(uid) for uid in "abc"]
    for each in scans:
        status.follow(each)
        status.heard(said("failed", uid=each.uid, message="no space left"))
        status.leave(each)
        status.heard(said("complete", uid="a"))
    assert [bool(each.recording_error) for each in scans] == [False, True, True]
