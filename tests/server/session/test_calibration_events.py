"""What listeners are told about a calibration, and when."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.schema import Calibration, Detector, Origin, Quantity, Scan, ScanHeader
from ptylive.schema.advice import Advice, advise
from ptylive.schema.metadata import overlay
from ptylive.server.session.calibration_events import publish_calibration
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.messages import TOPICS, pack, unpack


@pytest.fixture
def scan():
    header = ScanHeader(uid="a", series="grain", frames=16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8)))
    one = ScanSession(header, None, header)
    one.coverage = np.ones((4, 4), dtype=bool)
    return one


@pytest.fixture
def publisher():
    sent = []
    said = []
    return SimpleNamespace(
        sent=sent, publish=lambda *event: sent.append(event), said=said, log=lambda *line: said.append(line)
    )


def fitted(c10):
    return Calibration({"C10": Quantity(c10, Origin.ESTIMATED, 11.0), "rotation_deg": Quantity(3.0, Origin.GIVEN)})


def test_every_fit_is_told_once(scan, publisher):
    scan.header = overlay(scan.header, {"defocus_A": 14.0, "detector_transform": "none"})
    scan.estimating = (("rotation_deg",), scan.calibration)
    publish_calibration(publisher, scan)
    assert not publisher.sent, "nothing but what was given is known yet"
    assert not publisher.said, "the fit is still to come"
    for c10 in (145.0, 145.0, 150.0, 150.0):
        scan.stored = fitted(c10)
        publish_calibration(publisher, scan)
    assert [event["calibration"]["C10"]["value"] for _, event in publisher.sent] == [145.0, 150.0]


def test_the_fit_on_everything_is_always_told(scan, publisher):
    scan.stored = fitted(145.0)
    for final in (False, True, True, False):
        publish_calibration(publisher, scan, final=final)
    assert [event["final"] for _, event in publisher.sent] == [False, True, True]


def test_what_a_refinement_found_is_told_beside_it(scan, publisher):
    scan.stored = fitted(145.0)
    publish_calibration(publisher, scan)
    drift = {"value": [1.5, -0.5], "origin": "estimated", "uncertainty": [0.2, 0.1]}
    publish_calibration(publisher, scan, final=True, refined={"run": "run1", "drift_A": drift})
    assert [event["refined"] for _, event in publisher.sent] == [{}, {"run": "run1", "drift_A": drift}]
    assert publisher.sent[1][1]["calibration"] == publisher.sent[0][1]["calibration"]


def test_the_event_says_value_origin_uncertainty_and_advice(scan, publisher):
    scan.stored = fitted(145.0)
    publish_calibration(publisher, scan, final=True)
    [(topic, event)] = publisher.sent
    assert topic in TOPICS
    event = unpack(pack(event))
    assert (event["uid"], event["series"], event["frames"], event["final"]) == ("a", "grain", 16, True)
    assert event["calibration"]["C10"] == {"value": 145.0, "origin": "estimated", "uncertainty": 11.0}
    assert event["calibration"]["rotation_deg"] == {"value": 3.0, "origin": "given", "uncertainty": None}
    assert Advice.from_plain(event["advice"]) == advise(scan.stored)
    assert event["advice"]["line"].startswith("defocus −145 ± 11 Å: focus up 14.5 nm")


def test_what_was_to_be_estimated_and_is_not_is_told_once_after_the_fit(scan, publisher):
    before = scan.stored = fitted(145.0).having(detector_transform=Quantity("none", Origin.DEFAULT))
    scan.estimating = (("C10", "beam_center_px"), before)
    publish_calibration(publisher, scan)
    assert not publisher.said, "the fit is still to come"
    scan.stored = fitted(150.0)
    publish_calibration(publisher, scan)
    assert not publisher.said, "the disc was found, but nothing was fitted"
    scan.stored = fitted(145.0).having(detector_transform=Quantity("none", Origin.DEFAULT))
    for _ in range(2):
        publish_calibration(publisher, scan)
    why = "the mean pattern shows no bright disc, and the middle of the detector is assumed"
    assert publisher.said == [("warning", f"scan grain: beam centre could not be estimated: {why}")]


def test_after_the_last_fit_it_is_told_in_any_case(scan, publisher):
    scan.stored = fitted(145.0)
    scan.estimating = (("descan_px",), scan.stored)
    publish_calibration(publisher, scan, final=True)
    ((level, line),) = publisher.said
    assert level == "warning" and "descan could not be estimated: the patterns move no more" in line
