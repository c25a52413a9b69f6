"""Arrays beside an arm message: exactly an array, and no larger than allowed."""

import msgpack
import numpy as np
import pytest

from ptylive.schema import WireError
from ptylive.streamer.wire import arrays
from ptylive.streamer.wire.arrays import ARRAY_DTYPES, decode_array, encode_array, unpack_map

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ARRAY_DTYPES)
def test_an_array_comes_back_writable(dtype):
    array = RNG.integers(0, 2, (3, 4, 2)).astype(dtype)
    back = decode_array(encode_array(array[::2]), "mask")
    assert back.dtype == array.dtype and back.flags.writeable
    np.testing.assert_array_equal(back, array[::2])


def part(**fields):
    return msgpack.packb({"shape": [2, 2], "dtype": "<u2", "data": bytes(8), **fields})


@pytest.mark.parametrize(
    ("coded", "reason"),
    [
        (part(data=bytes(7)), "truncated"),
        (part(data=bytes(9)), "oversized"),
        (part(shape=[2**40, 2**40]), "bad_array"),
        (part(shape=[2**27, 2**27]), "truncated"),
        (part(shape=[0, 2], data=b""), "bad_array"),
        (part(shape=[-1, -8]), "bad_array"),
        (part(shape=[True, 8]), "bad_array"),
        (part(shape=[]), "bad_array"),
        (part(shape=[1, 1, 2, 2]), "bad_array"),
        (part(shape="22"), "bad_array"),
        (part(dtype="|O"), "bad_array"),
        (part(dtype=None), "bad_array"),
        (part(data="text"), "bad_array"),
        (b"\xc1", "not_msgpack"),
        (msgpack.packb([1, 2]), "not_msgpack"),
        (msgpack.packb({1: 2}), "not_msgpack"),
    ],
)
def test_anything_else_is_refused(coded, reason):
    with pytest.raises(WireError) as refused:
        decode_array(coded, "mask")
    assert refused.value.reason == reason
    assert "mask" in str(refused.value)


def test_a_part_that_is_too_large_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(arrays, "MAX_PART_BYTES", 10)
    monkeypatch.setattr(arrays, "unpack_map", lambda *given: pytest.fail("unpacked"))
    with pytest.raises(WireError, match="at most 10"):
        decode_array(bytes(11), "mask")


def test_a_map_has_text_keys():
    assert unpack_map(msgpack.packb({"type": "arm"}), "part 0") == {"type": "arm"}
    with pytest.raises(WireError, match="part 0 is not"):
        unpack_map(msgpack.packb({b"type": "arm"}, use_bin_type=True), "part 0")
