"""Patterns in transit: what a message must hold, and runs of a message."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.schema import Basis, Detector, Optics, Scan, ScanHeader, WireError
from ptylive.streamer.wire.frames import (
    COEFFICIENT_DTYPE,
    FrameLayout,
    FramesMessage,
    check_size,
    decode_frames,
    runs_of,
)

LAYOUT = FrameLayout((2, 3), np.dtype("<u2"))
PATTERNS = np.arange(24, dtype="<u2").reshape(4, 2, 3)


def message(parts, codec="none", count=4):
    return FramesMessage("uid", 100, count, codec, tuple(parts), 7)


def test_a_layout_is_that_of_pixels_or_of_coefficients():
    detector = Detector(shape=(2, 3), dtype="<u2")
    header = ScanHeader("u", "s", 4, scan=Scan(), optics=Optics(), detector=detector)
    assert FrameLayout.of(header) == LAYOUT and LAYOUT.nbytes == 12
    basis = Basis(kind="zernike", n_bright=4, n_dark=2, extra=("sum",))
    coefficients = FrameLayout.of(replace(header, basis=basis))
    assert coefficients == FrameLayout((7,), COEFFICIENT_DTYPE) and coefficients.nbytes == 28


@pytest.mark.parametrize(
    ("parts", "codec", "layout", "reason"),
    [
        ([PATTERNS.tobytes()], "none", LAYOUT, None),
        ([PATTERNS.tobytes()[:-1]], "none", LAYOUT, "truncated"),
        ([PATTERNS.tobytes() + b"0"], "none", LAYOUT, "oversized"),
        ([PATTERNS.tobytes()] * 2, "none", LAYOUT, "wrong_parts"),
        ([b""] * 4, "bslz4", LAYOUT, None),
        ([b""] * 3, "bslz4", LAYOUT, "wrong_parts"),
        ([b""] * 4, "events", LAYOUT, "wrong_parts"),
        ([b""] * 3, "events", FrameLayout((7,), COEFFICIENT_DTYPE), "wrong_parts"),
    ],
)
def test_parts_must_be_able_to_hold_the_patterns(parts, codec, layout, reason):
    if reason is None:
        check_size(message(parts, codec), layout)
        return
    with pytest.raises(WireError) as refused:
        check_size(message(parts, codec), layout)
    assert refused.value.reason == reason


def test_a_run_is_a_part_of_the_bytes_without_a_copy():
    whole = message([PATTERNS.tobytes()])
    run = whole.run(1, 3)
    assert (run.first, run.count, run.seq) == (101, 2, 7)
    np.testing.assert_array_equal(decode_frames(run, LAYOUT)[0], PATTERNS[1:3])
    assert np.shares_memory(np.frombuffer(run.parts[0], np.uint8), np.frombuffer(whole.parts[0], np.uint8))
    coded = message([b"a", b"b", b"c", b"d"], "bslz4").run(1, 3)
    assert (coded.first, coded.parts) == (101, (b"b", b"c"))


@pytest.mark.parametrize(("dtype", "shift"), [("<u2", 0), (">u2", 0), ("<u2", 1)])
def test_patterns_arrive_aligned_and_in_native_order(dtype, shift):
    """A message need not begin at an even address."""
    memory = bytearray(shift) + PATTERNS.astype(dtype).tobytes()
    frames, good, problems = decode_frames(message([memoryview(memory)[shift:]]), FrameLayout((2, 3), np.dtype(dtype)))
    assert good.all() and not problems
    assert frames.dtype.isnative and frames.flags.aligned
    np.testing.assert_array_equal(frames, PATTERNS)
    plain = dtype == "<u2" and not shift
    assert np.shares_memory(frames, np.frombuffer(memory, np.uint8)) is plain, "copied only if necessary"


def test_a_pattern_that_cannot_be_decoded_is_empty_and_the_others_are_good():
    frames, good, problems = decode_frames(message([b"no"] * 4, "bslz4"), LAYOUT)
    assert not good.any() and not frames.any() and len(problems) == 4


def test_runs_of_a_long_mask_are_not_cut_where_it_is_read_in_pieces():
    mask = np.zeros(2**20 + 10, dtype=bool)
    mask[2**20 - 3 : 2**20 + 4] = True
    mask[[0, -1]] = True
    assert [*runs_of(mask)] == [(0, 1), (2**20 - 3, 2**20 + 4), (2**20 + 9, 2**20 + 10)]
    assert [*runs_of(np.zeros(3, dtype=bool))] == [] and [*runs_of(np.ones(3, dtype=bool))] == [(0, 3)]
