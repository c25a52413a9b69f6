"""DECTRIS stream2: arrays in all their variants, keys that real captures lack, series with unique ids."""

import cbor2
import numpy as np
import pytest
from dectris_tools import as_scan, inlet, patterns, scans_of, taken, v2_array, v2_end, v2_image, v2_start

from ptylive.schema import WireError
from ptylive.streamer.protocols.dectris_v2 import decode_array, decode_cbor, stored_array
from ptylive.streamer.wire import ArmMessage, EndMessage

FRAMES = patterns()
SHAPE = (16, 12)


def series(number: int = 7, unique: str | None = "A", codec: str = "bslz4", **start: object) -> list[list[bytes]]:
    """A whole series."""
    images = [v2_image(number, k, frame, codec, unique) for k, frame in enumerate(FRAMES)]
    return [v2_start(number, len(FRAMES), SHAPE, unique, **start), *images, v2_end(number, unique)]


def reason(messages, **settings) -> str:
    with pytest.raises(WireError) as caught:
        taken(inlet("dectris-v2", **settings), messages)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def image_with(data: object) -> list[list[bytes]]:
    """A series whose only image has this pattern."""
    fields = {"type": "image", "series_id": 7, "image_id": 0, "data": {"threshold_1": data}}
    return [v2_start(7, 24, SHAPE), [cbor2.dumps(fields)]]


@pytest.mark.parametrize("codec", ["bslz4", "lz4", "none"])
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", ">u2"])
def test_frames_arrive_in_every_encoding(codec: str, dtype: str) -> None:
    frames = patterns(dtype=dtype)
    start = {k: v for k, v in decode_cbor(v2_start(7, 24, SHAPE)[0]).items() if k != "image_dtype"}
    messages = [[cbor2.dumps(start)], *(v2_image(7, k, f, codec) for k, f in enumerate(frames)), v2_end(7)]
    out = taken(inlet("dectris-v2"), messages)
    (scan,) = scans_of(out).values()
    assert scan == as_scan(frames)
    assert isinstance(out[-1], EndMessage)


def test_a_start_of_few_keys_arms_with_the_first_image() -> None:
    start = cbor2.dumps({"type": "start", "series_id": 7, "number_of_images": 24})
    reader = inlet("dectris-v2")
    assert list(reader.take([start])) == []
    out = taken(reader, series(unique=None)[1:])
    assert isinstance(out[0], ArmMessage)
    assert (out[0].header.detector.shape, out[0].header.detector.dtype, out[0].header.series) == (SHAPE, "<u2", "7")


def test_dead_pixels_of_a_first_image_that_arms() -> None:
    frames = FRAMES.copy()
    frames[:, 4, 5] = 65535
    start = cbor2.dumps({"type": "start", "series_id": 7, "number_of_images": 24})
    out = taken(inlet("dectris-v2"), [[start], *(v2_image(7, k, frame) for k, frame in enumerate(frames))])
    arms = [message.header for message in out if isinstance(message, ArmMessage)]
    assert [np.argwhere(header.arrays["bad_pixel_mask"]).tolist() for header in arms] == [[[4, 5]]]
    assert list(scans_of(out).values()) == [as_scan(frames)]


def test_metadata_and_pixel_mask() -> None:
    mask = np.zeros(SHAPE, "<u4")
    mask[2, 3] = 1
    user = {"scan": {"shape": [4, 6]}, "optics": {"defocus_A": 500.0}}
    start = {"incident_energy": 80e3, "incident_wavelength": 0.0417572, "user_data": user, "saturation_value": 3910}
    out = taken(inlet("dectris-v2"), series(**start, pixel_mask={"threshold_1": v2_array(mask)}))
    assert isinstance(out[0], ArmMessage)
    header = out[0].header
    assert (header.scan.shape, header.scan.dwell_time_us) == ((4, 6), pytest.approx(100.0))
    assert (header.optics.energy_eV, header.optics.aberrations) == (80e3, {"C10": -500.0})
    assert header.detector.saturation_value == 3910
    assert np.argwhere(header.arrays["bad_pixel_mask"]).tolist() == [[2, 3]]
    assert "incident_energy: 80000.0" in header.sent["start"].splitlines()
    assert "pixel_mask" not in header.sent["start"]


def test_shortened_tables_and_photon_energies_mean_nothing() -> None:
    """As in captured messages: masks of four bytes, X-rays, no user data."""
    junk = {"pixel_mask": {"threshold_1": bytes(4)}, "flatfield": {"threshold_1": bytes(4)}}
    out = taken(inlet("dectris-v2"), series(**junk, incident_energy=13500.3, incident_wavelength=0.918381))
    assert isinstance(out[0], ArmMessage)
    assert (out[0].header.arrays, out[0].header.optics.energy_eV, out[0].problems) == ({}, None, ())


def test_user_data_may_be_text() -> None:
    (arm,) = taken(inlet("dectris-v2"), series(user_data='{"scan_shape": [4, 6]}')[:1])
    assert isinstance(arm, ArmMessage)
    assert arm.header.scan.shape == (4, 6)


def test_channels_are_chosen_and_said() -> None:
    other = FRAMES + 1
    fields = {"type": "image", "series_id": 7, "image_id": 0}
    data = {"threshold_2": v2_array(other[0]), "threshold_1": v2_array(FRAMES[0])}
    messages = [v2_start(7, 1, SHAPE), [cbor2.dumps({**fields, "data": data})]]
    for channel, wanted in (("", FRAMES), ("threshold_2", other)):
        notes: list[str] = []
        (scan,) = scans_of(taken(inlet("dectris-v2", notes, channel=channel), messages)).values()
        assert scan == as_scan(wanted[:1])
        assert sum("'threshold_1', 'threshold_2'" in note for note in notes) == 1
    assert reason(messages, channel="threshold_3") == "bad_image"


def test_series_number_or_unique_id_again() -> None:
    out = taken(inlet("dectris-v2"), [*series(7, "A"), *series(7, "B"), *series(7, None), *series(7, None)])
    assert [scan == as_scan(FRAMES) for scan in scans_of(out).values()] == [True] * 4
    again = series(7, "A")
    out = taken(inlet("dectris-v2"), [*again[:5], again[0], *again[5:]])
    assert list(scans_of(out).values()) == [as_scan(FRAMES)]  # repeating a start gives one arm event
    assert len(scans_of(taken(inlet("dectris-v2"), [*again, *again]))) == 2  # after an end it is another scan


@pytest.mark.parametrize("unique", ["", "two\nlines", "x" * 201])
def test_an_impossible_unique_id_is_none(unique: str) -> None:
    """Found with mutated messages: a line break in it would have broken the log's lines."""
    out = taken(inlet("dectris-v2"), [*series(7, unique), *series(7, unique)])
    assert [scan == as_scan(FRAMES) for scan in scans_of(out).values()] == [True] * 2


def test_images_of_the_series_before_keep_their_scan() -> None:
    first, second = series(7, "A"), series(7, "B")
    reader = inlet("dectris-v2")
    out = taken(reader, [*first[:10], second[0], first[10], second[1]])
    arms = [message.header.uid for message in out if isinstance(message, ArmMessage)]
    scans = scans_of(out)
    assert (len(scans[arms[0]]), len(scans[arms[1]])) == (10, 1)


def test_order_of_images_does_not_matter() -> None:
    messages = series()
    order = np.random.default_rng(1).permutation(24)
    out = taken(inlet("dectris-v2"), [messages[0], *(messages[1 + k] for k in order), messages[-1]])
    assert list(scans_of(out).values()) == [as_scan(FRAMES)]


GOOD = v2_array(FRAMES[0])


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"123", "bad_image"),
        (cbor2.CBORTag(40, [[16, 12]]), "bad_image"),
        (cbor2.CBORTag(40, [[16, 12], b"1"]), "bad_image"),
        (cbor2.CBORTag(40, [[16, -12], GOOD.value[1]]), "bad_image"),
        (cbor2.CBORTag(40, [[16, 12, 1], GOOD.value[1]]), "bad_image"),
        (cbor2.CBORTag(40, [[10**30, 12], GOOD.value[1]]), "bad_image"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(71, bytes(1536))]), "wrong_dtype"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(69, bytes(383))]), "truncated"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(69, bytes(385))]), "oversized"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(69, "text")]), "bad_image"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["zip", 2, b""]))]), "unknown_codec"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["bslz4", 4, b""]))]), "unknown_codec"),
        (cbor2.CBORTag(40, [[16, 12], cbor2.CBORTag(69, cbor2.CBORTag(56500, [[1], 2, b""]))]), "unknown_codec"),
        (cbor2.CBORTag(40, [[12, 16], GOOD.value[1]]), "wrong_shape"),
    ],
)
def test_faulty_arrays_are_refused_with_a_reason(data: object, wanted: str) -> None:
    assert reason(image_with(data)) == wanted


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ([b""], "not_cbor"),
        ([b"\x81" * 100_000], "not_cbor"),
        ([b"\x9b" + b"\x7f" * 8], "not_cbor"),
        ([b"\xd8\x1e\x82\x01\x00"], "not_cbor"),
        ([cbor2.dumps([1])], "not_cbor"),
        ([cbor2.dumps({"type": "start"}), b""], "wrong_parts"),
        ([cbor2.dumps({"type": "start"})], "bad_series"),
        ([cbor2.dumps({"type": "news"})], "unknown_type"),
        ([cbor2.dumps({"type": "image", "series_id": 7})], "bad_image"),
        ([cbor2.dumps({"type": "image", "series_id": 7, "image_id": 2**70, "data": {"a": 1}})], "bad_image"),
        (v2_image(7, 0, FRAMES[0]), "no_header"),
        (v2_end(7), "unknown_scan"),
    ],
)
def test_faulty_messages_are_refused_with_a_reason(message: list[bytes], wanted: str) -> None:
    assert reason([message]) == wanted


def test_arrays_decode_as_dectris_does() -> None:
    for codec in ("bslz4", "lz4", "none"):
        stored = stored_array(decode_cbor(cbor2.dumps({"a": v2_array(FRAMES[0], codec)}))["a"], "a")
        assert np.array_equal(decode_array(stored), FRAMES[0])


def test_a_series_whose_start_was_missed_has_its_number_for_a_name() -> None:
    """A unique id only distinguishes it from other series, and means nothing to people."""
    notes: list[str] = []
    out = taken(inlet("dectris-v2", notes, {"scan.shape": (4, 6)}), series(unique="01GRXWT80JSDY2FNW8SGCCDZD9")[3:])
    (arm,) = (message for message in out if isinstance(message, ArmMessage))
    assert arm.header.series == "7"
    assert "series 7 is received from image 2 on" in notes[0]
