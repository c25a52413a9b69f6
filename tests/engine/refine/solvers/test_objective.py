"""What the objective adds to a backend's loss, and what it holds fixed. Without optics: losses and gradients are 1."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.solvers import objective as objective_module
from ptylive.engine.refine.solvers.objective import Objective

PATTERNS = 6


@dataclass
class Part:
    """Loss and gradient of some patterns."""

    loss: float
    gradient: np.ndarray

    def __add__(self, other):
        return Part(self.loss + other.loss, self.gradient + other.gradient)


class Backend:
    xp = np

    def __init__(self):
        self.asked = []

    def loss_and_gradient(self, _object, _probe, indices, *, probe_gradient, corrections):
        self.asked.append((indices.tolist(), probe_gradient))
        return Part(float(len(indices)), np.full(5, float(len(indices))))


class ParameterLayout:
    """Two parameters of the object, one of the probe, two others."""

    object_size, probe_size = 2, 1
    planes = modes = window = 1
    probe = SimpleNamespace(phase_per_A=None)

    def lower_bounds(self):
        return [(slice(0, 2), 0.0)]

    def physical(self, vector, xp):
        return SimpleNamespace(object=None, probe=None, corrections=None)

    def chain(self, vector, physical, result, xp):
        return result.gradient.copy()

    def object_block(self, vector):
        return vector[:2]

    def probe_block(self, vector):
        return vector[2:3]

    def other_blocks(self, vector):
        return {BlockName.CURRENT: vector[3:4], BlockName.TILTS: vector[4:5]}


class Pull:
    """A term of value 10 with its own derivative."""

    def add(self, layout, vector, gradient, xp):
        gradient += np.arange(5.0)
        return 10.0


@pytest.fixture
def objective():
    def make(backend=None, **changes):
        return Objective(backend or Backend(), ParameterLayout(), PATTERNS, **changes)

    return make


def test_terms_count_once_over_a_sweep_whatever_its_batches(objective):
    asked = objective(terms=(Pull(), Pull()))
    whole = asked.evaluate(np.zeros(5))
    assert whole.loss == PATTERNS + 20
    np.testing.assert_allclose(whole.gradient, PATTERNS + 2 * np.arange(5.0))
    batches = [asked.evaluate(np.zeros(5), part) for part in np.split(np.arange(PATTERNS), 3)]
    assert sum(batch.loss for batch in batches) == pytest.approx(whole.loss)
    np.testing.assert_allclose(sum(batch.gradient for batch in batches), whole.gradient)


@pytest.mark.parametrize(
    ("changes", "moving"),
    [
        ({}, [True] * 5),
        ({"move_object": False}, [False, False, True, True, True]),
        ({"move_probe": False}, [True, True, False, True, True]),
        ({"move_others": False}, [True, True, True, False, False]),
        ({"fixed": frozenset({BlockName.TILTS})}, [True, True, True, True, False]),
    ],
)
def test_what_is_fixed_has_no_derivative_whatever_terms_say(objective, changes, moving):
    gradient = objective(terms=(Pull(),), **changes).evaluate(np.zeros(5)).gradient
    np.testing.assert_array_equal(gradient != 0, moving)


def test_patterns_that_do_not_count_are_not_asked_for(objective):
    some = objective(chosen=np.array([1, 4]))
    assert (some.evaluate(np.zeros(5)).loss, some.count) == (2.0, 2)
    assert some.evaluate(np.zeros(5), np.array([0, 1, 2])).loss == 3.0
    assert [indices for indices, _ in some.backend.asked] == [[1, 4], [0, 1, 2]]


def test_long_evaluations_pause_between_portions_and_sum_them(objective, monkeypatch):
    monkeypatch.setattr(objective_module, "PORTION", 4)
    pauses = []
    long = objective(pause=lambda: pauses.append(None), move_probe=False)
    found = long.evaluate(np.zeros(5))
    assert found.loss == PATTERNS
    np.testing.assert_allclose(found.gradient, [PATTERNS, PATTERNS, 0, PATTERNS, PATTERNS])
    assert long.backend.asked == [([0, 1, 2, 3], False), ([4, 5], False)]
    assert len(pauses) == 1


class Quick(Backend):
    """A backend that offers losses without gradients: the squares of the patterns' numbers."""

    def losses(self, _object, _probe, indices, *, corrections):
        self.asked.append(indices.tolist())
        return indices.astype(float) ** 2


GROUPS = [np.array([5, 1]), np.array([2, 3, 4])]


def test_losses_of_groups_are_taken_without_gradients_in_portions(objective, monkeypatch):
    monkeypatch.setattr(objective_module, "PORTION", 4)
    pauses = []
    quick = objective(backend=Quick(), pause=lambda: pauses.append(None))
    assert quick.losses(np.zeros(5), GROUPS) == (26.0, 29.0)
    assert quick.backend.asked == [[5, 1, 2, 3], [4]]
    assert len(pauses) == 1, "between portions: a stop before the first would lose an epoch that has ended"
    assert quick.losses(np.zeros(5), []) == ()


def test_losses_of_groups_are_those_of_evaluations_without_such_a_backend_or_with_terms(objective):
    assert objective().losses(np.zeros(5), GROUPS) == (2.0, 3.0)
    pulled = objective(backend=Quick(), terms=(Pull(),))
    assert pulled.losses(np.zeros(5), GROUPS) == tuple(pulled.evaluate(np.zeros(5), group).loss for group in GROUPS)


class SecondFixed:
    """Keeps the second of the five parameters."""

    def project_gradient(self, layout, vector, gradient, xp):
        gradient[1] = 0

    def restore_fixed(self, layout, vector, xp):
        vector[1] = 7


def test_parts_that_a_preset_holds_neither_derivative_nor_move(objective):
    fixed = objective(constraint=SecondFixed())
    np.testing.assert_array_equal(fixed.evaluate(np.ones(5)).gradient != 0, [True, False, True, True, True])
    np.testing.assert_array_equal(fixed.project(np.array([-1.0, 2, 3, 4, 5])), [0, 7, 3, 4, 5])
