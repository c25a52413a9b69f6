"""The limit below which electrons are too few for several slices."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.problem.few_electrons import are_few

FEW = PatternStatistics(
    counts_per_pattern=900, bright_counts=1.0, dark_counts=0.02, dose_e_per_A2=4900.0, noise_spread=0.0
)


@pytest.mark.parametrize(
    ("change", "few"),
    [
        ({}, True),
        ({"dose_e_per_A2": 5100.0}, False),
        ({"dose_e_per_A2": np.nan}, False),
        ({"noise_spread": 0.3}, False),
        ({"counting_share": 0.0}, False),
    ],
    ids=["few", "more", "nobody-knows", "correlated-noise", "free-of-noise"],
)
def test_they_are_few_and_counted_one_by_one(change, few):
    assert are_few(replace(FEW, **change)) is few
