"""10 000 mutated DECTRIS messages before and within valid scans: every image arrives, every refusal has a reason."""

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import cbor2
import pytest
from dectris_tools import (
    Parts,
    inlet,
    patterns,
    v1_end,
    v1_header,
    v1_image,
    v2_end,
    v2_image,
    v2_start,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptylive.schema import WireError
from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer
from ptylive.streamer.patience import Patience
from ptylive.streamer.protocols import Inlet
from ptylive.streamer.ring import Ring
from ptylive.streamer.wire import FramesMessage, Message

FRAMES = patterns(8)
SHAPE = (16, 12)
SERIES = 34
SAMPLES: dict[str, list[Parts]] = {
    "dectris-v1": [
        v1_header(SERIES, 8, SHAPE),
        *(v1_image(SERIES, k, frame) for k, frame in enumerate(FRAMES)),
        v1_end(SERIES),
    ],
    "dectris-v2": [
        v2_start(SERIES, 8, SHAPE, "A"),
        *(v2_image(SERIES, k, frame, unique="A") for k, frame in enumerate(FRAMES)),
        v2_end(SERIES, "A"),
    ],
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([SERIES, 0, 1, 7, 8, "A", "<", "bs16-lz4<", "uint16", [12, 16]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
KEYS = {
    "dectris-v1": ["htype", "series", "frame", "shape", "type", "encoding", "size", "ntrigger", "bit_depth_image"],
    "dectris-v2": ["type", "series_id", "series_unique_id", "image_id", "data", "number_of_images", "user_data"],
}


def with_value(protocol: str, part: bytes, key: str, value: Any) -> bytes:
    """A part with another value in one field; other parts stay unchanged."""
    try:
        if protocol == "dectris-v1":
            return json.dumps({**json.loads(part), key: value}).encode()
        return cbor2.dumps({**cbor2.loads(part), key: value})
    except (ValueError, TypeError, cbor2.CBORError):
        return part


def mutated(protocol: str, data: st.DataObject, samples: slice = slice(None)) -> Parts:
    """One damaged message of a valid series."""
    parts = copy.copy(data.draw(st.sampled_from(SAMPLES[protocol][samples])))
    where = data.draw(st.integers(0, len(parts) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "drop", "swap", "value", "value", "noise"]))
    part = bytearray(parts[where])
    if kind == "flip":
        for _ in range(data.draw(st.integers(1, 4))):
            part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
        parts[where] = bytes(part)
    elif kind == "cut":
        parts[where] = bytes(part[: data.draw(st.integers(0, len(part)))])
    elif kind == "drop":
        del parts[where]
    elif kind == "swap":
        other = data.draw(st.integers(0, len(parts) - 1))
        parts[where], parts[other] = parts[other], parts[where]
    elif kind == "value":
        parts[where] = with_value(protocol, bytes(part), data.draw(st.sampled_from(KEYS[protocol])), data.draw(VALUES))
    else:
        parts = data.draw(st.lists(st.binary(max_size=40), max_size=5))
    return parts


def take(reader: Inlet, parts: Parts, out: list[Message]) -> None:
    """Handle one message as the receiver does."""
    try:
        for message in reader.take(parts):
            out.append(message)
    except WireError as error:
        assert error.reason
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def acquisition() -> Iterator[Acquisition]:
    """One acquisition for all examples: earlier messages must not matter."""
    ring = Ring()
    acquisition = Acquisition(ring, None, Patience(), Announcer(lambda event: None))
    yield acquisition
    acquisition.stop(5)


def check(protocol: str, data: st.DataObject, acquisition: Acquisition) -> None:
    """Five damaged messages, then a series with more of them between its images: it arrives whole; nothing breaks."""
    reader = inlet(protocol, values={"scan.shape": (2, 4)} if data.draw(st.booleans()) else {})
    before, valid = list[Message](), list[Message]()
    for _ in range(5):
        take(reader, mutated(protocol, data), before)
    before += reader.flush()
    for number, parts in enumerate(SAMPLES[protocol]):
        if 1 < number < 9:
            take(reader, mutated(protocol, data, slice(1, -1)), valid)
        take(reader, parts, valid)
    valid += reader.flush()
    frames = [message for message in valid if isinstance(message, FramesMessage)]
    assert {n for message in frames for n in range(message.first, message.first + message.count)} >= set(range(8))
    for message in (*before, *valid):
        with contextlib.suppress(WireError):
            acquisition.handle(message)


@pytest.mark.parametrize("protocol", list(SAMPLES))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_messages_are_refused_or_harmless(protocol: str, acquisition: Acquisition, data: st.DataObject) -> None:
    check(protocol, data, acquisition)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("protocol", list(SAMPLES))
@settings(max_examples=900, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_hundred_thousand_mutated_messages(
    protocol: str, part: int, acquisition: Acquisition, data: st.DataObject
) -> None:
    check(protocol, data, acquisition)
