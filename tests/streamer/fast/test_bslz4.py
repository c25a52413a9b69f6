"""The compiled decoder: every pattern as it was before HDF5's filter encoded it, and no crash for invalid input."""

import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_tools import compressed

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.accumulators import WIDE_BATCHES
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.schema import Detector, FrameBatch, Scan, ScanHeader
from ptylive.streamer.fast.bslz4 import (
    CORRUPT,
    DECODED,
    TOO_WIDE,
    TRUNCATED,
    WORK_BYTES,
    WRONG_SIZE,
    check_bslz4,
    decode_bslz4,
    decode_bytes_at,
    work_space,
)
from ptylive.streamer.fast.coded import CodedBatch
from ptylive.streamer.wire import FrameLayout, plain_codec

BLOCK, WORDS = work_space()
GUARD = 64


def decode(part: bytes, nbytes: int, itemsize: int) -> tuple[int, bytes]:
    """Outcome and pattern; memory behind the pattern must stay unchanged."""
    memory = np.full(nbytes + GUARD, 0xA5, np.uint8)
    coded = np.frombuffer(bytearray(part), np.uint8)  # writable, as in the program: for others it is compiled anew
    outcome = decode_bslz4(coded, itemsize, memory[:nbytes], BLOCK, WORDS)
    assert (memory[nbytes:] == 0xA5).all()
    assert check_bslz4(coded, itemsize, nbytes) == outcome, "what passes the check decodes"
    return outcome, memory[:nbytes].tobytes()


def patterns(dtype: str, shape: tuple[int, int], kind: str) -> np.ndarray:
    chance = np.random.default_rng(zlib.crc32(repr((dtype, shape, kind)).encode()))
    high = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1000
    if kind == "zeros":
        return np.zeros(shape, dtype)
    if kind == "sparse":
        return (chance.random(shape) < 0.02).astype(dtype)
    if kind == "counts":
        return np.minimum(chance.poisson(3, shape), high).astype(dtype)
    if kind == "periodic":
        return (np.arange(shape[0] * shape[1]) % 3).reshape(shape).astype(dtype)
    return chance.integers(0, high, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("kind", ["zeros", "sparse", "counts", "periodic", "noise"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (17, 31), (96, 96), (128, 130)])
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_what_the_filter_of_hdf5_coded(dtype: str, shape: tuple[int, int], kind: str) -> None:
    pattern = patterns(dtype, shape, kind)
    part = compressed(pattern)
    outcome, decoded = decode(part, pattern.nbytes, pattern.dtype.itemsize)
    assert outcome == DECODED
    assert decoded == pattern.tobytes()
    block = int.from_bytes(part[8:12], "big")
    assert decoded == plain_codec.decode_bslz4(part, pattern.nbytes, pattern.dtype.itemsize, block)


def in_bytes(part: bytes, elements: int, itemsize: int) -> tuple[int, bytes]:
    """Outcome and a byte for each element; memory behind them must stay unchanged."""
    memory, work = np.full(elements + GUARD, 0xA5, np.uint8), np.empty(WORK_BYTES, np.uint8)
    coded = np.frombuffer(part, np.uint8)
    where = (coded.ctypes.data, len(part), itemsize, memory.ctypes.data, elements, work.ctypes.data, 0)
    outcome = decode_bytes_at.ctypes(*where)
    assert (memory[elements:] == 0xA5).all()
    return outcome, memory[:elements].tobytes()


@pytest.mark.parametrize("kind", ["zeros", "sparse", "counts"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 31), (128, 130)])
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<i2"])
def test_small_counts_become_bytes(dtype: str, shape: tuple[int, int], kind: str) -> None:
    pattern = patterns(dtype, shape, kind)
    outcome, decoded = in_bytes(compressed(pattern), pattern.size, pattern.dtype.itemsize)
    assert (outcome, decoded) == (DECODED, pattern.astype(np.uint8).tobytes())


@pytest.mark.parametrize("pixel", [0, 100, 63 * 65, 63 * 65 + 1])
@pytest.mark.parametrize("value", [256, 65535])
def test_one_count_that_no_byte_holds_is_seen(pixel: int, value: int) -> None:
    """The last elements, fewer than 8, are stored unencoded."""
    pattern = np.ones((63, 65), "<u2")
    pattern.flat[min(pixel, pattern.size - 1)] = value
    assert in_bytes(compressed(pattern), pattern.size, 2)[0] == TOO_WIDE


def test_a_pattern_of_another_size_does_not_become_bytes() -> None:
    part = compressed(np.ones((16, 16), "<u2"))
    assert in_bytes(part, 128, 2)[0] == WRONG_SIZE
    assert in_bytes(part, 512, 2)[0] == WRONG_SIZE
    assert in_bytes(part[:-1], 256, 2)[0] == CORRUPT


def test_large_values_in_few_pixels() -> None:
    pattern = np.zeros((64, 64), "<u4")
    pattern[3, 4], pattern[60, 60] = 2**32 - 1, 2**16
    assert decode(compressed(pattern), pattern.nbytes, 4) == (DECODED, pattern.tobytes())


def test_refusals_have_reasons() -> None:
    pattern = patterns("<u2", (32, 32), "counts")
    part = compressed(pattern)
    assert decode(part[:11], pattern.nbytes, 2)[0] == TRUNCATED
    assert decode(b"", pattern.nbytes, 2)[0] == TRUNCATED
    assert decode(part, pattern.nbytes + 2, 2)[0] == WRONG_SIZE
    assert decode(part[:-1], pattern.nbytes, 2)[0] == CORRUPT
    for step in (0, 7, 2**20 + 16, 2**31, 2**32 - 16):
        assert decode(part[:8] + step.to_bytes(4, "big") + part[12:], pattern.nbytes, 2)[0] == CORRUPT
    assert decode(part[:12] + (2**32 - 1).to_bytes(4, "big") + part[16:], pattern.nbytes, 2)[0] == CORRUPT


SOURCES = [
    (patterns(dtype, shape, kind), dtype)
    for dtype in ("|u1", "<u2", "<u4")
    for shape in ((17, 31), (64, 64))
    for kind in ("sparse", "counts", "periodic", "noise")
]
PARTS = [(compressed(pattern), pattern.nbytes, pattern.dtype.itemsize) for pattern, _ in SOURCES]


def damaged(part: bytes, chance: random.Random) -> bytes:
    """A part with a few bytes changed, cut, repeated or inserted."""
    data = bytearray(part)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = chance.choice([0, 1, 15, 16, 127, 240, 255, chance.randrange(256)])
        elif kind == 1:
            del data[at : at + chance.randrange(1, 40)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 40))
        else:
            data[at:at] = data[chance.randrange(len(data) + 1) :][:40]
    return bytes(data)


def agrees(part: bytes, nbytes: int, itemsize: int) -> bool:
    """Whether a part decodes; if so, the result must equal the oracle's."""
    outcome, decoded = decode(part, nbytes, itemsize)
    if outcome != DECODED:
        return False
    try:
        expected = plain_codec.decode_bslz4(part, nbytes, itemsize, int.from_bytes(part[8:12], "big"))
    except ValueError as error:
        raise AssertionError(f"decoded where Python says: {error}") from None
    assert decoded == expected
    return True


def fuzz(count: int, seed: int) -> int:
    chance = random.Random(seed)
    return sum(agrees(damaged(part, chance), nbytes, size) for part, nbytes, size in chance.choices(PARTS, k=count))


def test_damaged_patterns_are_refused_or_decode_like_the_oracle() -> None:
    assert 0 < fuzz(10_000, seed=1) < 5_000


@pytest.mark.slow
def test_many_damaged_patterns() -> None:
    assert 0 < fuzz(200_000, seed=2) < 100_000


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([1, 2, 4]), st.integers(1, 600))
def test_arbitrary_bytes_are_refused_or_decoded_as_in_python(body: bytes, itemsize: int, elements: int) -> None:
    nbytes = itemsize * elements
    framing = nbytes.to_bytes(8, "big") + (8192).to_bytes(4, "big")
    agrees(framing + body, nbytes, itemsize)


def test_a_coded_batch_decodes_when_it_is_looked_at() -> None:
    frames = np.stack([patterns("<u2", (17, 31), kind) for kind in ("zeros", "sparse", "counts", "noise")])
    parts = [np.frombuffer(compressed(frame), np.uint8) for frame in frames]
    data, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
    batch = CodedBatch("u", np.arange(4), data, ends, FrameLayout((17, 31), np.dtype("<u2")))
    assert isinstance(batch, FrameBatch)
    assert np.array_equal(batch.frames, frames)
    assert all(np.array_equal(batch.frame(k), frames[k]) for k in range(4))
    assert (batch.nbytes, batch.uid, batch.index.tolist()) == (len(data), "u", [0, 1, 2, 3])


@pytest.mark.parametrize(("step", "wide"), [(0, 0), (1, WIDE_BATCHES - 1), (200, WIDE_BATCHES - 1)])
def test_others_decode_by_the_address_a_coded_batch_brings(step: int, wide: int) -> None:
    """Through compiled code of the engine, which does not support codecs: as bytes until a pixel needs more."""
    frames = np.stack([patterns("<u2", (20, 22), "counts") for _ in range(256)])
    frames += step * np.arange(256, dtype="u2")[:, None, None]
    parts = [np.frombuffer(compressed(frame), np.uint8) for frame in frames]
    data, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
    coded = CodedBatch("u", np.arange(256), data, ends, FrameLayout((20, 22), np.dtype("<u2")))
    header = ScanHeader("u", "u", 256, Scan(shape=(16, 16)), detector=Detector(shape=(20, 22), dtype="uint16"))
    grid = DetectorGrid.of((20, 22), (9.3, 10.2), "none", 1.0)
    reduction = PixelReduction.of(grid, 6.0, np.zeros((20, 22), bool), 30)
    plain, pool = Store(header, reduction), ThreadPool(2)
    store = Store(header, reduction, pool)
    plain.add(FrameBatch("u", np.arange(256), frames))
    store.add(coded)
    for name in ("bins", "regions", "moments", "frames", "frame_sum"):
        assert np.array_equal(getattr(store, name), getattr(plain, name)), name
    assert max(one._wide_batches for one in store._accumulators) == wide
    for _ in range(wide):
        store.add(coded)
    assert max(one._wide_batches for one in store._accumulators) == 0  # bytes are tried again
    pool.close()
    damaged = CodedBatch("u", np.arange(256), np.zeros_like(data), ends, FrameLayout((20, 22), np.dtype("<u2")))
    with pytest.raises(ValueError, match="256 frames of scan u cannot be decoded"):
        Store(header, reduction).add(damaged)
