"""A scan sent before the recordings are listed: it waits, is recognised once they are, and never stops the stream."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stream_tools import (
    Running,
    connected,
    digests_of_file,
    make_frames,
    messages_of,
    running,
    send,
    stored_recording,
)
from two_senders import AGAIN, FIRST, HEADER, ONE, SECOND, TWO, digests, recorded

from ptylive.streamer.events import LogEvent
from ptylive.streamer.recording import catalogue, earlier_runs
from ptylive.streamer.recording.catalogue import Catalogue
from ptylive.streamer.tracking import held
from ptylive.streamer.wire import ArmMessage, EndMessage, PingMessage

OTHER = replace(HEADER, uid="other", series="else")


@pytest.fixture
def may_list(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No recording is read before this event; the start does not wait for it."""
    monkeypatch.setattr(earlier_runs, "CATALOGUE_S", 0.0)
    read, event = Catalogue._read, threading.Event()

    def when_allowed(listed: Catalogue, *arguments: Any) -> Any:
        assert event.wait(60)
        return read(listed, *arguments)

    monkeypatch.setattr(Catalogue, "_read", when_allowed)
    yield event
    event.set()


def said(run: Running, words: str) -> bool:
    return any(isinstance(event, LogEvent) and words in event.text for event in run.events)


def test_a_scan_sent_again_before_the_recordings_are_listed_is_recognised(
    tmp_path: Path, may_list: threading.Event
) -> None:
    stored_recording(tmp_path, HEADER, FIRST)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE, EndMessage(HEADER.uid, 42, "complete"))
        run.wait(lambda: said(run, "waits until recordings of its name have been read"))
        may_list.set()
        run.wait(lambda: run.receiver.status().duplicates == 42)
        assert run.receiver.safe_ranges(HEADER.uid) == [(0, 42)]
        assert run.items == []
    (recording,) = tmp_path.iterdir()
    assert digests_of_file(recording) == digests(FIRST)


def test_the_rest_of_an_unfinished_one_continues_its_recording(tmp_path: Path, may_list: threading.Event) -> None:
    stored_recording(tmp_path, HEADER, FIRST, missing=slice(7, None))
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, PingMessage(HEADER.uid, HEADER), *ONE[1:])
        run.wait(lambda: said(run, "waits until recordings of its name have been read"))
        may_list.set()
        run.wait_for_whole(HEADER.uid)
    assert recorded(tmp_path) == {HEADER.uid: digests(FIRST)}


def test_other_data_under_its_uid_is_another_scan(tmp_path: Path, may_list: threading.Event) -> None:
    stored_recording(tmp_path, HEADER, FIRST)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *TWO)
        run.wait(lambda: said(run, "waits until recordings of its name have been read"))
        may_list.set()
        run.wait_for_whole(AGAIN)
    assert recorded(tmp_path) == {HEADER.uid: digests(FIRST), AGAIN: digests(SECOND)}


def test_a_scan_of_another_name_does_not_wait(tmp_path: Path, may_list: threading.Event) -> None:
    stored_recording(tmp_path, HEADER, FIRST)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        send(socket, ArmMessage(OTHER), *messages_of(OTHER, make_frames(OTHER)))
        run.wait_for_whole(OTHER.uid)
        assert not may_list.is_set()
        may_list.set()
        run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, 42)])
    assert recorded(tmp_path)[HEADER.uid] == digests(FIRST)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("ends", [False, True], ids=["no room", "the server ends"])
def test_what_waits_is_recorded_if_it_cannot_wait_longer(
    tmp_path: Path, may_list: threading.Event, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """Rather twice than not at all."""
    stored_recording(tmp_path, HEADER, FIRST)
    if not ends:
        monkeypatch.setattr(held, "MOST_BYTES", 5000)
        monkeypatch.setattr(held.HeldMessages.__init__, "__defaults__", (5000,))
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        run.wait(lambda: said(run, "waits until"))
        if not ends:
            run.wait_for_whole(HEADER.uid)
            assert said(run, "is still being read: a scan sent again may count as new")
        else:
            waiting = run.receiver._acquisition._known.held
            run.wait(lambda: len(waiting._messages.get(HEADER.uid, ())) == 1 + len(ONE))
    paths = set(tmp_path.glob("*.h5"))
    assert len(paths) == 2
    assert all(digests_of_file(path) == digests(FIRST) for path in paths)


def test_a_folder_that_yields_nothing_is_not_waited_for(
    tmp_path: Path, may_list: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "SILENT_S", 0.0)
    stored_recording(tmp_path, HEADER, FIRST)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        run.wait_for_whole(HEADER.uid)
        assert not may_list.is_set()
