"""A scan on the server whose detector has bad pixels that are not listed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches, spoilt

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.imaging.render import Rendering
from ptylive.engine.imaging.virtual_detectors import DetectorBank, VirtualDetector
from ptylive.engine.live.engine import LiveEngine
from ptylive.server.session import scan_session
from ptylive.server.session.finisher import Finisher, save_results
from ptylive.server.session.scan_session import ScanSession

EVERYTHING = VirtualDetector(name="all", center_px=(16, 16), outer_px=40)
ASIDE = VirtualDetector(name="aside", center_px=(28, 28), outer_px=3)


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -60.0}, strength=0.05)


@pytest.fixture
def finished(scan):
    """A scan after its last frame, with its detectors summed on the way."""
    frames, _ = spoilt(scan)
    engine, bank = LiveEngine(scan.header(), methods=("com",)), DetectorBank(scan.header())
    bank.use([EVERYTHING, ASIDE])
    for batch in batches(frames):
        engine.add(batch)
        bank.add(batch)
    engine.finish(lambda: batches(frames))
    return ScanSession(scan.header(), engine, scan.header(), detectors=bank)


def test_values_changed_afterwards_keep_what_was_found(scan, finished) -> None:
    other = replace(scan.header(), optics=scan.header().optics.model_copy(update={"C10": -50.0}))
    finished.remake(other)
    assert finished.header is other, "what was sent and set"
    for header in (finished.engine.header, finished.engine.store.header):
        assert {tuple(place) for place in np.argwhere(bad_pixels(header)).tolist()} == spoilt(scan)[1]
        assert header.optics == other.optics


def test_virtual_detectors_are_summed_again_without_them(scan, finished) -> None:
    frames, where = spoilt(scan)
    aside = finished.detectors.maps(1024)[1].data
    Finisher._fill_detectors(finished, lambda: batches(frames))
    whole, other = finished.detectors.maps(1024)
    for row, col in where:
        frames[:, row, col] = 0
    np.testing.assert_allclose(whole.data.ravel(), frames.sum(axis=(1, 2)), rtol=1e-5)  # single precision
    np.testing.assert_array_equal(other.data, aside)


def test_detectors_alone_are_no_results_before_there_are_maps(scan, tmp_path) -> None:
    """Regression: `save` wrote them without a visited point in the first moments, and `report` found nothing there."""
    engine, bank = LiveEngine(scan.header()), DetectorBank(scan.header())
    bank.use([EVERYTHING])
    first = next(iter(batches(scan.patterns[:2].astype(np.float32))))
    engine.add(first)
    bank.add(first)
    begun = ScanSession(scan.header(), engine, scan.header(), detectors=bank, recording=tmp_path / "a.h5")
    assert [payload["name"] for payload in begun.take_detectors()] == ["vd_all"]
    begun.take(engine.refresh(engine.live_methods), others_stay=True)
    assert save_results(begun, "test") is None
    assert not list(tmp_path.iterdir())


def test_a_scan_that_could_not_be_reduced_has_no_points_to_fill(scan) -> None:
    bank = DetectorBank(scan.header())
    bank.use([EVERYTHING])
    unread = ScanSession(scan.header(), None, scan.header(), detectors=bank)
    Finisher._fill_detectors(unread, lambda: batches(scan.patterns))
    assert bank.maps(1024) == []


def test_without_a_recording_they_keep_what_they_have(finished) -> None:
    before = finished.detectors.maps(1024)[0].data
    Finisher._fill_detectors(finished, None)
    np.testing.assert_array_equal(finished.detectors.maps(1024)[0].data, before)


def test_remarks_are_looked_for_once_a_refresh_and_for_other_values(scan, finished, monkeypatch) -> None:
    """The message is requested four times a second; a large pattern takes tens of milliseconds."""
    looked = []
    monkeypatch.setattr(scan_session, "remarks", lambda *of: looked.append(of) or [f"remark {len(looked)}"])
    assert [finished.message for _ in range(3)] == ["remark 1"] * 3
    finished.take(Rendering())
    assert [finished.message for _ in range(3)] == ["remark 2"] * 3
    finished.remake(replace(scan.header(), optics=scan.header().optics.model_copy(update={"C10": -50.0})))
    assert finished.message == "remark 3"


def test_negative_counts_are_told_while_the_scan_is_live(scan) -> None:
    """Regression: patterns with an offset of -3 had phases of 1e14 rad, and only `reconstruct` said why."""
    engine = LiveEngine(scan.header(), methods=("com",))
    for batch in batches(scan.patterns.astype(np.float32) - 1e3):
        engine.add(batch)
    assert "of the mean pattern hold negative counts" in ScanSession(scan.header(), engine, scan.header()).message


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({}, "off"),
        ({"recording": Path("a.h5")}, "writing"),
        ({"recording": Path("a.h5"), "recording_waits": "the folder does not respond"}, "waiting"),
        ({"recording": None, "recording_waits": "the folder does not respond"}, "waiting"),
        ({"recording": Path("a.h5"), "recording_error": "the disk is full"}, "failed"),
    ],
)
def test_its_status_says_how_its_recording_is(scan, known, state) -> None:
    """Regression: one that waits was said to be off, one that is being written to be complete."""
    session = ScanSession(scan.header(), LiveEngine(scan.header(), methods=("com",)), scan.header())
    vars(session).update(known)
    assert session.status()["recording_state"] == state
    session.recorded.set()
    if state == "writing":
        assert session.status()["recording_state"] == "complete"
