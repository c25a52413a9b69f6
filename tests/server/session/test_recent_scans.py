"""Pictures of the last scans, kept in memory."""

import numpy as np
import pytest

from ptylive.schema import CommandError, Detector, Scan, ScanHeader
from ptylive.server.session.recent_scans import RecentScans
from ptylive.server.session.scan_session import ScanSession


def scan(uid: str, side: int = 4) -> ScanSession:
    header = ScanHeader(uid=uid, series=uid, frames=16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8)))
    session = ScanSession(header, None, header, ended="complete")
    session.coverage = np.ones((4, 4), dtype=bool)
    session.pictures["bf"] = {"name": "bf", "data": bytes(4 * side * side), "uid": uid}
    return session


def test_the_newest_scans_are_kept_in_number_and_memory() -> None:
    recent = RecentScans(most_scans=3, most_bytes=1000)
    for number in range(5):
        recent.put(scan(f"scan{number}"))
    assert [one["uid"] for one in recent.list()] == ["scan4", "scan3", "scan2"]
    recent.put(scan("large", side=15))
    assert [one["uid"] for one in recent.list()] == ["large", "scan4"]
    recent.put(scan("huge", side=100))
    assert [one["uid"] for one in recent.list()] == ["huge"], "the last one is always kept"


def test_a_scan_keeps_its_place_and_shows_what_was_shown_last() -> None:
    recent = RecentScans()
    first = scan("first")
    recent.put(first)
    recent.put(scan("second"))
    first.pictures["adf"] = {"name": "adf", "data": b"1234", "uid": "first"}
    assert recent.list()[1]["maps"] == ["bf"]
    recent.put(first)
    assert [one["uid"] for one in recent.list()] == ["second", "first"]
    found = recent.snapshot("first")
    assert {one["name"] for one in found["maps"]} == {"bf", "adf"}
    assert (found["state"]["state"], found["state"]["frames"]) == ("complete", 16)
    with pytest.raises(CommandError, match="not in memory"):
        recent.snapshot("third")
