"""Logarithm, sine and cosine of compiled code, compared with numpy's in double precision."""

import numba
import numpy as np
import pytest

from ptylive.engine.backend.elementary import logarithm, sine_and_cosine

RNG = np.random.default_rng(0)


@numba.jit(nopython=True)
def fill(values, angles, out):
    for k in range(values.shape[0]):
        out[0, k] = logarithm(values[k])
        out[1, k], out[2, k] = sine_and_cosine(angles[k])


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_they_are_as_exact_as_their_precision(real):
    unit = np.finfo(real).eps
    values = np.exp(RNG.uniform(-60, 60, 20_000)).astype(real)
    values[:2] = 1, np.finfo(real).tiny
    angles = np.linspace(-np.pi / 4, np.pi / 4, len(values)).astype(real)
    out = np.empty((3, len(values)), real)
    fill(values, angles, out)
    exact = np.log(values.astype(float))
    # the single-precision polynomial is good to 2e-7, three roundings of a number near 1; the exponent's share rounds
    # too
    assert (np.abs(out[0] - exact) <= unit * (4 + np.abs(exact))).all()
    assert np.abs(out[1] - np.sin(angles.astype(float))).max() <= unit
    assert np.abs(out[2] - np.cos(angles.astype(float))).max() <= unit


@pytest.mark.parametrize("function", [logarithm, sine_and_cosine])
def test_they_are_for_compiled_code_only(function):
    with pytest.raises(NotImplementedError, match="for compiled code"):
        function(1.0)
