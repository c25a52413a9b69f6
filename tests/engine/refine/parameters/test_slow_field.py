"""Polynomials over the field: their basis, their contribution to patterns, and the adjoint."""

import numpy as np
import pytest

from ptylive.engine.refine.parameters.slow_field import SlowField, polynomials


def places(seed=0, count=50):
    return np.random.default_rng(seed).uniform(-30, 80, (count, 2))


@pytest.mark.parametrize(("order", "columns"), [(1, 2), (2, 5), (3, 9)])
def test_the_basis_is_orthogonal_and_has_no_constant(order, columns):
    basis = polynomials(places(), order).astype(float)
    assert basis.shape == (50, columns)
    np.testing.assert_allclose(basis.T @ basis, 50 * np.eye(columns), atol=1e-4)  # single precision
    np.testing.assert_allclose(basis.mean(axis=0), 0, atol=1e-6)


def test_the_first_grows_along_rows_the_second_along_columns():
    at = places()
    basis = polynomials(at, 1)
    assert np.corrcoef(basis[:, 0], at[:, 0])[0, 1] == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(basis[:, 1], at[:, 1])[0, 1] > 0.9


def test_any_polynomial_of_the_order_is_there():
    at = places(1)
    wanted = 3 + 0.1 * at[:, 0] - 0.02 * at[:, 0] * at[:, 1] + 0.003 * at[:, 1] ** 2
    design = np.column_stack([np.ones(50), polynomials(at, 2)])
    fit, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    np.testing.assert_allclose(design @ fit, wanted, atol=1e-4)  # single precision, values of some 20


def test_what_one_row_cannot_tell_is_left_out():
    at = places()
    at[:, 0] = 7.0 + 1e-8 * np.random.default_rng(3).random(50)  # rounding of a rotated scan
    basis = polynomials(at, 1)
    np.testing.assert_array_equal(basis[:, 0], 0)
    assert np.abs(basis[:, 1]).max() > 1


def test_tilts_are_added_to_given_ones_and_aberrations_are_the_patterns_own():
    basis = polynomials(places(count=6), 1)
    tilts = np.arange(36, dtype=float).reshape(6, 6)
    field = SlowField(basis, 1, (4, 5), tilts)
    coefficients = np.array([[10.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    found, aberrations, thickness = field.added(coefficients, None, None, np)
    assert thickness is None
    np.testing.assert_allclose(aberrations, 10 * basis[:, :1])
    np.testing.assert_allclose(found[:, :4], tilts[:, :4])
    np.testing.assert_allclose(found[:, 4] - tilts[:, 4], 2 * basis[:, 1], rtol=1e-6)
    np.testing.assert_allclose(found[:, 5] - tilts[:, 5], basis[:, 0], rtol=1e-6)


def test_the_gradient_is_the_adjoint():
    rng = np.random.default_rng(2)
    field = SlowField(polynomials(places(), 2).astype(float), 2, (0, 1), np.zeros((50, 6)), thickness=True)
    by_a, by_t, by_d = rng.normal(size=(50, 2)), rng.normal(size=(50, 6)), rng.normal(size=50)
    coefficients = rng.normal(size=(5, 5))
    tilts, aberrations, thickness = field.added(coefficients, None, None, np)
    product = (tilts * by_t).sum() + (aberrations * by_a).sum() + (thickness * by_d).sum()
    assert (coefficients * field.gradient(by_a, by_t, by_d, np)).sum() == pytest.approx(product, rel=1e-12)
