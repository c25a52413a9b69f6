"""A picture predicts patterns at their own places; without one all places are equivalent."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.validation import null_test
from ptylive.engine.refine.validation.null_test import losses_by_place
from ptylive.schema.preset import Preset

ODD = {"window_px": 32, "probe_modes": 1, "source_size_A": 0.0, "focal_spread_A": 0.0}
WHERE = ("cpu", 1)


@pytest.fixture(scope="module")
def problem(simulated):
    return prepare(simulated.dataset, Preset.from_mapping(ODD), None)


def at_truth(problem, specimen):
    """The start's parameters with the true phase."""
    grid = problem.grid
    rows, columns = (np.arange(n) * grid.pixel_A + o for n, o in zip(grid.shape, grid.origin_A, strict=True))
    vector = problem.start.copy()
    phase = specimen.phase(*np.meshgrid(rows, columns, indexing="ij"))
    problem.layout.object_block(vector)[...] = phase.ravel()
    return vector


GROUPS = [np.arange(first, 144, 8) for first in range(8)]


def test_the_truth_predicts_patterns_at_their_own_places(problem, simulated):
    own, elsewhere = losses_by_place(
        problem.multislice, problem.layout, at_truth(problem, simulated.specimen), GROUPS, WHERE
    )
    gain = Gain.over(elsewhere, own)
    assert own.shape == elsewhere.shape == (8,)
    assert gain.share > 10 * gain.deviation
    assert gain.share > 0.2  # found 0.6


def test_an_empty_object_tells_no_places(problem):
    """Sub-pixel remainders of the positions differ, but have no effect on a probe in vacuum."""
    own, elsewhere = losses_by_place(problem.multislice, problem.layout, problem.start, GROUPS, WHERE)
    np.testing.assert_allclose(elsewhere, own, rtol=1e-4)


def test_the_truth_says_nothing_of_patterns_in_a_wrong_order(problem, simulated):
    order = np.random.default_rng(9).permutation(144)
    shuffled = replace(problem.multislice, patterns=problem.multislice.patterns[order])
    own, elsewhere = losses_by_place(shuffled, problem.layout, at_truth(problem, simulated.specimen), GROUPS, WHERE)
    gain = Gain.over(elsewhere, own)
    assert abs(gain.share) < 4 * gain.deviation


@pytest.mark.slow
def test_many_exchanges_say_more_than_one(problem, simulated, monkeypatch):
    """With few electrons, what all places have in common is known better than any single one."""
    few = np.random.default_rng(4).poisson(0.02 * np.asarray(problem.multislice.patterns)).astype(np.float32)
    noisy, truth = replace(problem.multislice, patterns=few), at_truth(problem, simulated.specimen)
    singles = [np.arange(one, one + 1) for one in range(144)]

    def deviation():
        own, elsewhere = losses_by_place(noisy, problem.layout, truth, singles, WHERE)
        return Gain.over(elsewhere, own).deviation

    many = deviation()
    monkeypatch.setattr(null_test, "ROUNDS", 1)
    assert many < 0.95 * deviation()
