"""States of an object that differ in detail only."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.object_states import MixedVariance

RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(3, 2, 8, 10)) + 1j * RNG.normal(size=(3, 2, 8, 10))
TERM = MixedVariance(0.7, 0.2)


def test_the_gradient_is_that_of_the_value():
    along = RNG.normal(size=STATES.shape) + 1j * RNG.normal(size=STATES.shape)
    ahead, behind = (TERM.of(STATES + step * along, np).value for step in (1e-4, -1e-4))
    gradient = TERM.of(STATES, np).gradient
    assert (ahead - behind) / 2e-4 == pytest.approx(float((gradient.conj() * along).real.sum()), rel=1e-9)


def test_states_that_are_alike_cost_nothing():
    alike = np.repeat(STATES[:1], 3, axis=0)
    assert TERM.of(alike, np).value == pytest.approx(0.0, abs=1e-20)
    np.testing.assert_allclose(TERM.of(alike, np).gradient, 0.0, atol=1e-12)


def test_details_cost_less_than_large_differences():
    rows = np.arange(8)[:, None] * np.ones(10)
    costs = []
    for cycles in (0, 1, 4):
        states = np.zeros((2, 1, 8, 10), complex)
        states[0, 0] = np.cos(2 * np.pi * cycles * rows / 8)
        costs.append(float(TERM.of(states, np).value) / float((np.abs(states) ** 2).mean()))
    assert costs[0] > costs[1] > 1e3 * costs[2]
    # one of two states is 1 everywhere: each is half of that from the mean, at frequency 0
    assert costs[0] * 0.5 == pytest.approx(TERM.weight / 2 * 2 * 80 * 0.25)


@pytest.mark.parametrize(("weight", "states", "made"), [(0.7, 3, True), (0.0, 3, False), (0.7, 1, False)])
def test_it_needs_a_weight_and_several_states(weight, states, made):
    context = SimpleNamespace(
        weight=lambda name: weight,
        settings=SimpleNamespace(mixed_variance_sigma=0.2),
        layout=SimpleNamespace(object_modes=states),
    )
    assert MixedVariance.of_preset(context) == (TERM if made else None)
