"""Series whose number of images differs from that of the scan's points, for all detectors that send series."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq
from dectris_tools import (
    Parts,
    as_scan,
    free_port,
    inlet,
    patterns,
    scans_of,
    v1_end,
    v1_header,
    v1_image,
    v2_end,
    v2_image,
    v2_start,
)
from merlin_tools import acquisition_header, frame
from stream_tools import digests_of_file, running

from ptylive.schema import ScanHeader, WireError
from ptylive.schema.metadata import overlay
from ptylive.streamer.events import LogEvent
from ptylive.streamer.protocols import ProtocolSettings, series
from ptylive.streamer.wire import ArmMessage, EndMessage, Message

SHAPE = (16, 12)
POINTS = 16
SCAN = {"scan.shape": (4, 4)}


def of_v1(announced: int, sent: int) -> list[Parts]:
    images = [v1_image(3, k, one) for k, one in enumerate(patterns(sent))]
    return [v1_header(3, announced, SHAPE), *images, v1_end(3)]


def of_v2(announced: int, sent: int) -> list[Parts]:
    images = [v2_image(3, k, one, "none", "A") for k, one in enumerate(patterns(sent))]
    return [v2_start(3, announced, SHAPE, "A"), *images, v2_end(3, "A")]


def of_merlin(announced: int, sent: int) -> list[Parts]:
    """Merlin ends an acquisition with the header of the next one."""
    images = [[frame(k + 1, "U16", one)] for k, one in enumerate(patterns(sent))]
    return [[acquisition_header(announced)], *images, [acquisition_header(announced)]]


SERIES = [("dectris-v1", of_v1), ("dectris-v2", of_v2), ("merlin", of_merlin)]


def taken(protocol: str, messages: list[Parts], notes: list[str]) -> tuple[list[Message], list[str]]:
    """Everything that an inlet makes of messages, and the reasons of its refusals."""
    reader, out, reasons = inlet(protocol, notes, SCAN), list[Message](), []
    for parts in messages:
        try:
            out += reader.take(parts)
        except WireError as error:
            reasons.append(error.reason)
    return [*out, *reader.flush()], reasons


@pytest.mark.parametrize(("protocol", "series"), SERIES)
@pytest.mark.parametrize(
    ("announced", "sent", "reason", "frames"),
    [
        (20, 16, "complete", 16),
        (20, 18, "complete", 18),
        (20, 20, "complete", 20),
        (40, 16, "complete", 16),
        (20, 15, "aborted", 20),
        (16, 12, "aborted", 16),
    ],
)
def test_a_scan_is_complete_when_its_points_have_come(
    protocol: str, series: Callable[[int, int], list[Parts]], announced: int, sent: int, reason: str, frames: int
) -> None:
    """Also when more images were announced; one that ended before its last point is aborted."""
    notes: list[str] = []
    out, refused = taken(protocol, series(announced, sent), notes)
    (end,) = (message for message in out if isinstance(message, EndMessage))
    assert (end.reason, end.frames, refused) == (reason, frames, [])
    further = announced - sent if reason == "complete" else 0
    assert [note for note in notes if "not sent" in note] == (
        [note for note in notes if f"{further} further images were announced but not sent" in note]
    )
    assert sum("not sent" in note for note in notes) == (further > 0)


@pytest.mark.parametrize(("protocol", "series"), SERIES)
def test_images_after_the_last_one_cost_no_other(protocol: str, series: Callable[[int, int], list[Parts]]) -> None:
    """Images are handed on many together: those of the scan must not be refused with those after it."""
    notes: list[str] = []
    out, refused = taken(protocol, series(POINTS, POINTS + 4), notes)
    assert refused == ["beyond_scan"] * 4
    assert "4 images after the last one of its scan were ignored" in notes[-1]
    (scan,) = scans_of(out).values()
    assert len(scan) == POINTS
    if protocol != "merlin":  # whose rows are stored the other way round
        assert scan == as_scan(patterns(POINTS + 4)[:POINTS])
    assert sum(isinstance(message, ArmMessage) for message in out) == 1


@pytest.mark.parametrize(
    ("announced", "sent", "ended", "received"), [(20, 16, False, 16), (20, 18, True, 18), (16, 20, True, 16)]
)
def test_what_the_receiver_makes_of_it(tmp_path: Path, announced: int, sent: int, ended: bool, received: int) -> None:
    """Also when the detector falls silent instead of ending its series."""

    def prepare(header: ScanHeader) -> ScanHeader:
        return overlay(header, SCAN)

    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as socket,
        socket.bind(address),
        running(tmp_path, idle_timeout_s=0.5, data=address, protocol=ProtocolSettings("dectris-v2", prepare)) as run,
    ):
        for parts in of_v2(announced, sent)[: None if ended else -1]:
            socket.send_multipart(parts)
            time.sleep(0)
        (end,) = run.wait_for_ends()
        run.wait(lambda: any(event.state == "complete" for event in run.recordings()))
        assert (end.reason, end.summary.lost, run.receiver.status().state) == ("complete", 0, "complete")
    (recording,) = tmp_path.glob("*.h5")
    assert len(digests_of_file(recording)) == received
    assert not any("internal" in event.text for event in run.events if isinstance(event, LogEvent))


def test_a_pause_between_scans_keeps_no_other_series_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the next scan of a series counted as active for as long again as the pause before it."""
    now = 100.0
    monkeypatch.setattr(series, "time", SimpleNamespace(monotonic=lambda: now))
    reader = inlet("dectris-v2", [], SCAN)
    start, *images, _ = of_v2(2 * POINTS, POINTS + 1)
    for parts in (start, *images[:-1]):
        list(reader.take(parts))
    now += 60
    list(reader.take(images[-1]))
    now += 1.5  # the sender is gone, and the header of the next series is lost
    out = list(reader.take(v2_image(4, 0, patterns(1)[0], "none", "B")))
    assert any(isinstance(message, ArmMessage) for message in out)
