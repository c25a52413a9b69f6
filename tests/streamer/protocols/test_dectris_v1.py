"""DECTRIS stream v1: every variant that detectors and simulators send, and the effects of missing parts."""

import hashlib
import json

import numpy as np
import pytest
from dectris_tools import (
    as_scan,
    inlet,
    patterns,
    scans_of,
    taken,
    text,
    v1_config,
    v1_end,
    v1_header,
    v1_image,
    v1_series,
)

from ptylive.schema import WireError
from ptylive.streamer.protocols import dectris_v1
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage

FRAMES = patterns()
SHAPE = (16, 12)


def reason(messages, protocol="dectris-v1", **settings) -> str:
    with pytest.raises(WireError) as caught:
        taken(inlet(protocol, **settings), messages)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("habit", ["messages", "parts"])
@pytest.mark.parametrize(
    ("dtype", "encoding"),
    [
        ("<u2", "bs16-lz4<"), ("|u1", "bs8-lz4<"), ("<u4", "bs32-lz4<"), ("<u2", "lz4<"), ("|u1", "lz4<"),
        ("<u2", "<"), ("<u4", "<"), (">u2", ">"), (">u4", "bs32-lz4>"), ("<u2", "bs16lz4<"),
    ],
)  # fmt: skip
def test_every_encoding_and_both_multipart_habits(habit: str, dtype: str, encoding: str) -> None:
    frames = patterns(dtype=dtype)
    header = v1_header(34, len(frames), SHAPE, depth=8 * frames.itemsize)
    messages = [header, *(v1_image(34, k, f, encoding) for k, f in enumerate(frames)), v1_end(34)]
    if habit == "parts":
        messages = [[part] for parts in messages for part in parts]
    reader = inlet("dectris-v1")
    out, refused = [], []
    for parts in messages:
        try:
            out += reader.take(parts)
        except WireError as error:
            refused.append(error.reason)
    *_, scan = scans_of([*out, *reader.flush()]).values()
    assert scan == as_scan(frames)
    assert refused == (["wrong_shape"] if dtype.startswith(">") else [])  # the header cannot state the byte order
    assert isinstance(out[-1], EndMessage)
    assert (out[-1].frames, out[-1].reason) == (24, "complete")


def test_images_are_gathered_and_shapes_turned() -> None:
    arm, frames, end = taken(inlet("dectris-v1"), v1_series())
    assert isinstance(arm, ArmMessage)
    assert (arm.header.detector.shape, arm.header.frames, arm.header.series) == (
        SHAPE,
        24,
        "34",
    )
    assert arm.header.scan.dwell_time_us == pytest.approx(100.0)
    assert isinstance(frames, FramesMessage)
    assert (frames.first, frames.count, frames.codec) == (0, 24, "bslz4")
    assert isinstance(end, EndMessage)


def test_framed_lz4_is_recognised() -> None:
    from dectris_tools import chunk

    image = v1_image(34, 0, FRAMES[0], "lz4<")
    blob = chunk(FRAMES[0], "lz4")
    image[2], image[1] = blob, text(**{**json.loads(image[1]), "size": len(blob)})
    (scan,) = scans_of(taken(inlet("dectris-v1"), [v1_header(34, 1, SHAPE), image])).values()
    assert scan == as_scan(FRAMES[:1])


def test_size_and_hash_may_be_missing_and_appendices_are_passed_over() -> None:
    messages = v1_series()
    messages[0].append(b"free text of the user")
    for image in messages[1:-1]:
        fields = json.loads(image[1])
        del fields["size"]
        image[0] = text(htype="dimage-1.0", series=34, frame=json.loads(image[0])["frame"])
        image[1] = text(**fields)
        image.append(b"\x00image appendix")
    (scan,) = scans_of(taken(inlet("dectris-v1", verify_hashes=True), messages)).values()
    assert scan == as_scan(FRAMES)


@pytest.mark.parametrize("habit", ["messages", "parts"])
def test_header_with_all_tables_and_its_pixel_mask(habit: str) -> None:
    mask = np.zeros(SHAPE, "<u4")
    mask[3, 7] = 2
    tables = []
    for name, table in (
        ("dflatfield-1.0", np.ones(SHAPE, "<f4")),
        ("dpixelmask-1.0", mask),
        ("dcountrate_table-1.0", mask),
    ):
        tables += [text(htype=name, shape=[12, 16], type=table.dtype.name), table.tobytes()]
    messages = v1_series()
    messages[0] = [*v1_header(34, 24, SHAPE, detail="all"), *tables]
    if habit == "parts":
        messages = [[part] for parts in messages for part in parts]
    out = taken(inlet("dectris-v1"), messages)
    assert isinstance(out[0], ArmMessage)
    found = out[0].header.arrays["bad_pixel_mask"]
    assert found.dtype == bool
    assert np.argwhere(found).tolist() == [[3, 7]]
    assert scans_of(out)[out[0].header.uid] == as_scan(FRAMES)


def test_metadata_come_from_appendix_and_configuration() -> None:
    messages = v1_series(wavelength=0.01969, incident_energy=300e3, countrate_correction_count_cutoff=3910)
    appendix = {"scan": {"shape": [4, 6], "step_A": 0.7}, "rotation_deg": 12.0, "comment": "mine"}
    messages[0].append(json.dumps(appendix).encode())
    out = taken(inlet("dectris-v1", values={"convergence_semiangle_mrad": 21.0, "rotation_deg": -3.0}), messages)
    assert isinstance(out[0], ArmMessage)
    scan_header = out[0].header
    assert (scan_header.scan.shape, scan_header.scan.step_A, scan_header.scan.rotation_deg) == (
        (4, 6),
        (0.7, 0.7),
        -3.0,
    )
    assert (scan_header.optics.energy_eV, scan_header.optics.convergence_semiangle_mrad) == (300e3, 21.0)
    assert scan_header.detector.saturation_value == 3910
    assert "incident_energy: 300000.0" in scan_header.sent["configuration"].splitlines()
    assert "comment: mine" in scan_header.sent["header_appendix"].splitlines()


def test_impossible_user_data_are_left_out_and_said() -> None:
    messages = v1_series(wavelength=0.918, incident_energy=13.5e3)
    messages[0].append(json.dumps({"scan": {"shape": [-4, 6]}}).encode())
    out = taken(inlet("dectris-v1"), messages)
    assert isinstance(out[0], ArmMessage)
    assert (out[0].header.scan.shape, out[0].header.optics.energy_eV) == (
        (1, 24),
        None,
    )  # guessed; and photons are not electrons
    assert [problem.reason for problem in out[0].problems] == ["bad_user_data"]
    assert len(scans_of(out)[out[0].header.uid]) == 24


@pytest.mark.parametrize(("mode", "frames"), [("exts", 15), ("ints", 15), ("exte", 3), ("inte", 3)])
def test_number_of_frames(mode: str, frames: int) -> None:
    header = v1_header(1, 3, SHAPE, nimages=5, trigger_mode=mode)
    (arm,) = taken(inlet("dectris-v1"), [header])
    assert isinstance(arm, ArmMessage)
    assert arm.header.frames == frames


@pytest.mark.parametrize(("frames", "shape"), [(16, (4, 4)), (24, (1, 24))])
def test_a_scan_shape_nobody_gives_is_guessed_and_said(frames: int, shape: tuple[int, int]) -> None:
    notes: list[str] = []
    (arm,) = taken(inlet("dectris-v1", notes), [v1_header(1, frames, SHAPE)])
    assert isinstance(arm, ArmMessage)
    assert arm.header.scan.shape == shape
    assert len(notes) == 1
    assert f"{shape[0]} x {shape[1]} is assumed" in notes[0]


@pytest.mark.parametrize(
    ("values", "frames"),
    [
        ({"scan.shape": (4, 6)}, 24),
        ({"scan.shape": (5, 6)}, 30),  # too few images: points stay unmeasured
        ({"scan.shape": (4, 5)}, 24),  # a few too many: surplus, which is reported
        ({"scan.shape": (3, 4)}, 12),  # two scans
        ({"scan.shape": (4, 4), "flyback_frames": 2}, 24),
        ({"scan.shape": (3, 4), "repeats": 2}, 24),
        ({"scan.shape": (4, 5), "skip_first": 4}, 24),
    ],
)
def test_the_configured_scan_and_the_announced_images(values: dict[str, object], frames: int) -> None:
    notes: list[str] = []
    (arm,) = taken(inlet("dectris-v1", notes, values), v1_series()[:1])
    assert isinstance(arm, ArmMessage)
    assert arm.header.frames == frames
    assert bool(notes) == (values in ({"scan.shape": (5, 6)}, {"scan.shape": (4, 5)}))


def test_same_series_number_again_is_a_new_scan() -> None:
    out = taken(inlet("dectris-v1"), [*v1_series(), *v1_series(), *v1_series()])
    scans = scans_of(out)
    assert len(scans) == 3
    assert all(scan == as_scan(FRAMES) for scan in scans.values())


def test_a_series_of_several_scans_is_taken_apart() -> None:
    out = taken(inlet("dectris-v1", values={"scan.shape": (2, 3)}), v1_series())
    arms = [message.header for message in out if isinstance(message, ArmMessage)]
    assert [scan_header.series for scan_header in arms] == ["34", "34_2", "34_3", "34_4"]
    assert [scan_header.frames for scan_header in arms] == [6] * 4
    parts = [as_scan(FRAMES[k : k + 6]) for k in range(0, 24, 6)]
    assert list(scans_of(out).values()) == parts
    assert sum(isinstance(message, EndMessage) for message in out) == 4


def test_a_number_far_beyond_does_not_end_the_scan() -> None:
    messages = v1_series(ntrigger=2**40)
    messages.insert(10, v1_image(34, 2**39, FRAMES[0]))
    reader = inlet("dectris-v1", values={"scan.shape": (4, 6)})
    out, refused = [], []
    for parts in messages:
        try:
            out += reader.take(parts)
        except WireError as error:
            refused.append(error.reason)
    assert refused == ["beyond_scan"]
    assert list(scans_of(out).values()) == [as_scan(FRAMES)]


def test_late_join_needs_the_scan_shape() -> None:
    assert reason(v1_series()[5:6]) == "no_header"
    notes: list[str] = []
    out = taken(inlet("dectris-v1", notes, {"scan.shape": (4, 6)}), v1_series()[5:])
    (scan,) = scans_of(out).values()
    assert scan == {k: v for k, v in as_scan(FRAMES).items() if k >= 4}
    assert len(notes) == 1


def test_leftovers_do_not_displace_an_armed_series() -> None:
    reader = inlet("dectris-v1", values={"scan.shape": (4, 6)})
    taken(reader, v1_series(5)[:1])
    with pytest.raises(WireError, match="series 5 is being received"):
        taken(reader, v1_series(4)[3:4])
    assert list(scans_of(taken(inlet("dectris-v1"), v1_series(5))).values()) == [as_scan(FRAMES)]


def test_header_none_takes_shape_and_type_from_the_first_image() -> None:
    messages = [v1_header(3, 0, SHAPE, detail="none"), *v1_series(3)[1:]]
    (scan,) = scans_of(taken(inlet("dectris-v1", values={"scan.shape": (4, 6)}), messages)).values()
    assert scan == as_scan(FRAMES)
    assert reason(messages) == "no_frames"


def test_two_images_that_agree_outvote_the_header_and_one_does_not() -> None:
    messages = v1_series(bit_depth_image=32)
    notes: list[str] = []
    reader = inlet("dectris-v1", notes)
    out = list(reader.take(messages[0]))
    with pytest.raises(WireError) as caught:
        list(reader.take(messages[1]))
    assert caught.value.reason == "wrong_shape"
    out += taken(reader, messages[2:])
    assert sum("two images agree" in note for note in notes) == 1
    *_, scan = scans_of(out).values()
    assert scan == as_scan(FRAMES)
    faulty = v1_series()
    faulty.insert(1, v1_image(34, 0, patterns(1, (17, 12))[0]))
    reader = inlet("dectris-v1")
    out = list(reader.take(faulty[0]))
    with pytest.raises(WireError):
        list(reader.take(faulty[1]))
    out += taken(reader, faulty[2:])
    assert list(scans_of(out).values()) == [as_scan(FRAMES)]


def test_an_early_end_is_an_abort() -> None:
    messages = v1_series()
    out = taken(inlet("dectris-v1"), [*messages[:11], messages[-1]])
    assert isinstance(out[-1], EndMessage)
    assert (out[-1].reason, out[-1].frames) == ("aborted", 24)


def test_every_second_the_scan_is_named_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = inlet("dectris-v1")
    out = taken(reader, v1_series()[:6])
    monkeypatch.setattr("ptylive.streamer.protocols.series._NAMED_EVERY_S", -1.0)
    later = list(reader.take(v1_series()[6]))
    assert isinstance(later[0], PingMessage)
    assert later[0].header == out[0].header  # type: ignore[union-attr]


def test_missing_parts_cost_one_image_each() -> None:
    """Single parts lost on the way, as after an abort in the middle of a message: everything else arrives."""
    parts = [part for message in v1_series() for part in message]
    for lost in range(2, 2 + 4 * 5):
        reader, out, refused = inlet("dectris-v1"), [], []
        for number, part in enumerate(parts):
            if number == lost:
                continue
            try:
                out += reader.take([part])
            except WireError as error:
                refused.append(error.reason)
        (scan,) = scans_of([*out, *reader.flush()]).values()
        image, kind = divmod(lost - 2, 4)
        wanted = as_scan(FRAMES)
        if kind < 3:
            del wanted[image]
        assert scan == wanted
        assert bool(refused) == (kind < 3)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"shape": [12]}, "bad_image"),
        ({"shape": [12.0, 16]}, "bad_image"),
        ({"shape": [0, 16]}, "bad_image"),
        ({"shape": [10**9, 16]}, "bad_image"),
        ({"type": "float32"}, "bad_image"),
        ({"encoding": "zip<"}, "unknown_codec"),
        ({"encoding": "bs32-lz4<"}, "unknown_codec"),
        ({"encoding": ""}, "bad_image"),
        ({"size": 1}, "oversized"),
        ({"size": 10**6}, "truncated"),
        ({"shape": [16, 12]}, "wrong_shape"),
    ],
)
def test_faulty_images_are_refused_with_a_reason(changes: dict[str, object], wanted: str) -> None:
    image = v1_image(34, 0, FRAMES[0], **changes)
    assert reason([v1_header(34, 24, SHAPE), image]) == wanted


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ([b"\xff\x00"], "not_json"),
        ([b"{" * 100_000], "not_json"),
        ([b"[1, 2]"], "not_json"),
        ([b"{" + b" " * 2**20 + b"}"], "oversized"),
        ([text(htype="dsomething-1.0")], "unknown_type"),
        ([text(htype="dimage-1.0", series=1)], "bad_image"),
        ([text(htype="dimage-1.0", series=True, frame=1)], "bad_series"),
        ([text(htype="dheader-1.0", series=-1)], "bad_series"),
        ([text(htype="dimage_d-1.0", shape=[12, 16], type="uint16", encoding="<")], "missing_part"),
        ([text(htype="dseries_end-1.0", series=77)], "unknown_scan"),
        ([v1_config(24, SHAPE)], "unknown_type"),
        (v1_header(1, 2**60, SHAPE), "no_frames"),
        (v1_header(1, 24, (8000, 8000), depth=32), "impossible_value"),
    ],
)
def test_faulty_parts_are_refused_with_a_reason(message: list[bytes], wanted: str) -> None:
    assert reason([message]) == wanted


def test_hashes_are_compared_on_request() -> None:
    messages = v1_series()
    image = messages[1]
    image[0] = text(htype="dimage-1.0", series=34, frame=0, hash=hashlib.md5(image[2]).hexdigest())
    assert len(taken(inlet("dectris-v1", verify_hashes=True), messages)) == 3
    image[0] = text(htype="dimage-1.0", series=34, frame=0, hash="0" * 32)
    assert len(taken(inlet("dectris-v1"), messages)) == 3
    assert reason(messages, verify_hashes=True) == "bad_hash"


def test_dead_pixels_are_found_in_the_first_image_when_the_header_brings_no_mask() -> None:
    frames = FRAMES.copy()
    frames[:, 4, 5] = 65535
    messages = [v1_header(34, 24, SHAPE), *(v1_image(34, k, f) for k, f in enumerate(frames)), v1_end(34)]
    notes: list[str] = []
    out = taken(inlet("dectris-v1", notes, {"scan.shape": (4, 6)}), [*messages, *messages])
    arms = [message.header for message in out if isinstance(message, ArmMessage)]
    assert [list(scan_header.arrays) for scan_header in arms] == [[], ["bad_pixel_mask"], ["bad_pixel_mask"]]
    assert np.argwhere(arms[1].arrays["bad_pixel_mask"]).tolist() == [[4, 5]]
    assert [len(scan) for scan in scans_of(out).values()] == [0, 24, 24]
    assert notes == ["series 34: 1 dead pixels found; the header had no mask"]


def test_an_overexposed_image_shows_no_dead_pixels() -> None:
    bright = np.full((1, *SHAPE), 65535, "<u2")
    out = taken(inlet("dectris-v1"), [v1_header(34, 24, SHAPE), v1_image(34, 0, bright[0])])
    assert len(scans_of(out)) == 1


def test_spellings_of_an_image_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dectris_v1, "_MOST_LAYOUTS", 3)
    images = [v1_image(34, k, frame, extra=k) for k, frame in enumerate(FRAMES)]
    images[5] = v1_image(34, 5, FRAMES[5], extra="x" * 10_000)
    (scan,) = scans_of(taken(inlet("dectris-v1"), [v1_header(34, 24, SHAPE), *images, v1_end(34)])).values()
    assert scan == as_scan(FRAMES)


@pytest.mark.parametrize("mask", [{"shape": [12, 16], "type": "uint32"}, {"shape": [12], "type": "uint32"}, {}])
def test_a_mask_that_is_not_what_it_says_is_none(mask: dict[str, object]) -> None:
    assert dectris_v1._bad_pixels({"htype": "dpixelmask-1.0", **mask}, bytes(7)) is None
