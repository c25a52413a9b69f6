"""Identical slices: the loss of one transmission shared by all slices, with its exact gradient."""

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.parameters.constraint import Constraints
from ptylive.engine.refine.regularisers.constraints.identical_slices import IdenticalSlices
from ptylive.engine.refine.solvers.objective import Objective


@pytest.fixture
def level(bumpy):
    """An objective in double precision, and a vector of identical slices."""
    setup = bumpy.setup
    backend = GeneralMultislice(setup.multislice, np, "complex128", "reference")
    constraint = Constraints.of(IdenticalSlices())
    objective = Objective(backend, setup.layout, setup.multislice.count, constraint=constraint)
    vector = bumpy.vector.astype(np.float64)
    IdenticalSlices().begin(setup.layout, vector, np)
    return objective, vector


def test_the_product_of_the_slices_is_kept(bumpy):
    vector = bumpy.vector.copy()
    IdenticalSlices().begin(bumpy.setup.layout, vector, np)
    for before, now in zip(bumpy.potentials(bumpy.vector), bumpy.potentials(vector), strict=True):
        np.testing.assert_allclose(now, np.broadcast_to(before.mean(axis=1, keepdims=True), now.shape), atol=1e-6)
    again = vector.copy()
    IdenticalSlices().restore_fixed(bumpy.setup.layout, again, np)
    np.testing.assert_allclose(again, vector, atol=1e-6)


def test_the_gradient_is_that_of_the_shared_transmission(bumpy, level):
    """The derivative by T is the sum over its slices, each of which has their mean; against differences, to 1e-6."""
    objective, vector = level
    layout, rng = bumpy.setup.layout, np.random.default_rng(5)
    few = np.arange(4)
    gradient = objective.evaluate(vector, few).gradient
    block = layout.object_block(gradient).reshape(-1, *layout.object_shape)
    np.testing.assert_array_equal(block, np.broadcast_to(block[:, :1], block.shape))
    shared = rng.normal(size=(len(block), *layout.object_shape[1:]))
    direction = np.zeros_like(vector)
    layout.object_block(direction)[...] = np.repeat(shared[:, None], layout.object_shape[0], axis=1).ravel()
    at = [float(objective.evaluate(vector + k * 1e-4 * direction, few).loss) for k in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-4
    by_shared = layout.object_shape[0] * block[:, 0]
    assert (by_shared * shared).sum() == pytest.approx(expected, rel=1e-6)


def test_steps_stay_among_identical_slices(bumpy, level):
    objective, vector = level
    gradient = objective.evaluate(vector, np.arange(4)).gradient
    moved = objective.project(vector - 0.1 * objective.inverse_curvature(vector, 1.0) * gradient)
    block = bumpy.setup.layout.object_block(moved).reshape(-1, *bumpy.setup.layout.object_shape)
    assert np.ptp(block, axis=1).max() < 1e-12
    assert np.abs(moved - vector).max() > 1e-4


def test_one_slice_is_identical_anyway(bumpy, thin):
    assert bumpy.made(identical_slices=True) == [IdenticalSlices()]
    assert bumpy.made() == thin.made(identical_slices=True) == []
