"""The Timepix3 stream becomes scans: their metadata, losses, restarts, 100 000 damaged headers."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from dectris_tools import as_scan, inlet, scans_of
from event_tools import sparse_frames
from tpx3_tools import acquisition, acquisition_end, acquisition_start, chunk, scan, scan_end, scan_start

from ptylive.schema import WireError
from ptylive.streamer.protocols import Inlet
from ptylive.streamer.protocols.tpx3.splitter import REPAIRED, Tpx3Splitter
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message
from ptylive.streamer.wire.events import most_together

SHAPE = (8, 16)
FRAMES = sparse_frames(24, SHAPE, 6)
LINES = 6


def handed_over(stream: bytes) -> list[list[Any]]:
    """What the connection delivers: messages, or its refusals, as :mod:`.tcp_connection` does."""
    splitter, at = Tpx3Splitter(), 0
    parts: list[list[Any]] = []
    while at <= len(stream):
        room = splitter.room()
        count = min(len(room), len(stream) - at)
        room[:count] = stream[at : at + count]
        at += count or 1
        for item in splitter.read(count):
            refused = isinstance(item, WireError)
            parts.append([b"", b"refused", str(item).encode(), item.reason.encode()] if refused else [bytes(item)])  # type: ignore[arg-type,union-attr]
    return parts


def take(inlet: Inlet, messages: Iterable[bytes]) -> tuple[list[Message], list[str]]:
    """Messages made from a stream, and reasons of refusals."""
    out: list[Message] = []
    reasons = []
    for parts in handed_over(b"".join(messages)):
        coming: Any = inlet.take(parts)
        while coming is not None:
            try:
                for message in coming:
                    out.append(message)
                coming = inlet.flush() if inlet.holding else None
            except WireError as error:
                reasons.append(error.reason)
                coming = inlet.flush()
    return out, reasons


def arms(messages: Sequence[Message]) -> list[ArmMessage]:
    return [message for message in messages if isinstance(message, ArmMessage)]


def ends(messages: Sequence[Message]) -> list[EndMessage]:
    return [message for message in messages if isinstance(message, EndMessage)]


@pytest.mark.parametrize("fields", [{}, {"align": 16}, {"indptr": 8, "index": 8, "value": 1}, {"value": 2, "index": 1}])
def test_an_acquisition_becomes_a_scan(fields: dict[str, int]) -> None:
    notes: list[str] = []
    out, reasons = take(inlet("tpx3", notes), acquisition(FRAMES, LINES, **fields))
    (arm,), (end,) = arms(out), ends(out)
    header = arm.header
    assert (header.frames, header.scan.shape, header.detector_shape) == (24, (6, 4), SHAPE)
    assert (header.detector.dtype, header.series) == ("<u2", "1_1")
    assert (arm.problems, notes, reasons) == ((), [], [])
    assert (end.uid, end.frames, end.reason) == (header.uid, 24, "complete")
    assert scans_of(out) == {header.uid: as_scan(FRAMES)}


def test_counts_that_may_be_large_have_a_wider_type() -> None:
    frames = FRAMES.astype("<u4")
    frames[3, 2, 2] = 2**31
    out, _ = take(inlet("tpx3"), acquisition(frames, LINES, value=8))
    assert list(scans_of(out).values()) == [as_scan(frames)]
    frames[3, 2, 2] = 70_000
    chunks = [chunk(FRAMES[:4]), chunk(frames[4:8], value=4), chunk(frames[0:4], value=4)]
    out, reasons = take(inlet("tpx3"), [acquisition_start((3, 4), SHAPE), scan_start(), *chunks, scan_end()])
    assert reasons == ["impossible_value"]
    (found,) = scans_of(out).values()
    assert sorted(found) == [k for k in range(12) if k != 11]  # all but the pattern with too many counts


def test_two_scans_of_an_acquisition_and_the_same_again() -> None:
    start = acquisition_start((LINES, 4), SHAPE)
    stream = [start, *scan(FRAMES, LINES), *scan(FRAMES[::-1], LINES, 2), acquisition_end()]
    out, reasons = take(inlet("tpx3"), stream * 2)
    assert reasons == []
    assert [arm.header.series for arm in arms(out)] == ["1_1", "1_2"] * 2
    assert list(scans_of(out).values()) == [as_scan(FRAMES), as_scan(FRAMES[::-1])] * 2


def test_metadata_of_the_scan_and_the_configuration_over_them() -> None:
    text = b'{"optics": {"energy_eV": 80000}, "scan": {"step_A": 0.3, "shape": [2, 2]}}'
    out, _ = take(inlet("tpx3", values={"scan.step_A": 0.5}), acquisition(FRAMES, LINES, text=text))
    (arm,) = arms(out)
    assert arm.header.optics.energy_eV == 80000
    assert (arm.header.scan.step_A, arm.header.scan.shape) == ((0.5, 0.5), (6, 4))
    assert 'optics: {"energy_eV": 80000}' in arm.header.sent["metadata"].splitlines()
    for odd in (b"[1]", b"{", b"\xff\xfe", b"[" * 1000, b'{"scan": 3}'):
        out, reasons = take(inlet("tpx3"), acquisition(FRAMES, LINES, text=odd))
        assert list(scans_of(out).values()) == [as_scan(FRAMES)]
        assert reasons == []


def test_times_over_threshold_are_said_to_be_no_counts() -> None:
    notes: list[str] = []
    take(inlet("tpx3", notes), acquisition(FRAMES, LINES, values=1))
    assert notes == ["Timepix3 sends times over threshold, not counts: set its software to counting"]


def test_a_scan_that_is_broken_off() -> None:
    messages = acquisition(FRAMES, LINES)
    out, reasons = take(inlet("tpx3"), [*messages[:4], acquisition_end(), *messages[:-1], *messages[:5], *messages])
    assert [end.reason for end in ends(out)] == ["aborted", "complete", "aborted", "complete"]
    assert reasons == []
    assert [len(found) for found in scans_of(out).values()] == [8, 24, 12, 24]


def test_more_frames_than_the_scan_has() -> None:
    messages = acquisition(FRAMES, LINES)
    out, reasons = take(inlet("tpx3"), [*messages[:-2], messages[3], *messages[-2:]])
    assert reasons == ["beyond_scan"]
    assert list(scans_of(out).values()) == [as_scan(FRAMES)]


def test_a_loss_between_chunks_is_counted_from_the_end() -> None:
    messages = acquisition(FRAMES, LINES)
    out, reasons = take(inlet("tpx3"), [*messages[:3], messages[3][:100], *messages[4:]])
    assert reasons == ["truncated"]
    (found,) = scans_of(out).values()
    assert found == {k: one for k, one in as_scan(FRAMES).items() if not 4 <= k < 8}


def test_a_scan_whose_beginning_did_not_come() -> None:
    messages = acquisition(FRAMES, LINES)
    out, reasons = take(inlet("tpx3"), [messages[0], *messages[3:]])
    assert reasons == []
    (found,) = scans_of(out).values()
    assert found == {k: one for k, one in as_scan(FRAMES).items() if k >= 4}
    assert arms(out)[0].header.series == "1"


def test_between_two_losses_frames_have_no_place() -> None:
    messages = acquisition(FRAMES, LINES)
    stream = [*messages[:3], messages[3][:100], messages[4], messages[5][:90], *messages[6:]]
    out, reasons = take(inlet("tpx3"), stream)
    assert reasons == ["truncated", "truncated", "unplaced"]
    (found,) = scans_of(out).values()
    assert found == {k: one for k, one in as_scan(FRAMES).items() if k < 4 or k >= 16}


def test_a_chunk_that_is_damaged_costs_its_frames() -> None:
    messages = acquisition(FRAMES, LINES)
    damaged = bytearray(messages[4])
    damaged[40] ^= 0x80
    out, reasons = take(inlet("tpx3"), [*messages[:4], damaged, *messages[5:]])
    assert reasons == ["bad_chunk"]
    (found,) = scans_of(out).values()
    assert found == {k: one for k, one in as_scan(FRAMES).items() if not 8 <= k < 12}


def test_a_header_that_follows_from_the_rest_loses_nothing() -> None:
    messages = acquisition(FRAMES, LINES)
    damaged = bytearray(messages[4])
    damaged[3] ^= 0x80
    out, reasons = take(inlet("tpx3"), [*messages[:4], damaged, *messages[5:-2]])
    assert reasons == [REPAIRED]
    assert list(scans_of(out).values()) == [as_scan(FRAMES)]  # though the end of the scan has not come


def test_what_the_connection_says() -> None:
    notes: list[str] = []
    tpx3 = inlet("tpx3", notes)
    assert list(tpx3.take([b"", b"note", b"connected", b""])) == []
    assert notes == ["connected"]
    with pytest.raises(WireError, match="acquisition start did not arrive"):
        list(tpx3.take([memoryview(chunk(FRAMES[:4]))]))
    assert tpx3.template() is None
    tpx3.advance(3)


def test_many_frames_come_in_messages_that_may_be_decoded_at_once() -> None:
    shape = (1024, 1024)
    frames = np.zeros((70, *shape), "<u2")
    frames[:, 5, 5] = np.arange(70)
    out, _ = take(inlet("tpx3"), [acquisition_start((1, 70), shape), scan_start(), chunk(frames), scan_end()])
    counts = [message.count for message in out if isinstance(message, FramesMessage)]
    assert sum(counts) == 70 and max(counts) == most_together(2 * 2**20) == 32


def fuzzed(count: int, seed: int) -> Counter[str]:
    """Damage this many headers of chunks: no frame is misplaced; whole chunks that are missing were refused."""
    chance, refused = random.Random(seed), Counter[str]()
    frames = np.random.default_rng(seed).integers(0, 3, (32, 4, 4)).astype("<u2")
    truth, damaged = as_scan(frames), 0
    messages = acquisition(frames, 16)
    while damaged < count:
        stream, lost = messages[:2], set[int]()
        for k, message in enumerate(messages[2:-2]):
            changed = bytearray(message)
            if k > 1 and chance.random() < 0.5:  # two whole ones establish the usual type of counts
                for _ in range(chance.choice((1, 1, 1, 2, 8, 32))):
                    changed[chance.randrange(32)] = chance.randrange(256)
                damaged += 1
                lost |= {2 * k, 2 * k + 1}
            stream.append(bytes(changed))
        out, reasons = take(inlet("tpx3"), [*stream, *messages[-2:]])
        refused.update(reasons)
        (found,) = scans_of(out).values() if arms(out) else ({},)
        assert found.items() <= truth.items()
        missing = truth.keys() - found.keys() - lost
        assert not missing or "unplaced" in reasons
        assert "internal_error" not in reasons
    return refused


def test_200_damaged_headers() -> None:
    assert fuzzed(200, 1)[REPAIRED] > 20


@pytest.mark.slow
def test_100_000_damaged_headers() -> None:
    refused = fuzzed(100_000, 2)
    assert refused[REPAIRED] > 10_000
    assert set(refused) <= {REPAIRED, "bad_header", "bad_chunk", "truncated", "unplaced", "oversized"}
