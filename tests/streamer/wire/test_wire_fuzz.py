"""Whatever arrives, decoding either returns a message or raises WireError with a reason."""

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_tools import make_frames, make_header, messages_of

from ptylive.schema import WireError
from ptylive.streamer.wire import ArmMessage, EndMessage, PingMessage, decode, encode

HEADER = make_header()
SAMPLES = [
    [bytes(part) for part in encode(message)]
    for message in (
        ArmMessage(HEADER),
        PingMessage(HEADER.uid, HEADER),
        EndMessage(HEADER.uid, 42, "complete"),
        messages_of(HEADER, make_frames(HEADER))[0],
    )
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
SECTION_KEYS = st.sampled_from(
    ["shape", "step_A", "matrix", "repeats", "flyback_frames", "dtype", "energy_eV", "C10", "kind", "n_bright", "extra"]
)


def decoded_or_refused(parts: list[bytes]) -> None:
    try:
        decode(parts)
    except WireError as error:
        assert error.reason
        assert "\n" not in str(error)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_are_decoded_or_refused(parts: list[bytes]) -> None:
    decoded_or_refused(parts)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_flipped_bytes_and_cuts(parts: list[bytes], data: st.DataObject) -> None:
    header = bytearray(parts[0])
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(header)))
    decoded_or_refused([bytes(header), *parts[1:]])
    decoded_or_refused([bytes(header[:cut]), *parts[1:]])


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.sampled_from(
        ["type", "version", "uid", "frames", "scan", "optics", "detector", "basis", "parts", "first", "arm"]
    ),
    VALUES,
)
def test_any_value_in_any_field(parts: list[bytes], key: str, value: object) -> None:
    header = {**msgpack.unpackb(parts[0]), key: value}
    decoded_or_refused([msgpack.packb(header), *parts[1:]])


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["scan", "optics", "detector", "basis"]), SECTION_KEYS, VALUES)
def test_any_value_in_any_section(section: str, key: str, value: object) -> None:
    header = msgpack.unpackb(SAMPLES[0][0])
    header[section] = {**header[section], key: value}
    decoded_or_refused([msgpack.packb(header), *SAMPLES[0][1:]])
