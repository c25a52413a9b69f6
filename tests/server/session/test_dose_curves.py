"""What listeners are told about the dose of a scan, and about its place."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from repeated_maps import place, scanned

from ptylive.engine.imaging.render import Rendering
from ptylive.schema import Detector, Scan, ScanHeader
from ptylive.schema.advice.dose_curve import DoseCurve, Verdict
from ptylive.server.session.dose_curves import DoseCurves, drift_since_first, publish_dose_so_far
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.messages import TOPICS, pack, unpack


@pytest.fixture
def publisher():
    sent, said = [], []
    return SimpleNamespace(sent=sent, said=said, publish=lambda *e: sent.append(e), log=lambda *line: said.append(line))


def session(number, field, shift=(0, 0)):
    header = ScanHeader(
        f"u{number}", f"s{number}", 4096, Scan(shape=(64, 64), step_A=(0.5, 0.5)), detector=Detector(shape=(8, 8))
    )
    one = ScanSession(header, None, header)
    one.rendering = Rendering([scanned(field, shift, 1.0, number).live_map])
    one.coverage = np.ones((64, 64), dtype=bool)
    return one


def test_scans_of_one_place_are_added_up_and_told(publisher):
    curves, scans = DoseCurves(publisher), [session(k, place(1), (k, 0)) for k in range(3)]
    for scan in scans:
        curves.take(scan)
    assert [topic for topic, _ in publisher.sent] == ["dose"] * 3
    assert "dose" in TOPICS
    event = unpack(pack(publisher.sent[-1][1]))
    assert (event["uid"], event["frames"], event["final"]) == ("u2", 4096, True)
    assert event["series"] == ["s0", "s1", "s2"]
    assert DoseCurve.from_plain(event).verdict is Verdict.STEADY
    assert scans[2].dose == {"curve": scans[2].dose_curve}, "part of status"
    assert [line for _, line in publisher.said] == [f"dose: {event['line']}" for _, event in publisher.sent[1:]]


def test_another_place_is_said(publisher):
    curves = DoseCurves(publisher)
    for scan in (session(1, place(1)), session(2, place(2))):
        curves.take(scan)
    assert "another place" in publisher.said[0][1]
    assert publisher.sent[-1][1]["series"] == ["s2"]


def test_a_scan_that_comes_is_told_by_itself_where_it_changed(publisher):
    scan = session(1, place(1))
    for _ in range(2):
        publish_dose_so_far(publisher, scan)
    [(_, event)] = publisher.sent
    assert (event["final"], event["verdict"]) == (False, "one scan")


def test_what_shows_nothing_is_not_added(publisher):
    curves, buried = DoseCurves(publisher), session(2, place(1))
    buried.rendering = Rendering([replace(buried.rendering.maps[0], buried=True)])
    curves.take(buried)
    assert buried.dose_curve is None
    publish_dose_so_far(publisher, buried)
    assert publisher.sent == []


def test_what_was_opened_is_told_by_itself_and_not_added(publisher):
    curves, opened, new = DoseCurves(publisher), session(1, place(1)), session(2, place(1))
    opened.stored = opened.calibration
    for scan in (opened, new):
        curves.take(scan)
    assert [(event["series"], event["final"]) for _, event in publisher.sent] == [(["s1"], True), (["s2"], True)]


def test_the_drift_of_a_place_is_that_from_its_first_scan_and_its_bound_a_tenth_of_the_field(publisher):
    curves, scans = DoseCurves(publisher), [session(k, place(1), (2 * k, 0)) for k in range(3)]
    for scan in scans:
        curves.take(scan)
    assert drift_since_first(scans[0], None) is None, "scanned once"
    found = drift_since_first(scans[2], None)
    assert found == {"A": pytest.approx(2.0, abs=0.1), "bound_A": pytest.approx(3.2), "since": "s0"}
    assert drift_since_first(scans[2], 1.5)["bound_A"] == 1.5
    assert drift_since_first(None, 1.5) is None
