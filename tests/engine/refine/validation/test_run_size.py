"""Contributions to the memory of a run."""

import dataclasses

from ptylive.engine.refine.solvers.pairs import LONG
from ptylive.engine.refine.validation.run_size import (
    FIT_BYTES,
    LIBRARY_BYTES,
    PROGRAM_BYTES,
    RunSize,
    kept_bytes,
)

SIZE = RunSize(
    patterns=10,
    recorded_bytes=5000,
    shown=10,
    window_px=8,
    pixel_bytes=2,
    object_pixels=300,
    object_parts=1,
    probe_size=128,
)


def test_every_part_is_counted():
    patterns = 5000 + 10 * 8 * 8 * 2
    vectors = (2 * 3 + 9) * 4 * (300 + 128)  # pairs of L-BFGS, and what else the solver keeps, in single precision
    planes = (2 + 2) * 300 * 8  # complex64: transmission, sum and a gradient for each thread
    whole = PROGRAM_BYTES + patterns + vectors + planes
    assert SIZE.peak_bytes(history=3, threads=2) == whole
    turns = 10 * 4 * 8 * 4  # cosine and sine along both axes, a float each
    assert dataclasses.replace(SIZE, descanned=True).peak_bytes(history=3, threads=2) == whole + turns


def test_a_large_fit_of_the_drift_is_the_peak():
    patterns = 5000 + 10 * 8 * 8 * 2
    assert dataclasses.replace(SIZE, fitted=10).peak_bytes(3, 1) == SIZE.peak_bytes(3, 1), "before the rest begins"
    fitted = dataclasses.replace(SIZE, fitted=10**8).peak_bytes(3, 1)
    assert fitted == LIBRARY_BYTES + patterns + FIT_BYTES * 10**8


def test_a_complex_object_is_its_own_transmission():
    complex_one = dataclasses.replace(SIZE, object_parts=2)
    assert complex_one.peak_bytes(3, 1) - SIZE.peak_bytes(3, 1) == 15 * 4 * 300 - 8 * 300


def test_a_long_history_takes_half():
    """Vectors of pairs are packed from a certain length on; other vectors of the solver are not."""
    longest = LONG - SIZE.probe_size - 1
    short, long = (dataclasses.replace(SIZE, object_pixels=longest + more) for more in (0, 1))
    assert short.peak_bytes(3, 1) - short.peak_bytes(0, 1) == 2 * 3 * 4 * (LONG - 1)
    assert long.peak_bytes(3, 1) - long.peak_bytes(0, 1) == 2 * 3 * 2 * LONG


def test_double_precision_takes_twice_as_much_and_is_not_packed():
    vectors, planes = (2 * 3 + 9) * 8 * (300 + 128), (2 + 2) * 300 * 16
    double = dataclasses.replace(SIZE, number_bytes=8)
    assert double.peak_bytes(3, 2) == PROGRAM_BYTES + 5000 + 10 * 8 * 8 * 2 + vectors + planes
    long = dataclasses.replace(double, object_pixels=LONG)
    assert long.peak_bytes(3, 1) - long.peak_bytes(0, 1) == 2 * 3 * 8 * (LONG + SIZE.probe_size)


def test_small_counts_take_a_byte():
    assert [kept_bytes(2, most) for most in (255.0, 256.0)] == [1, 2]
    assert [kept_bytes(8, most) for most in (3.0, float("inf"))] == [1, 4]
