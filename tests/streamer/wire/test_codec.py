"""Compressed patterns: exact if whole, otherwise refused."""

import struct
from typing import Any

import numpy as np
import pytest
from stream_tools import compressed, make_frames, make_header

from ptylive.schema import WireError
from ptylive.streamer.fast.decoder import CompiledDecoder
from ptylive.streamer.wire import FrameLayout, FramesMessage, decode_frames
from ptylive.streamer.wire import codec as wire_codec
from ptylive.streamer.wire.codec import decode_pattern
from ptylive.streamer.wire.plain_codec import decode_bslz4, decode_lz4


@pytest.fixture(params=["plain", "compiled"], autouse=True)
def _decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for both decoders."""
    monkeypatch.setattr(wire_codec._of_thread, "decoder", None)
    monkeypatch.setattr(wire_codec, "_make_decoder", [CompiledDecoder] if request.param == "compiled" else [])


@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4"])
def test_a_pattern_decodes_to_itself(codec: Any, dtype: str) -> None:
    pattern = np.random.default_rng(1).poisson(2, (48, 50)).astype(dtype)
    assert decode_pattern(codec, compressed(pattern, codec), pattern.nbytes, pattern.itemsize) == pattern.tobytes()


@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
def test_what_announces_another_size_is_refused_before_decoding(codec: Any) -> None:
    blob = bytearray(compressed(np.zeros((16, 16), "<u2"), codec))
    blob[:8] = struct.pack(">Q", 2**60)
    with pytest.raises(WireError) as caught:
        decode_pattern(codec, bytes(blob), 512, 2)
    assert caught.value.reason == "wrong_size"
    with pytest.raises(WireError) as caught:
        decode_pattern(codec, bytes(blob[:5]), 512, 2)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
def test_a_cut_pattern_is_refused(codec: Any) -> None:
    pattern = np.random.default_rng(2).poisson(2, (32, 32)).astype("<u2")
    blob = compressed(pattern, codec)
    for length in range(12, len(blob), 7):
        with pytest.raises(WireError):
            decode_pattern(codec, blob[:length], pattern.nbytes, 2)


def test_one_bad_pattern_does_not_spoil_its_message() -> None:
    header = make_header()
    frames = make_frames(header)
    parts = [compressed(frame) for frame in frames[:4]]
    parts[2] = parts[2][:-3]
    got, good, problems = decode_frames(FramesMessage(header.uid, 0, 4, "bslz4", tuple(parts)), FrameLayout.of(header))
    assert good.tolist() == [True, True, False, True]
    assert [problem.reason for problem in problems] == ["corrupt"]
    np.testing.assert_array_equal(got[good], frames[:4][good])


def test_both_decoders_agree_on_damaged_patterns() -> None:
    chance, fast = np.random.default_rng(4), CompiledDecoder()
    refused = 0
    for n in range(200):
        codec: Any = ("bslz4", "lz4")[n % 2]
        pattern = chance.poisson(2, (20, 22)).astype("<u2")
        blob = bytearray(compressed(pattern, codec))
        blob[int(chance.integers(12, len(blob)))] ^= 1 << int(chance.integers(8))
        block = int.from_bytes(blob[8:12], "big")
        part = bytes(blob)
        try:
            plain = (decode_lz4 if codec == "lz4" else decode_bslz4_of_two)(part, pattern.nbytes, block)
        except ValueError:
            refused += 1
            with pytest.raises(ValueError, match="format"):
                fast.decode(codec, np.frombuffer(part, np.uint8), pattern.nbytes, 2, block)
        else:
            assert fast.decode(codec, np.frombuffer(part, np.uint8), pattern.nbytes, 2, block) == plain
    assert 0 < refused < 200


def decode_bslz4_of_two(part: bytes, nbytes: int, block: int) -> bytes:
    return decode_bslz4(part, nbytes, 2, block)


def test_items_of_eight_bytes() -> None:
    pattern = np.random.default_rng(5).poisson(2, (16, 17)).astype("<u8")
    assert decode_pattern("bslz4", compressed(pattern), pattern.nbytes, 8) == pattern.tobytes()


@pytest.mark.parametrize(
    ("decode", "arguments"),
    [
        (decode_lz4, (b"\0" * 12, 8, 0)),
        (decode_bslz4, (b"\0" * 12, 512, 2, 0)),
        (decode_bslz4, (b"\0" * 12, 512, 2, 24)),
        (decode_bslz4, (b"\0" * 12, 6, 2, 16)),
        (decode_lz4, (b"\0" * 12 + struct.pack(">I", 3) + b"\xf0\xff\xff", 600, 600)),
    ],
    ids=["blocks of no bytes", "no blocks", "odd blocks", "no rest", "a length without end"],
)
def test_framing_that_cannot_be_is_refused(decode: Any, arguments: Any) -> None:
    with pytest.raises(ValueError):
        decode(*arguments)


def test_patterns_that_are_not_coded_are_not_decoded() -> None:
    with pytest.raises((ValueError, WireError)):
        decode_pattern("none", b"\0" * 32, 8, 2)
