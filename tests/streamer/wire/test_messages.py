"""The native stream's messages: what is sent arrives unchanged, and faulty messages are refused with a reason."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_tools import make_frames, make_header, messages_of

from ptylive.schema import Basis, Detector, Optics, Scan, ScanHeader, WireError
from ptylive.schema.metadata import questions
from ptylive.streamer.wire import (
    ArmMessage,
    EndMessage,
    FrameLayout,
    FramesMessage,
    PingMessage,
    check_size,
    decode,
    decode_frames,
    encode,
    runs_of,
)
from ptylive.streamer.wire.arrays import decode_array
from ptylive.streamer.wire.limits import MAX_FRAMES, MAX_HEADER_BYTES, MAX_PART_BYTES, MAX_PARTS


def changed(scan_header: ScanHeader, **fields: Any) -> list[Any]:
    """The parts of an arm message with some fields of its map replaced."""
    header, *parts = encode(ArmMessage(scan_header))
    return [msgpack.packb({**msgpack.unpackb(header), **fields}), *parts]


def refusal(parts: list[Any]) -> str:
    with pytest.raises(WireError) as caught:
        decode(parts)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def full_header() -> ScanHeader:
    scan_header = make_header()
    arrays = {
        "bad_pixel_mask": np.eye(8, dtype=bool),
        "vacuum_pattern": np.ones((8, 8), np.float32),
        "positions_A": np.zeros((42, 2)),
    }
    detector = Detector(shape=(8, 8), dtype="<u4", transform="transpose+flip_rows", transform_given=True)
    return ScanHeader(scan_header.uid, "a series", 42, scan_header.scan, scan_header.optics, detector, Basis(), arrays)


def test_what_a_sender_says_besides_comes_along_and_refuses_nothing() -> None:
    scan_header = replace(make_header(), sent={"microscope": "Titan\nHAADF in"})
    got = decode(encode(ArmMessage(scan_header)))
    assert isinstance(got, ArmMessage)
    assert got.header.sent == scan_header.sent
    for odd in ("no map", ["a"], {"n": 1}, None):
        got = decode(changed(scan_header, sent=odd))
        assert isinstance(got, ArmMessage)
        assert (got.header.sent, got.problems) == ({}, ())


def test_arm_comes_back_as_it_was_sent() -> None:
    scan_header = full_header()
    message = decode(encode(ArmMessage(scan_header)))
    assert isinstance(message, ArmMessage)
    assert message.problems == ()
    got = message.header
    assert (got.uid, got.series, got.frames) == (scan_header.uid, scan_header.series, scan_header.frames)
    assert (got.scan, got.optics, got.detector, got.basis) == (
        scan_header.scan,
        scan_header.optics,
        scan_header.detector,
        scan_header.basis,
    )
    assert got.arrays.keys() == scan_header.arrays.keys()
    for name, array in scan_header.arrays.items():
        np.testing.assert_array_equal(got.arrays[name], array)


def test_an_arm_that_knows_next_to_nothing_is_accepted() -> None:
    scan_header = ScanHeader("u", "", 9, Scan(), detector=Detector(shape=(4, 4)))
    message = decode(encode(ArmMessage(scan_header)))
    assert isinstance(message, ArmMessage)
    assert message.header.scan.shape is None
    assert message.header.optics == Optics()


def test_frames_end_and_ping_come_back() -> None:
    scan_header = make_header()
    for message in (
        *messages_of(scan_header, make_frames(scan_header)),
        EndMessage(scan_header.uid, 42, "aborted"),
        PingMessage(scan_header.uid),
    ):
        assert decode(encode(message)) == message
        assert decode(encode(replace(message, sender=2**63 - 1))) == replace(message, sender=2**63 - 1)
    ping = decode(encode(PingMessage(scan_header.uid, scan_header)))
    assert isinstance(ping, PingMessage)
    assert ping.header is not None
    assert ping.header.scan == scan_header.scan


def test_an_arm_message_and_a_ping_with_one_say_who_sends() -> None:
    header = make_header()
    for message in (ArmMessage(header, sender=1001), PingMessage(header.uid, header, sender=1001)):
        came = decode(encode(message))
        assert isinstance(came, type(message))
        assert came.sender == 1001
        assert came.header is not None


@pytest.mark.parametrize("number", [-1, 2**63, 1.5, "me", None])
@pytest.mark.parametrize("kind", ["arm", "frames", "end", "ping"])
def test_a_sender_is_a_number(kind: str, number: Any) -> None:
    header = {
        "type": kind,
        "uid": "u",
        "version": 1,
        "first": 0,
        "count": 1,
        "frames": 1,
        "detector": {"shape": [1, 1]},
    }
    decode([msgpack.packb({**header, "sender": 1}), bytes(2)])
    assert refusal([msgpack.packb({**header, "sender": number}), bytes(2)]) == f"bad_{kind}"


def test_unknown_keys_are_ignored() -> None:
    scan_header = make_header()
    message = decode(changed(scan_header, colour="red", scan={"shape": [6, 7], "mood": 3}))
    assert isinstance(message, ArmMessage)
    assert message.header.scan.shape == (6, 7)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 2}, "unknown_version"),
        ({"version": None}, "unknown_version"),
        ({"type": "hello"}, "unknown_type"),
        ({"uid": "../../etc"}, "bad_arm"),
        ({"uid": "x" * 1000}, "bad_arm"),
        ({"frames": 0}, "bad_arm"),
        ({"frames": 2**40}, "bad_arm"),
        ({"frames": "42"}, "bad_arm"),
        ({"scan": {"shape": [0, 7]}}, "impossible_value"),
        ({"scan": {"shape": [-1, -1]}}, "impossible_value"),
        ({"scan": {"shape": [2**20, 2**20]}}, "impossible_value"),
        ({"scan": {"shape": {"a": 1}}}, "impossible_value"),
        ({"scan": {"shape": [64, 64], "repeats": 2**40}}, "impossible_value"),
        ({"scan": []}, "bad_arm"),
        ({"detector": {"dtype": "<u2"}}, "bad_arm"),
        ({"detector": {"shape": [8, 10**9]}}, "impossible_value"),
        ({"detector": {"shape": [8192, 8192], "dtype": "<u4"}}, "impossible_value"),
        ({"detector": {"shape": [8, 8], "dtype": "O"}}, "impossible_value"),
        ({"detector": {"shape": [8, 8], "dtype": "nonsense"}}, "impossible_value"),
        ({"basis": {"kind": "zernike", "n_bright": 0}}, "impossible_value"),
        ({"basis": {"kind": "zernike", "n_bright": 45, "n_dark": 1}}, "missing_part"),
    ],
)
def test_an_impossible_arm_is_refused_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    assert refusal(changed(make_header(), **fields)) == reason


@pytest.mark.parametrize(("announced", "frames"), [(20, 42), (41, 42), (42, 42), (50, 50)])
def test_there_is_room_for_all_points_of_a_scan(announced: int, frames: int) -> None:
    """Regression: 200 frames announced for 16 x 16 points were received, and never recorded."""
    message = decode(changed(make_header(), frames=announced))
    assert isinstance(message, ArmMessage)
    assert message.header.frames == frames
    said = [str(problem) for problem in message.problems]
    assert len(said) == (announced < 42)
    assert all(text.startswith(f"arm message: {announced} frames are too few for scan.shape 6 x 7") for text in said)


def test_impossible_optics_are_left_out_and_reported() -> None:
    message = decode(changed(make_header(), optics={"energy_eV": -5.0, "convergence_semiangle_mrad": 20.0}))
    assert isinstance(message, ArmMessage)
    assert message.header.optics.energy_eV is None
    assert message.header.optics.convergence_semiangle_mrad == 20.0
    assert [problem.reason for problem in message.problems] == ["impossible_value"]
    assert "energy_eV" in str(message.problems[0])


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("optics", "energy_eV", 1e300),
        ("optics", "energy_eV", "eighty"),
        ("optics", "C10", 1e30),
        ("scan", "step_A", -1),
        ("scan", "step_A", [0.0, 0.1]),
        ("scan", "rotation_deg", 1e9),
        ("scan", "dwell_time_us", 0),
        ("detector", "pixel_mrad", 1e9),
        ("detector", "beam_center_px", [1e12, 0]),
        ("detector", "transform", "sideways"),
    ],
)
def test_no_impossible_value_refuses_a_stream(section: str, key: str, value: Any) -> None:
    scan_header = make_header()
    told = getattr(scan_header, section).model_dump(exclude_none=True)
    message = decode(changed(scan_header, **{section: {**told, key: value}}))
    assert isinstance(message, ArmMessage)
    assert message.header.detector_shape == scan_header.detector_shape
    assert message.header.scan.shape == scan_header.scan.shape
    assert [problem.reason for problem in message.problems] == ["impossible_value"]
    assert key in str(message.problems[0])


def test_unusual_values_of_a_header_are_taken_with_their_question() -> None:
    message = decode(changed(make_header(), optics={"energy_eV": 80, "convergence_semiangle_mrad": "30 mrad"}))
    assert isinstance(message, ArmMessage)
    assert message.problems == ()
    assert message.header.optics.energy_eV == 80
    assert message.header.optics.convergence_semiangle_mrad == 30
    assert questions(message.header) == ("energy_eV = 80 eV? did you mean 80 keV?",)


@pytest.mark.parametrize(
    "part",
    [
        msgpack.packb({"shape": [8, 9], "dtype": "|b1", "data": bytes(72)}),
        msgpack.packb({"shape": [8, 8], "dtype": "|b1", "data": bytes(63)}),
        msgpack.packb({"shape": [2**30, 2**30], "dtype": "<f8", "data": b""}),
        msgpack.packb({"shape": [8, 8], "dtype": "|O8", "data": bytes(64)}),
        b"\xc1",
    ],
)
def test_a_faulty_array_is_left_out_and_reported(part: bytes) -> None:
    scan_header = make_header()
    header, _ = changed(scan_header, parts=["bad_pixel_mask"]), None
    message = decode([*header, part])
    assert isinstance(message, ArmMessage)
    assert "bad_pixel_mask" not in message.header.arrays
    assert len(message.problems) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"first": -1}, "bad_frames"),
        ({"count": 0}, "bad_frames"),
        ({"count": 10**6}, "bad_frames"),
        ({"codec": "gzip"}, "bad_frames"),
        ({"uid": 7}, "bad_frames"),
        ({"first": 1.5}, "bad_frames"),
    ],
)
def test_an_impossible_frames_header_is_refused(fields: dict[str, Any], reason: str) -> None:
    header = {"type": "frames", "uid": "u", "seq": 0, "first": 0, "count": 1, "codec": "none"}
    assert refusal([msgpack.packb({**header, **fields}), b""]) == reason


@pytest.mark.parametrize(
    "header", [b"", b"\xc1", b"\x93\x01\x02\x03", msgpack.packb({1: 2}), b"\x81" * 4000, bytes(MAX_HEADER_BYTES + 1)]
)
def test_what_is_not_a_message_is_refused(header: bytes) -> None:
    assert refusal([header]) in {"not_msgpack", "oversized", "unknown_type"}


def test_too_many_parts_are_refused() -> None:
    assert refusal([b""] * (MAX_PARTS + 1)) == "wrong_parts"
    assert refusal([]) == "wrong_parts"


@pytest.mark.parametrize(
    ("parts", "count", "codec", "reason"),
    [
        ((bytes(127),), 1, "none", "truncated"),
        ((bytes(129),), 1, "none", "oversized"),
        ((bytes(128), bytes(128)), 2, "none", "wrong_parts"),
        ((bytes(20),), 2, "bslz4", "wrong_parts"),
    ],
)
def test_parts_that_cannot_hold_their_frames_are_refused(
    parts: tuple[bytes, ...], count: int, codec: Any, reason: str
) -> None:
    with pytest.raises(WireError) as caught:
        check_size(FramesMessage("u", 0, count, codec, parts), FrameLayout((8, 8), np.dtype("<u2")))
    assert caught.value.reason == reason


def test_a_run_of_a_message_holds_its_frames() -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    message = FramesMessage(scan_header.uid, 10, 5, "none", (frames[10:15].tobytes(),))
    run = message.run(2, 4)
    assert (run.first, run.count) == (12, 2)
    got, good, _ = decode_frames(run, FrameLayout.of(scan_header))
    assert good.all()
    np.testing.assert_array_equal(got, frames[12:14])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 7))
def test_runs_of_a_mask(bits: list[bool], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptylive.streamer.wire.frames._RUN_PIECE", piece)
        runs = list(runs_of(np.array(bits, dtype=bool)))
    covered = [n for first, last in runs for n in range(first, last)]
    assert covered == [n for n, bit in enumerate(bits) if bit]
    assert all(a[1] < b[0] for a, b in pairwise(runs)), "neighbouring runs are one run"


def test_big_endian_frames_arrive_in_native_order() -> None:
    layout = FrameLayout((2, 2), np.dtype(">u2"))
    got, _, _ = decode_frames(FramesMessage("u", 0, 1, "none", (b"\x00\x01\x00\x02\x00\x03\x01\x00",)), layout)
    assert got.dtype.isnative
    assert got.ravel().tolist() == [1, 2, 3, 256]


def test_more_frames_than_can_be_counted_are_refused() -> None:
    """Given as the shape of a scan; each of its values alone is possible."""
    scan_header = make_header()
    fields = {"scan": {"shape": [MAX_FRAMES // 10, 11]}}
    assert refusal(changed(scan_header, **fields)) == "impossible_value"


def test_parts_that_are_announced_and_missing_are_reported() -> None:
    scan_header = replace(make_header(), arrays={"bad_pixel_mask": np.zeros((8, 8), bool)})
    header, part = encode(ArmMessage(scan_header))
    message = decode([header])
    assert isinstance(message, ArmMessage)
    assert (message.header.arrays, [problem.reason for problem in message.problems]) == ({}, ["wrong_parts"])
    named = {**msgpack.unpackb(header), "parts": ["of_tomorrow"]}
    message = decode([msgpack.packb(named), part])
    assert isinstance(message, ArmMessage)
    assert (message.header.arrays, message.problems) == ({}, ())


def test_arrays_larger_than_any_are_not_unpacked() -> None:
    with pytest.raises(WireError) as caught:
        decode_array(_Huge(), "masks")
    assert caught.value.reason == "oversized"


class _Huge(bytes):
    """Claims to be larger than a part may be."""

    def __len__(self) -> int:
        return MAX_PART_BYTES + 1


def test_a_ping_with_the_header_of_another_scan_is_refused() -> None:
    scan_header = make_header()
    header, *parts = encode(PingMessage(scan_header.uid, scan_header))
    assert refusal([msgpack.packb({**msgpack.unpackb(header), "uid": "another"}), *parts]) == "bad_ping"


def test_a_bare_ping_of_a_compressed_stream_is_a_ping() -> None:
    """The ping lacks the masks: nobody can join with it, but it shows that the scan is alive."""
    basis = Basis(kind="zernike", n_bright=2, n_dark=0)
    scan_header = replace(make_header(), basis=basis, arrays={"masks": np.ones((2, 8, 8), np.float32)})
    header, *_ = encode(PingMessage(scan_header.uid, scan_header))
    assert decode([header]) == PingMessage(scan_header.uid)
