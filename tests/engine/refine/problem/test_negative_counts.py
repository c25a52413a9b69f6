"""Negative counts are taken as 0, and the result says how many that are."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptylive.engine.refine.problem.negative_counts import negative_share, negative_words


def scan(patterns: Any, **other: Any) -> Any:
    bad = np.zeros(patterns.shape[1:], dtype=bool)
    bad[0, 0] = True
    return SimpleNamespace(patterns=patterns, bad_pixels=bad, masks=None, **other)


def test_the_share_of_negative_counts_is_that_of_what_was_subtracted() -> None:
    rng = np.random.default_rng(5)
    patterns = rng.poisson(4.0, (300, 12, 12)).astype(np.float32)
    patterns[:, 6:] = rng.normal(0.0, 1.0, (300, 6, 12))
    patterns[:, 0, 0] = -1e9
    good = np.where(scan(patterns).bad_pixels, 0, patterns)
    expected = -np.minimum(good, 0).sum() / good.sum()
    # 64 of 300 patterns: the share of a normal distribution scatters by 2 %
    assert negative_share(scan(patterns)) == pytest.approx(expected, rel=0.1)
    (words,) = negative_words(scan(patterns))
    assert words.startswith("negative counts are taken as 0, which adds ")


def test_a_share_beyond_all_counts_is_no_power_of_ten() -> None:
    patterns = np.tile(np.float32([[2.2, -1.2]]), (300, 1, 1))
    flat = SimpleNamespace(patterns=patterns, bad_pixels=np.zeros((1, 2), bool), masks=None)
    assert "which adds 120 % to the dose" in negative_words(flat)[0]  # type: ignore[arg-type]


def test_nothing_is_said_of_counts_and_of_coefficients() -> None:
    counts = np.ones((5, 4, 4), np.uint16)
    assert negative_words(scan(counts)) == negative_words(scan(counts.astype(np.float32))) == ()
    vectors = SimpleNamespace(patterns=-np.ones((5, 46), np.float32), masks=np.ones((45, 4, 4)))
    assert negative_share(vectors) == 0.0  # type: ignore[arg-type]
    empty = scan(np.zeros((5, 4, 4), np.float32))
    assert negative_share(empty) == 0.0
