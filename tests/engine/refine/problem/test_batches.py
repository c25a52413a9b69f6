"""Batches of few electrons, and the steps of batches of any size; what a strategy makes of them is in test_strategy."""

import pytest

from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.problem.batches import quiet_batch, step_of


def counted(dose_e_per_A2: float, patterns: int = 1000, counting_share: float = 1.0) -> PatternStatistics:
    return PatternStatistics(1e3, 1.0, 0.1, dose_e_per_A2, 0.0, counting_share=counting_share, patterns=patterns)


@pytest.mark.parametrize(("dose", "size"), [(30_000.0, 0), (10_000.0, 300), (6000.0, 500), (100.0, 500), (0.0, 0)])
def test_a_quiet_batch_has_enough_electrons_or_half_of_the_scan(dose, size):
    assert quiet_batch(counted(dose)) == size
    assert quiet_batch(counted(dose, counting_share=0.3)) == 0, "free of noise"


@pytest.mark.parametrize(("batch", "step"), [(32, 0.25), (128, 0.5), (512, 1.0), (4096, 1.0)])
def test_a_step_grows_with_the_root_of_its_batch_up_to_that_of_newton(batch, step):
    assert step_of(0.5, batch, 128, 100_000) == pytest.approx(step)
    assert step_of(0.5, batch, 128, 0) == pytest.approx(step), "of an unknown number of patterns"


def test_a_batch_is_no_larger_than_its_scan():
    assert step_of(0.5, 4096, 128, 100) == 0.5
    assert step_of(0.5, 25, 128, 100) == pytest.approx(0.25)
    assert step_of(2.0, 4096, 128, 100_000) == 2.0, "a longer step is not shortened"
