"""A probe that varies over the scan: derivatives in double precision, and the limit of the plain model."""

from dataclasses import replace

import numpy as np
import pytest
from forward_problems import check_gradients, coefficients, every_correction, groups, make_planes, make_problem, tilts
from quick_first import quick_first

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind


def double(problem):
    return GeneralMultislice(problem, np, "complex128", "double")


@pytest.mark.parametrize("kind", list(DataTermKind))
@pytest.mark.parametrize(
    ("slices", "modes", "object_modes", "varying"), quick_first([(1, 2, 1, 2), (3, 3, 2, 2), (1, 1, 1, 1)], 2)
)
def test_derivatives_by_components_and_coefficients(kind, slices, modes, object_modes, varying):
    problem = make_problem(kind, slices, varying_modes=varying, tilts=tilts(4), aberrations=groups())
    check_gradients(problem, modes, object_modes)


def test_derivatives_of_coefficients_of_patterns():
    kind = CoefficientTermKind.GAUSS
    check_gradients(make_problem(kind, 2, varying_modes=1, compressed=coefficients(kind)), 2, 1)


def test_each_pattern_has_its_own_probe():
    """The sum over patterns evaluated one by one, each with the probe given by its coefficients."""
    problem = make_problem(slices=2, varying_modes=2)
    planes, probe = make_planes(problem, 3, 1)
    asked = every_correction(problem)
    together = double(problem).loss_and_gradient(planes, probe, corrections=asked).loss
    plain = double(replace(problem, model=replace(problem.model, varying_modes=0)))
    own = asked.opr_components.reshape(2, 2, 2, *probe.shape[2:])
    without, one_by_one = replace(asked, opr_components=None, opr_coefficients=None), 0.0
    for n, (a, b) in enumerate(asked.opr_coefficients):
        varied = probe.copy()
        varied[:, :2] += a * own[:, 0] + b * own[:, 1]
        one_by_one += plain.loss_and_gradient(planes, varied, np.array([n]), corrections=without).loss
    assert together == pytest.approx(one_by_one, rel=1e-12)


def test_without_components_it_is_the_mean_probe():
    problem = make_problem(varying_modes=1)
    planes, probe = make_planes(problem, 2, 1)
    plain = double(replace(problem, model=replace(problem.model, varying_modes=0)))
    found, expected = (each.loss_and_gradient(planes, probe) for each in (double(problem), plain))
    assert found.loss == expected.loss
