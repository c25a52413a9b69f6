"""Data waiting for a disk: bounded, and little of it if the disk responds."""

import time

import pytest

from ptylive.streamer.recording import backlog as backlog_module
from ptylive.streamer.recording.backlog import USUAL_BYTES, Backlog


def test_more_than_all_waits_until_the_disk_has_stopped():
    backlog = Backlog(most_bytes=10, patience_s=0.05)
    backlog.add(9)
    assert backlog.has_room()
    backlog.add(1)
    assert not backlog.has_room()
    backlog.remove(4)
    assert backlog.has_room()
    assert backlog.nbytes == 6


@pytest.mark.parametrize(("waiting", "moved_s_ago", "waits"), [(1, 0.0, 1), (0, 0.0, 0), (1, 1.0, 0)])
def test_a_disk_that_answers_is_given_a_moment(monkeypatch, waiting, moved_s_ago, waits):
    backlog = Backlog()
    backlog.add(USUAL_BYTES + waiting)
    backlog._moved_at = time.monotonic() - moved_s_ago
    monkeypatch.setattr(backlog_module, "ANSWERS_S", 0.5)
    asked = []
    monkeypatch.setattr(backlog._changed, "wait", asked.append)
    assert backlog.has_room()
    assert len(asked) == waits
