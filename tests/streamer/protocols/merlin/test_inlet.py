"""Merlin's messages become scans: announcements, frames, gaps, repeats, restarts, mutated messages."""

import contextlib
import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from dectris_tools import as_scan, inlet, scans_of, taken
from merlin_streams import of_stream
from merlin_tools import CHIP, START, acquisition, acquisition_header, counts, frame, mpx, raw_frame

from ptylive.schema import WireError
from ptylive.schema.model import Array
from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer
from ptylive.streamer.fast.merlin_pixels import CompiledRuns
from ptylive.streamer.patience import Patience
from ptylive.streamer.protocols import Inlet
from ptylive.streamer.protocols.merlin import runs
from ptylive.streamer.ring import Ring
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message

SHAPE = (12, 16)
SCAN = {"scan.shape": [3, 4]}
FRAMES = counts(SHAPE, 12, count=12)


@pytest.fixture(params=[False, True], ids=["decoded", "as they came"])
def handed_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, however short, are decoded at once, or later when their frames are used."""
    monkeypatch.setattr(runs, "_compiled", [CompiledRuns()] if request.param else [])
    monkeypatch.setattr(runs, "_LEAST_KEPT_BYTES", 1)


def turned(stored: Array) -> Array:
    """Stored patterns as displayed: Merlin's first row is the bottom one."""
    return stored[:, ::-1]


def given(messages: Iterable[bytes]) -> list[list[memoryview]]:
    """Messages as the connection delivers them."""
    return [[memoryview(message)] for message in messages]


def take(inlet: Inlet, messages: Iterable[bytes]) -> tuple[list[Message], list[str]]:
    """Messages made from the input, and reasons of refusals."""
    out: list[Message] = []
    reasons = []
    for parts in given(messages):
        try:
            for message in inlet.take(parts):
                out.append(message)
        except WireError as error:
            reasons.append(error.reason)
    return [*out, *inlet.flush()], reasons


def arms(messages: Sequence[Message]) -> list[ArmMessage]:
    return [message for message in messages if isinstance(message, ArmMessage)]


def ends(messages: Sequence[Message]) -> list[EndMessage]:
    return [message for message in messages if isinstance(message, EndMessage)]


def test_an_acquisition_becomes_a_scan() -> None:
    notes: list[str] = []
    out = taken(inlet("merlin", notes, SCAN), given(acquisition(FRAMES)))
    (arm,) = arms(out)
    header = arm.header
    assert (header.frames, header.scan.shape, header.detector_shape) == (12, (3, 4), SHAPE)
    assert (header.detector.dtype, header.detector.saturation_value) == ("<u2", 4095)
    assert header.scan.dwell_time_us == pytest.approx(309.2, rel=1e-12)
    assert header.series == "2024-04-25T15.50.41.049"
    assert "Frames in Acquisition (Number): 12" in header.sent["acquisition header"].splitlines()
    assert (arm.problems, notes) == ((), [])
    assert scans_of(out) == {header.uid: as_scan(turned(FRAMES))}


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize("layout", ["1x1", "2x2", "2x2G"])
def test_raw_frames_are_taken_in_every_layout(depth: int, layout: str) -> None:
    side = {"1x1": CHIP, "2x2": 2 * CHIP, "2x2G": 2 * CHIP + 2}[layout]
    (stored,) = counts((side, side), depth)
    if layout == "2x2G":
        stored[CHIP : CHIP + 2] = stored[:, CHIP : CHIP + 2] = 0
    message = raw_frame(1, stored, depth, layout)
    header, *_ = out = taken(inlet("merlin"), given([acquisition_header(1, depth), message]))
    assert isinstance(header, ArmMessage)
    detector = header.header.detector
    assert detector.dtype == {1: "|u1", 6: "|u1", 12: "<u2", 24: "<u4"}[depth]
    assert detector.saturation_value == (None if depth == 1 else 2**depth - 1)
    assert list(scans_of(out).values()) == [as_scan(turned(stored[None]))]
    mask = header.header.arrays.get("bad_pixel_mask")
    assert (mask is not None) == (layout == "2x2G")
    if mask is not None:
        assert mask.sum() == 4 * side - 4
        assert not turned(stored[None])[0][mask].any()


def test_corrected_pixels_have_no_most_counts_and_filled_gaps_are_pixels() -> None:
    (stored,) = counts((514, 514), 12)
    image = frame(1, "U16", stored, chips=4, layout="2x2G")
    said = acquisition_header(1).replace(b"Gap Fill Mode:\tNone", b"Gap Fill Mode:\tDistribute")
    (arm,) = arms(taken(inlet("merlin"), given([said, image])))
    assert arm.header.detector.saturation_value is None
    assert "bad_pixel_mask" not in arm.header.arrays
    (arm,) = arms(taken(inlet("merlin"), given([acquisition_header(1), image])))
    assert arm.header.detector.saturation_value == 4095
    assert arm.header.arrays["bad_pixel_mask"].any()


def test_the_depth_of_raw_frames_may_stand_in_the_acquisition_header_only() -> None:
    (stored,) = counts((CHIP, CHIP), 6)
    message = raw_frame(1, stored, 6).replace(b"MQ1A,", b"XXXX,")
    out = taken(inlet("merlin"), given([acquisition_header(1, 6), message]))
    assert list(scans_of(out).values()) == [as_scan(turned(stored[None]))]
    _, reasons = take(inlet("merlin", values=SCAN), [message])
    assert reasons == ["wrong_dtype"]


def test_the_configuration_wins_over_what_merlin_says() -> None:
    values = {**SCAN, "scan.dwell_time_us": 400.0, "detector.saturation_value": 3000.0, "optics.energy_eV": 80e3}
    (arm,) = arms(taken(inlet("merlin", values=values), given(acquisition(FRAMES))))
    assert (arm.header.scan.dwell_time_us, arm.header.detector.saturation_value) == (400.0, 3000.0)
    assert arm.header.optics.energy_eV == 80e3


def test_a_scan_shape_that_merlin_says() -> None:
    messages = [acquisition_header(12, ScanX=6, ScanY=2), *acquisition(FRAMES)[1:]]
    (arm,) = arms(taken(inlet("merlin"), given(messages)))
    assert arm.header.scan.shape == (2, 6)


def test_frames_of_a_trigger_are_a_line_where_nobody_says_more() -> None:
    notes: list[str] = []
    messages = [acquisition_header(12, per_trigger=6), *acquisition(FRAMES)[1:]]
    (arm,) = arms(taken(inlet("merlin", notes), given(messages)))
    assert arm.header.scan.shape == (2, 6)
    assert notes == ["12 frames, 6 for each trigger: a scan of 2 x 6 is assumed"]
    (arm,) = arms(taken(inlet("merlin", values=SCAN), given(messages)))
    assert arm.header.scan.shape == (3, 4)
    messages[0] = acquisition_header(12, per_trigger=5)
    (arm,) = arms(taken(inlet("merlin"), given(messages)))
    assert arm.header.scan.frames >= 12


def test_an_acquisition_without_end_is_taken_apart() -> None:
    first, second = counts(SHAPE, 12, 1, 12), counts(SHAPE, 12, 2, 12)
    messages = acquisition(np.concatenate([first, second]))
    messages[0] = acquisition_header(0)
    out = taken(inlet("merlin", values=SCAN), given(messages))
    assert list(scans_of(out).values()) == [as_scan(turned(first)), as_scan(turned(second))]
    _, reasons = take(inlet("merlin"), messages)
    assert set(reasons) == {"no_frames"}


def test_two_acquisitions_and_one_cut_off() -> None:
    first, second = counts(SHAPE, 12, 1, 12), counts(SHAPE, 12, 2, 12)
    messages = [*acquisition(first)[:6], *acquisition(second)]
    out = taken(inlet("merlin", values=SCAN), given(messages))
    one, two = arms(out)
    assert one.header.uid != two.header.uid
    (end,) = ends(out)
    assert (end.uid, end.reason) == (one.header.uid, "aborted")
    assert scans_of(out)[one.header.uid] == as_scan(turned(first[:5]))
    assert scans_of(out)[two.header.uid] == as_scan(turned(second))


def test_an_acquisition_armed_twice_before_its_trigger() -> None:
    out = taken(inlet("merlin", values=SCAN), given([acquisition_header(12), *acquisition(FRAMES)]))
    assert len(arms(out)) == 1
    assert ends(out) == []


def test_frames_whose_header_was_missed() -> None:
    notes: list[str] = []
    out = taken(inlet("merlin", notes, SCAN), given(acquisition(FRAMES)[4:]))
    (arm,) = arms(out)
    assert arm.header.scan.dwell_time_us == pytest.approx(309.2, rel=1e-12)
    assert scans_of(out)[arm.header.uid] == {k: v for k, v in as_scan(turned(FRAMES)).items() if k >= 3}
    assert "its header did not arrive" in notes[0]
    _, reasons = take(inlet("merlin"), acquisition(FRAMES)[4:])
    assert reasons == ["no_header"] * 9


def test_frames_counted_anew_without_a_header_are_another_acquisition() -> None:
    first, second = counts(SHAPE, 12, 1, 12), counts(SHAPE, 12, 2, 12)
    notes: list[str] = []
    later = acquisition(second, start=START + timedelta(minutes=1))[1:]
    out = taken(inlet("merlin", notes, SCAN), given([*acquisition(first)[:8], *later]))
    assert [scan for scan in scans_of(out).values()] == [as_scan(turned(first[:7])), as_scan(turned(second))]
    assert notes[0] == "Merlin restarted its frame count: the header of a new acquisition did not arrive"


def test_repeated_frames_and_a_damaged_number_begin_no_acquisition() -> None:
    header, *images = acquisition(FRAMES)
    wrong = frame(1, "U16", FRAMES[5], start=START + timedelta(minutes=1))
    out, reasons = take(inlet("merlin", values=SCAN), [header, *images[:5], *images[1:3], wrong, *images[6:]])
    assert (len(arms(out)), ends(out), reasons) == (1, [], [])
    numbers = [k for message in out if isinstance(message, FramesMessage) for k in _numbers(message)]
    assert numbers == [0, 1, 2, 3, 4, 1, 2, 0, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("after", [FRAMES[5:], FRAMES[:0]])
def test_a_frame_in_doubt_that_is_refused_costs_no_other(after: Array) -> None:
    header, *images = acquisition(FRAMES)
    wrong = frame(1, "U08", counts((24, 16), 6)[0], start=START + timedelta(minutes=1))
    rest = images[5:] if len(after) else [header, *images]
    out, reasons = take(inlet("merlin", values=SCAN), [header, *images[:5], wrong, *rest])
    assert reasons == ["wrong_shape"]
    assert list(scans_of(out).values())[-1] == as_scan(turned(FRAMES))


def _numbers(message: FramesMessage) -> range:
    return range(message.first, message.first + message.count)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"XYZ,news", "unknown_type"),
        (acquisition(FRAMES)[3][:-1], "truncated"),
        (acquisition(FRAMES)[3] + b"x", "oversized"),
        (acquisition(FRAMES)[3][:100], "bad_image"),
        (acquisition(FRAMES)[3].replace(b"U16", b"U64"), "wrong_dtype"),
        (acquisition(FRAMES)[3].replace(b"0016,0012", b"8000,8000"), "impossible_value"),
    ],
)
def test_what_is_refused_has_a_reason_and_costs_nothing_else(message: bytes, reason: str) -> None:
    messages = acquisition(FRAMES)
    out, reasons = take(inlet("merlin", values=SCAN), [part for one in messages for part in (message, one)])
    assert reasons == [reason] * len(messages)
    (scan,) = scans_of(out).values()
    assert scan == as_scan(turned(FRAMES))


def mutated(message: bytes, chance: random.Random) -> bytes:
    """A damaged message; pixels are left alone, since nothing shows what they were."""
    text = bytearray(message)
    head = min(len(text), 384)
    kind = chance.choice(["flip", "cut", "swap", "number", "noise", "empty"])
    if kind == "flip":
        text[chance.randrange(head)] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del text[chance.randrange(4, len(text)) :]
    elif kind == "swap":
        fields = message[:head].split(b",")
        a, b = chance.randrange(len(fields)), chance.randrange(len(fields))
        fields[a], fields[b] = fields[b], fields[a]
        return b",".join(fields) + message[head:]
    elif kind == "number":
        fields = message[:head].split(b",")
        number = chance.choice([b"0", b"-1", b"1e9", b"9" * chance.randint(1, 30), b"\xb2", b"nan", b"U08", b"R64"])
        fields[chance.randrange(len(fields))] = number
        return b",".join(fields) + message[head:]
    elif kind == "noise":
        return chance.randbytes(chance.randint(4, 600))
    else:
        return message[:4]
    return bytes(text)


def fuzzed(accidents: int, seed: int) -> None:
    """Mutated messages between those of whole acquisitions, through inlet and acquisition.

    A whole frame may be refused only if a damaged header had announced a detector of another shape.
    """
    chance = random.Random(seed)
    logged: list[Any] = []
    ring = Ring(2**26)
    acquisition_ = Acquisition(ring, None, Patience(60.0), Announcer(logged.append), one_sender=True)
    one = inlet("merlin", values=SCAN)
    handled: list[Message] = []

    def hand_on(parts: list[memoryview]) -> str:
        try:
            for message in one.take(parts):
                handled.append(message)
                with contextlib.suppress(WireError):
                    acquisition_.handle(message)
        except WireError as error:
            assert error.reason and str(error)
            return error.reason
        return ""

    done = contradicted = 0
    while done < accidents:
        frames = counts(SHAPE, 12, chance.randrange(2**31), 12)
        messages = acquisition(frames, start=START + timedelta(seconds=done))
        handled.clear()
        excused = set()
        for k, message in enumerate(messages):
            for _ in range(8):
                hand_on([memoryview(mutated(chance.choice(messages), chance))])
                done += 1
            if hand_on([memoryview(message)]) == "wrong_shape":
                excused.add(k - 1)
        hand_on([memoryview(messages[1])])  # releases what waits for the frame after it
        handled += one.flush()
        arrived = {(number, pattern) for number, pattern in _patterns(handled)}
        missing = {k for k, pattern in enumerate(turned(frames)) if (k, pattern.tobytes()) not in arrived}
        assert missing <= excused
        contradicted += len(missing)
    assert contradicted < 1e-3 * done


def _patterns(messages: Iterable[Message]) -> Iterable[tuple[int, bytes]]:
    """Numbers and bytes of patterns of the usual size."""
    nbytes = SHAPE[0] * SHAPE[1] * 2
    for message in messages:
        if isinstance(message, FramesMessage):
            data = b"".join(bytes(part) for part in message.parts)
            if len(data) == message.count * nbytes:
                yield from ((message.first + k, data[k * nbytes : (k + 1) * nbytes]) for k in range(message.count))


def test_1_000_mutated_messages() -> None:
    fuzzed(1_000, 1)


@pytest.mark.slow
def test_100_000_mutated_messages() -> None:
    fuzzed(100_000, 2)


@pytest.mark.usefixtures("handed_on")
def test_runs_become_what_single_frames_do_also_with_damage_between_them() -> None:
    """Consecutive frames come together; every frame with a damaged header of its own comes alone."""
    chance = random.Random(3)
    together = 0
    for _ in range(30):
        messages = acquisition(counts(SHAPE, 12, chance.randrange(2**31), 12))
        for _ in range(chance.randrange(3)):
            k = chance.randrange(1, 13)
            head = bytearray(messages[k])
            head[chance.randrange(0, 150)] = chance.randrange(256)
            messages[k] = bytes(head)
        single, reasons = take(inlet("merlin", values=SCAN), messages)
        found, told = of_stream(inlet("merlin", values=SCAN), b"".join(map(mpx, messages)), chance)
        patterns = sorted(_patterns(found))
        assert patterns == sorted(_patterns(single))
        assert sorted(told) == sorted(reasons)
        together += max((message.count for message in found if isinstance(message, FramesMessage)), default=0) > 4
    assert together > 20


@pytest.mark.usefixtures("handed_on")
def test_frames_of_a_run_that_came_before_are_repeats_and_later_ones_another_acquisition() -> None:
    first, second = counts(SHAPE, 12, 1, 12), counts(SHAPE, 12, 2, 12)
    one = acquisition(first)
    two = acquisition(second, start=START + timedelta(minutes=1))
    stream = b"".join(map(mpx, [*one, *one[5:9], *two[1:]]))
    found, reasons = of_stream(inlet("merlin", values=SCAN), stream, random.Random(5))
    assert reasons == []
    assert list(scans_of(found).values()) == [as_scan(turned(first)), as_scan(turned(second))]
    numbers = [k for message in found if isinstance(message, FramesMessage) for k in _numbers(message)]
    assert numbers == [*range(12), *range(4, 8), *range(12)]


@pytest.mark.usefixtures("handed_on")
def test_an_acquisition_whose_first_frame_is_numbered_0_loses_none() -> None:
    minute, parts = timedelta(minutes=1), [counts(SHAPE, 12, seed, 12) for seed in (1, 2, 3)]
    zero, one, more = (acquisition(part, first=k % 2, start=START + k * minute) for k, part in enumerate(parts))
    stream = b"".join(map(mpx, [*zero, *one[:5], frame(0, "U16", parts[1][0], start=START), *one[5:], *more[1:]]))
    found, reasons = of_stream(inlet("merlin", values=SCAN), stream, random.Random(6))
    assert (list(scans_of(found).values()), reasons) == ([as_scan(turned(part)) for part in parts], ["bad_image"])


@pytest.mark.usefixtures("handed_on")
def test_a_run_ends_where_the_scan_does() -> None:
    both = counts(SHAPE, 12, 1, 24)
    stream = b"".join(map(mpx, [acquisition_header(0), *acquisition(both)[1:]]))
    found, reasons = of_stream(inlet("merlin", values=SCAN), stream, random.Random(7))
    assert (list(scans_of(found).values()), reasons) == ([as_scan(turned(part)) for part in (both[:12], both[12:])], [])


def test_what_is_refused_takes_nothing_with_it_that_came_together() -> None:
    good = acquisition(FRAMES)
    messages = [b"XYZ,", *good[:5], good[5][:-1], *good[5:9], b"MQ1,1", *good[9:], b"none"]
    merlin, out, reasons = inlet("merlin", values=SCAN), [], []
    coming = merlin.take([memoryview(message) for message in messages])
    while coming is not None:
        try:
            for message in coming:
                out.append(message)
            coming = merlin.flush() if merlin.holding else None
        except WireError as error:
            reasons.append(error.reason)
            coming = merlin.flush()
    assert reasons == ["unknown_type", "truncated", "bad_image", "unknown_type"]
    (scan,) = scans_of(out).values()
    assert scan == as_scan(turned(FRAMES))
