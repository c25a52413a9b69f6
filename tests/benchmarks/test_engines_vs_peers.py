"""Engines compared with other programs: their input, and the line that reports how far results differ."""

import numpy as np
import pytest

from benchmarks import engines_vs_peers as bench
from benchmarks.peers.engine_cases import CASES, start_phase


def test_the_line_says_how_far_apart_the_mean_curves_are():
    theirs = {"version": "Other 1.0", "curves": [[0.4, 0.19], [0.4, 0.21]]}
    said = bench.row("adam", theirs, [[0.4, 0.202]])
    assert said == (
        "adam: Other 1.0 0.4000 to 0.2000, here 0.4000 to 0.2020;"
        " at most 1.00% apart, 1.00% of the fall (seeds scatter by 5.00%)"
    )


def test_a_program_that_is_not_named_is_asked_for():
    with pytest.raises(SystemExit, match="--ptyrad-python PATH"):
        bench.peer_curves(CASES["adam"], {}, None, [0], own_batches=False)


def test_the_start_is_noise_and_always_the_same():
    np.testing.assert_array_equal(start_phase((2, 30, 40)), start_phase((2, 30, 40)))
    assert start_phase((2, 30, 40)).std() == pytest.approx(0.05, rel=0.1)  # of 2400 draws
