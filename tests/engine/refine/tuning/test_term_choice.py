"""The data term is chosen by what halves of the data promise."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.term_choice import TermChoice, choose_term, promise
from ptylive.schema.preset import Preset

BENCH = TrialContext("cpu")
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(64, 64))


def noisy(level: float, bias: float = 0.0) -> np.ndarray:
    other = np.random.default_rng(5).normal(size=TRUTH.shape)
    return TRUTH + bias * other + level * RNG.normal(size=TRUTH.shape)


def against_truth(picture: np.ndarray) -> float:
    return float(np.corrcoef(picture.ravel(), TRUTH.ravel())[0, 1])


@pytest.mark.parametrize(("noise", "bias"), [(0.2, 0.0), (0.6, 0.0), (0.1, 0.4), (0.3, 0.3)])
def test_promise_is_the_correlation_with_the_truth(noise, bias):
    """Halves of known noise and bias, and unbiased ones; the mean of both halves has half the noise power."""
    halves = noisy(noise, bias), noisy(noise, bias)
    unbiased = noisy(0.5), noisy(0.5)
    both = (halves[0] + halves[1]) / 2
    assert promise(halves, unbiased) == pytest.approx(against_truth(both), abs=0.03)


def test_the_term_that_promises_more_is_taken():
    choice = TermChoice((("ml", 0.97), ("lsq_sqrt", 0.95)))
    assert choice.term == "ml"
    assert "0.970 with ml, 0.950 with lsq_sqrt" in choice.reason


def repeated(dataset: Dataset, times: int) -> Dataset:
    """The scan beside itself, so that there are patterns enough to halve."""
    rows, cols = dataset.scan_shape
    step = dataset.positions_A[cols] - dataset.positions_A[0]
    return replace(
        dataset,
        patterns=np.concatenate([dataset.patterns] * times),
        point=np.arange(times * rows * cols),
        positions_A=np.concatenate([dataset.positions_A + k * rows * step for k in range(times)]),
        scan_shape=(times * rows, cols),
    )


def test_trials_decide_where_pixels_hold_few_counts(simulated):
    dataset = repeated(simulated.dataset, 2)
    faint = replace(dataset, patterns=(np.random.default_rng(1).binomial(dataset.patterns, 0.2)).astype(np.uint16))
    preset = Preset(probe_modes=1, source_size_A=0.0, focal_spread_A=0.0)
    choice = choose_term(faint, preset, BENCH)
    assert choice is not None
    assert all(0.3 < promised <= 1.0 for _, promised in choice.promised)
    result = refine(faint, preset.model_copy(update={"sweeps": 1, "epoch_max": 1}), backend="cpu")
    assert "halves of the data promise" in result.reason
    assert result.algorithm.startswith(choice.term)


@pytest.mark.parametrize(
    "changes",
    [{"algorithm": "lsq_sqrt"}, {"loss_offset": 0.1}, {"num_slices": 2, "total_thickness_A": 20.0}],
)
def test_nothing_is_tried_where_the_term_is_given_or_the_specimen_thick(simulated, changes):
    assert choose_term(repeated(simulated.dataset, 2), Preset(probe_modes=1, **changes), BENCH) is None


def test_noise_free_patterns_are_told_from_counts(simulated):
    dataset = repeated(simulated.dataset, 2)
    assert choose_term(simulated.dataset, Preset(probe_modes=1), BENCH) is None  # too few to halve
    smooth = np.broadcast_to(dataset.patterns.mean(axis=0, dtype=np.float32), dataset.patterns.shape)
    assert choose_term(replace(dataset, patterns=smooth), Preset(probe_modes=1), BENCH) is None


def test_variance_over_mean_of_dark_pixels(simulated):
    from ptylive.engine.refine.problem.measurement import Observation

    statistics: PatternStatistics = Observation.of(simulated.dataset, Preset(probe_modes=1)).statistics()
    assert statistics.counting_share == pytest.approx(1.0, abs=0.25)
