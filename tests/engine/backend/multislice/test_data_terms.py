"""The table of data terms: it is complete, its curvatures are right, and no term falls through to another loss."""

from dataclasses import replace

import numpy as np
import pytest
from rounding import U

from ptylive.engine.backend.multislice import compiled_terms
from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.compiled_terms import compare
from ptylive.engine.backend.multislice.data_terms import NUMBERS, PIXEL_TERMS, pixel_terms
from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTerm, DataTermKind
from ptylive.engine.backend.multislice.window import window_of


def test_every_data_term_has_a_row_and_a_number_of_its_own():
    assert set(PIXEL_TERMS) == set(DataTermKind)
    assert len(set(NUMBERS.values())) == len(DataTermKind)


@pytest.mark.parametrize("kind", list(DataTermKind))
def test_derivatives_are_those_of_the_loss(kind):
    term, counts = DataTerm(kind, 0.3), np.array([0.0, 1.0, 3.0, 40.0, 900.0])
    intensity, h = np.array([0.2, 2.5, 2.0, 47.0, 850.0]), 1e-4
    (above, derivative_above), (below, derivative_below) = (
        pixel_terms(np, term, intensity + s * h, counts) for s in (1, -1)
    )
    # central differences: truncation of 1e-8 relative to values of order 1, and rounding of 1e-16 x loss / h
    np.testing.assert_allclose(pixel_terms(np, term, intensity, counts)[1], (above - below) / (2 * h), atol=1e-6)
    fit = np.array([1.0, 3.0, 40.0, 900.0])
    (_, derivative_above), (_, derivative_below) = (pixel_terms(np, term, fit + s * h, fit) for s in (1, -1))
    offset = 0.3 if PIXEL_TERMS[kind].constant else 0.0
    expected = PIXEL_TERMS[kind].curvature(fit + offset)
    # ml pulls the model to counts - offset, where its curvature is D / (D + c)^2, within c / D of 1 / (D + c)
    relative = offset / fit if kind is DataTermKind.POISSON else 1e-6 + 0 * fit
    np.testing.assert_array_less(np.abs((derivative_above - derivative_below) / (2 * h) / expected - 1), relative)


@pytest.mark.parametrize("kind", list(CoefficientTermKind))
def test_a_loss_of_coefficients_is_no_loss_of_pixels(kind, make_problem):
    with pytest.raises((KeyError, ValueError)):
        pixel_terms(np, DataTerm(kind, 0.0), np.ones(3), np.ones(3))
    problem = replace(make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1), data_term=DataTerm(kind, 0.0))
    with pytest.raises((KeyError, ValueError)):
        CompiledMultislice(problem)


@pytest.mark.slow  # compiles for two seconds; quick tests compare the whole kernel with the reference for every term
@pytest.mark.parametrize("kind", list(DataTermKind))
def test_compiled_code_calls_what_the_table_names(kind):
    rng, window, row = np.random.default_rng(0), window_of(32), PIXEL_TERMS[kind]
    intensity, counts, weights = rng.uniform(0.1, 9, (3, 32 * 32)).astype(np.float32)
    offset, scale = np.float32(0.3), np.float32(0.5)
    takes_offset = kind in (DataTermKind.AMPLITUDE, DataTermKind.POISSON)
    found, expected = intensity.copy(), intensity.copy()
    loss = compare(window, (row.number, 0.3, 0), found, counts, weights, scale)
    function, numbers = getattr(compiled_terms, row.compiled), (offset, scale) if takes_offset else (scale,)
    # a sum of 1024 terms of one sign in single precision, in whatever order the processor adds them
    assert loss == pytest.approx(function(window, expected, counts, weights, *numbers), rel=1024 * U)
    # some ten roundings of numbers that are subtracted: up to 1, for least squares up to 27
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    derivative = pixel_terms(np, DataTerm(kind, 0.3), 0.5 * intensity.astype(float), counts.astype(float))[1]
    np.testing.assert_allclose(found, 2 * scale * weights * derivative, rtol=1e-4, atol=1e-5)


def test_a_number_that_no_data_term_has_gives_no_loss(make_problem, make_planes, monkeypatch):
    """Fast compiled code cannot raise an error: the loss becomes NaN instead, which ends a refinement at once."""
    kind = DataTermKind.AMPLITUDE
    monkeypatch.setitem(PIXEL_TERMS, kind, replace(PIXEL_TERMS[kind], number=max(NUMBERS.values()) + 1))
    problem = make_problem(32, 1, kind, 0.1)
    planes, probe = (array.astype(np.float32) for array in make_planes(problem, 1))
    assert np.isnan(CompiledMultislice(problem).loss_and_gradient(planes, probe).loss)


def test_the_kernel_of_the_gpu_is_told_the_same_numbers():
    plan = Plan.of(64)
    assert plan is not None
    defines = plan.defines("uint16")
    assert {name: int(defines[name]) for name in NUMBERS} == NUMBERS
