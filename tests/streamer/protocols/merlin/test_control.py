"""The control port: requests, interpretation of answers, and one line for everything else."""

import pytest
from dectris_tools import free_port
from merlin_software import KNOWN, software

from ptylive.schema import PtyliveError
from ptylive.streamer.protocols.merlin import control
from ptylive.streamer.protocols.merlin.control import MerlinControl
from ptylive.streamer.protocols.simplon import DetectorError


@pytest.mark.parametrize("counts_comma", [True, False])
def test_values_are_read_and_set(counts_comma: bool) -> None:
    with software(counts_comma=counts_comma) as merlin:
        detector = MerlinControl(merlin.address)
        assert detector.get("COUNTERDEPTH") == "12"
        assert detector.known() == KNOWN
        assert detector.arm(4096, {"acquisitiontime": 1.5, "TRIGGERSTART": 1}) == "1"
        detector.trigger()
        detector.disarm()
        assert merlin.asked[-6:] == [
            "SET,ACQUISITIONTIME,1.5",
            "SET,TRIGGERSTART,1",
            "CMD,STARTACQUISITION",
            "GET,TRIGGERSTART,0",
            "CMD,SOFTTRIGGER",
            "CMD,STOPACQUISITION",
        ]
        assert "SET,NUMFRAMESTOACQUIRE,4096" in merlin.asked


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"MPX,0000000021,GET,COUNTERDEPTH,0,1", "busy"),
        (b"MPX,0000000021,GET,COUNTERDEPTH,0,3", "out of range"),
        (b"MPX,0000000021,GET,COUNTERDEPTH,0,7", "code '7'"),
        (b"MPX,0000000013,GET,SENSOR,0", "the answer is 'GET,SENSOR,0"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the answer is b'HTTP"),
        (b"MPX,9999999999,GET,COUNTERDEPTH,0,1", "the answer is b'MPX"),
        (b"MPX,0000000100,GET", "timed out"),
        (None, "closed"),
    ],
)
def test_answers_that_are_none(answer: bytes | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if told == "timed out":
        monkeypatch.setattr(control, "_ANSWER_TIMEOUT_S", 0.5)
    with software() as merlin:
        merlin.answers["GET,COUNTERDEPTH,0"] = answer
        with pytest.raises(DetectorError) as caught:
            MerlinControl(merlin.address).get("COUNTERDEPTH")
        assert told in caught.value.line()
        assert caught.value.line().startswith(f"{merlin.address}: GET COUNTERDEPTH: ")


def test_a_value_with_commas() -> None:
    with software() as merlin:
        merlin.values["CHIPID"] = "W530_D4,W530_E4"
        assert MerlinControl(merlin.address).get("CHIPID") == "W530_D4,W530_E4"


@pytest.mark.parametrize("value", ["1,2", "1\nCMD,ABORT", "ä"])
def test_values_that_would_be_another_request_are_not_sent(value: str) -> None:
    with software() as merlin:
        with pytest.raises(DetectorError, match="not a name or value"):
            MerlinControl(merlin.address).arm(None, {"FILENAME": value})
        assert merlin.asked == []


def test_a_control_port_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DetectorError, match="no control port of a Merlin detector") as caught:
        MerlinControl(f"tcp://127.0.0.1:{free_port()}").known()
    assert "frames are received without it" in caught.value.line()
    with pytest.raises(PtyliveError, match="is not the address"):
        MerlinControl("http://merlin")
