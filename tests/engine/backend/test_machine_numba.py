"""The loops that benchmark a machine compute what they claim."""

import numpy as np
import pytest

from ptylive.engine.backend import machine_numba


def test_chains_of_multiply_adds_come_to_their_limit():
    """In each chain x <- 0.999 x + 0.001 tends to 1, starting from 0.001, which shows that all chains are computed."""
    found = machine_numba.multiply_adds(20_000)
    assert found == pytest.approx(machine_numba.CHAINS, rel=1e-3)
    assert machine_numba.multiply_adds(0) == pytest.approx(0.001 * machine_numba.CHAINS)


def test_reading_adds_everything_up():
    values = np.arange(100, dtype=np.float32)
    assert machine_numba.read(values, 1) == values[1:].sum()


def test_the_clock_counts_every_round():
    assert machine_numba.ticks(0) == 0
    assert machine_numba.ticks(2) == ((2 ^ 0) + 2 ^ 1) + 2


def test_width_goes_with_the_features():
    widest = {"avx512f": 16, "avx": 8}
    known = [width for name, width in widest.items() if name in machine_numba.features()]
    assert machine_numba.lanes() == max(known, default=4)
