"""Which scans can be refined while they arrive, and what the refinement is told about them meanwhile."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from stream_tools import make_header

from ptylive.schema import Basis, Calibration, CommandError, Origin, Quantity
from ptylive.server.refinement import scan_updates
from ptylive.server.refinement.scan_updates import ScanNews, check_followable, plain_values


def scan(**changes):
    given = {
        "header": make_header(),
        "recording": "a.h5",
        "recording_error": "",
        "uid": "a",
        "calibration": Calibration(),
    }
    return SimpleNamespace(finished=threading.Event(), **{**given, **changes})


def test_a_recorded_scan_of_frames_can_be_followed():
    check_followable(scan())


def without_shape(header):
    return replace(header, scan=header.scan.model_copy(update={"shape": None}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recording_error": "no space left"}, "which failed: no space left"),
        ({"recording": None}, r"this scan is not recorded.*\s*switch recording on"),  # not: the server begun again
        ({"header": replace(make_header(), basis=Basis(kind="zernike", n_bright=3))}, "only frames can be refined"),
        ({"header": without_shape(make_header())}, "shape of the scan is not known"),
    ],
)
def test_others_are_refused_with_the_reason(changes, words):
    with pytest.raises(CommandError, match=words):
        check_followable(scan(**changes))


def test_a_scan_larger_than_memory_is_refused(monkeypatch):
    monkeypatch.setattr(scan_updates, "STREAMED_PIXELS", 42 * 64)
    with pytest.raises(CommandError, match="does not fit into memory"):
        check_followable(scan())


def test_values_are_plain():
    values = plain_values(make_header())
    assert values["scan_shape"] == [6, 7]
    assert not any(isinstance(value, np.generic | np.ndarray) for value in values.values())


@pytest.fixture
def told(monkeypatch):
    """A listening refinement of scan "a", the messages sent to it, and a way to wait for n of them."""
    monkeypatch.setattr(scan_updates, "INTERVAL_S", 0.001)
    words, heard = [], threading.Semaphore(0)

    def tell(uid, news):
        words.append((uid, news))
        heard.release()

    refinements = SimpleNamespace(busy=True, current=SimpleNamespace(uid="a"), tell=tell)
    return refinements, words, lambda: heard.acquire(timeout=60)


def known(value):
    return Calibration().having(rotation_deg=Quantity(value, Origin.ESTIMATED))


def test_what_becomes_known_is_told_once(told):
    refinements, words, wait = told
    one = scan(calibration=known(1.0))
    news = ScanNews(refinements, one)
    assert wait()
    one.calibration = known(2.0)
    assert wait()
    one.finished.set()
    news._thread.join(60)
    assert [word["calibration"]["rotation_deg"]["value"] for _, word in words] == [1.0, 2.0]


def test_a_recording_that_fails_is_the_last_word(told):
    refinements, words, wait = told
    news = ScanNews(refinements, scan(recording_error="no space left"))
    assert wait()
    news._thread.join(60)
    assert words == [("a", {"problem": "recording failed: no space left"})]


@pytest.mark.parametrize("change", [{"busy": False}, {"current": SimpleNamespace(uid="another")}])
def test_nobody_who_listens_is_told_nothing(told, change):
    refinements, words, _ = told
    vars(refinements).update(change)
    ScanNews(refinements, scan(calibration=known(1.0)))._thread.join(60)
    assert words == []
