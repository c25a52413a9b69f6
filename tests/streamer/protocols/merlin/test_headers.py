"""Headers as Merlin's versions write them; missing fields; impossible fields."""

import pytest
from merlin_tools import acquisition_header, counts, frame, frame_header
from shared_data import vendor_file

from ptylive.schema import WireError
from ptylive.streamer.protocols.merlin.headers import exposed_at, parse_acquisition_header, parse_frame_header

OLD = (
    b"MQ1,000007,00384,01,0256,0128,U16,   1x1,01,2013-07-30 12:29:54,0.010000,0,0,0,5.000000E+0,5.110000E+2,"
    b"0.000000E+0,3RX,011,511,000,"
)
QUAD = (
    b"MQ1,000001,00768,04,1024,0256,R64,  2x2G,0F,2024-04-25 15:50:41.049778,0.000309,0,0,0,3.400000E+1,5.110000E+2,"
    b"0.000000E+0,0.000000E+0,0.000000E+0,0.000000E+0,0.000000E+0,0.000000E+0,3RX,051,511,000,000,3RX,054,511,000,000,"
    b"MQ1A,2024-04-25T13:50:41.049778723Z,309200ns,6,\n"
)


def test_a_frame_of_four_chips() -> None:
    header = parse_frame_header(memoryview(QUAD.ljust(768, b"\0") + bytes(100)))
    assert (header.number, header.data_offset, header.chips, header.shape) == (0, 768, 4, (256, 1024))
    assert (header.pixels, header.layout, header.counter_depth) == ("R64", "2x2G", 6)
    assert (header.time, header.threshold_keV) == ("2024-04-25T13:50:41.049778723Z", 34.0)
    assert header.exposure_s == pytest.approx(309.2e-6, rel=1e-12)


def test_a_frame_of_a_version_without_extension() -> None:
    header = parse_frame_header(memoryview(OLD.ljust(384)))
    assert (header.number, header.shape, header.time) == (6, (128, 256), "2013-07-30 12:29:54")
    assert (header.exposure_s, header.counter_depth) == (0.01, None)


def test_a_frame_that_says_only_what_must_be_said() -> None:
    header = parse_frame_header(memoryview(b"MQ1,000001,00060,01,0016,0008,U08,   1x1,01,,".ljust(60)))
    assert (header.shape, header.time, header.exposure_s, header.threshold_keV) == ((8, 16), "", None, None)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b"000001,", b"-00001,", "sequence number"),
        (b"000001,", b"1e6,", "sequence number"),
        (b"000001,", b"12345678901,", "sequence number"),
        (b"00384", b"99999", "data offset"),
        (b"00384", b"00015", "data offset"),
        (b",01,0016", b",00,0016", "chips"),
        (b"0016,0012", b"0016,0000", "height"),
        (b"0016,0012", b"00x6,0012", "width"),
        (b"0016,0012", "\u0661,0012".encode(), "width"),
    ],
)
def test_a_field_that_cannot_be_is_named(old: bytes, new: bytes, named: str) -> None:
    message = frame(1, "U16", counts((12, 16), 12)[0])
    assert old in message
    with pytest.raises(WireError, match=named) as caught:
        parse_frame_header(memoryview(message.replace(old, new, 1)))
    assert caught.value.reason == "bad_image"


@pytest.mark.parametrize("length", [4, 20, 50])
def test_half_a_header(length: int) -> None:
    with pytest.raises(WireError) as caught:
        parse_frame_header(memoryview(frame_header(1, "U16", (12, 16))[:length]))
    assert caught.value.reason == "bad_image"


def test_an_acquisition_header_is_parsed() -> None:
    header = parse_acquisition_header(memoryview(acquisition_header(580, 12, ScanX=28, ScanY=20)))
    assert (header.frames, header.frames_per_trigger, header.scan_shape) == (580, 580, (20, 28))
    assert (header.counter_depth, header.corrected, header.gap_filled) == (12, False, False)
    assert header.values["Sensor Bias (V)"] == "120 V, 3 µA"


def test_an_acquisition_without_end_and_with_corrections() -> None:
    said = acquisition_header(0, 7, per_trigger="x").replace(b"Fill Mode:\tNone", b"Fill Mode:\tDistribute")
    header = parse_acquisition_header(memoryview(said))
    assert (header.frames, header.frames_per_trigger, header.counter_depth) == (None, None, None)
    assert (header.corrected, header.gap_filled) == (True, True)
    flat = acquisition_header(4).replace(b"Flat Field File:\tNone", b"Flat Field File:\tC:\\flat.mib")
    header = parse_acquisition_header(memoryview(flat))
    assert (header.corrected, header.gap_filled) == (True, False)


def test_what_stands_behind_the_end_says_nothing() -> None:
    header = parse_acquisition_header(memoryview(b"HDR,\t\nno value\nEnd\t   \nFrames in Acquisition (Number):\t7\n"))
    assert (header.frames, header.values) == (None, {})


def test_an_absurdly_long_acquisition_header() -> None:
    with pytest.raises(WireError) as caught:
        parse_acquisition_header(memoryview(b"HDR,".ljust(2**16 + 1)))
    assert caught.value.reason == "oversized"


def test_headers_of_a_vendor_sample() -> None:
    header = parse_acquisition_header(memoryview(vendor_file("001_4x2_6bit.hdr").read_bytes()))
    assert (header.frames, header.frames_per_trigger, header.counter_depth) == (8, 1, 6)
    assert header.values["Software Version"] == "0.76.1.101"
    assert not header.corrected
    first = parse_frame_header(memoryview(vendor_file("001_4x2_6bit.mib").read_bytes()))
    assert (first.number, first.shape, first.pixels, first.counter_depth) == (0, (256, 256), "U08", 6)
    assert (first.exposure_s, first.threshold_keV) == (0.1, 40.0)


@pytest.mark.parametrize(
    "change",
    [
        (b"", b""),
        (b"MQ1A,", b"MQ1B,"),
        (b"MQ1A,2", b"MQ1A,   2"),
        (b"MQ1A,2026-11-23T12:00:00", b"MQ1A,"),
        (b",MQ1A", b""),
    ],
)
def test_when_a_frame_was_exposed_is_read_by_itself_as_with_the_rest(change: tuple[bytes, bytes]) -> None:
    message = frame(3, "U16", counts((12, 16), 12)[0]).replace(*change)
    header = parse_frame_header(message)
    assert exposed_at(message, header.data_offset) == header.time
