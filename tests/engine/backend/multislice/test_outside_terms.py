"""A loss per pixel from outside the compiled kernel gives the results of a built-in loss of the same formula."""

from dataclasses import replace

import numpy as np
import pytest
from rounding import DOUBLE, SINGLE

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.outside_terms import address_of
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, Precision, PythonTerm
from ptylive.schema import RefinementError

OFFSET = 0.3


def on_arrays(intensity, counts, weights, offset):
    amplitude = np.sqrt(intensity + (offset + 1e-12))
    difference = amplitude - np.sqrt(counts + offset)
    return weights * difference**2, weights * difference / amplitude


def of_pixel(intensity, counts, offset):
    amplitude = np.sqrt(intensity + (offset + 1e-12))
    difference = amplitude - np.sqrt(counts + offset)
    return difference * difference, difference / amplitude


def twice_the_loss(intensity, counts, offset):
    amplitude = np.sqrt(intensity + (offset + 1e-12))
    difference = amplitude - np.sqrt(counts + offset)
    return 2 * difference * difference, difference / amplitude


def half_the_derivative(intensity, counts, offset):
    amplitude = np.sqrt(intensity + (offset + 1e-12))
    difference = amplitude - np.sqrt(counts + offset)
    return difference * difference, 0.5 * difference / amplitude


def cannot(intensity, counts, offset):
    return {"a": intensity}["b" + str(counts)], [offset]


TERM = PythonTerm("mine", on_arrays, lambda counts: 0.5 / counts, "loss_offset", "as lsq_sqrt", of_pixel)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(("slices", "modes", "threads"), [(1, 2, 1), (3, 1, 3)])
def test_it_is_the_loss_of_the_same_formula_built_in(make_problem, make_planes, slices, modes, threads):
    """Both are in single precision and agree as closely as each agrees with the reference."""
    problem = make_problem(32, slices, DataTermKind.AMPLITUDE, OFFSET, count=20)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, modes))
    mine = open_backend("cpu", replace(problem, data_term=DataTerm(TERM, OFFSET)), threads)
    assert isinstance(mine, CompiledMultislice)
    assert mine.name == "cpu"
    found, expected = (b.loss_and_gradient(planes, probe) for b in (mine, CompiledMultislice(problem, 1)))
    mine.close()
    assert found.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert relative(found.object, expected.object) < SINGLE
    assert relative(found.probe, expected.probe) < SINGLE


@pytest.mark.slow
def test_in_double_precision(make_problem, make_planes):
    problem = replace(make_problem(32, 1, DataTermKind.AMPLITUDE, OFFSET), precision=Precision.DOUBLE)
    planes = make_planes(problem, 1)
    mine = CompiledMultislice(replace(problem, data_term=DataTerm(TERM, OFFSET)))
    found, expected = (b.loss_and_gradient(*planes) for b in (mine, CompiledMultislice(problem)))
    assert found.loss == pytest.approx(expected.loss, rel=DOUBLE)
    assert relative(found.object, expected.object) < DOUBLE


def test_built_in_terms_follow_in_the_same_kernel(make_problem, make_planes):
    """One compilation serves both kinds of term, because the address is an argument."""
    problem = make_problem(32, 1, DataTermKind.POISSON, 0.1)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 1))
    reference = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    for _ in range(2):
        CompiledMultislice(replace(problem, data_term=DataTerm(TERM, OFFSET))).loss_and_gradient(planes, probe)
        found = CompiledMultislice(problem).loss_and_gradient(planes, probe)
        assert found.loss == pytest.approx(float(reference.loss), rel=SINGLE)


def test_without_a_form_for_a_pixel_it_is_compared_on_whole_arrays(make_problem):
    bare = replace(TERM, pixel=None)
    problem = replace(make_problem(32, 1, DataTermKind.AMPLITUDE, OFFSET), data_term=DataTerm(bare, OFFSET))
    assert open_backend("cpu", problem).name == "cpu (compiled, with the data term mine, a Python function)"
    with pytest.raises(ValueError, match="no form for compiled code"):
        address_of(bare, OFFSET)


def test_it_is_compiled_once():
    assert address_of(TERM, OFFSET) == address_of(replace(TERM, name="again"), 0.0)


@pytest.mark.parametrize("pixel", [twice_the_loss, half_the_derivative])
def test_two_forms_that_are_two_losses_are_refused(pixel):
    with pytest.raises(RefinementError, match=r"the data term mine gives .* for one pixel, but .* on whole arrays"):
        address_of(replace(TERM, pixel=pixel), OFFSET)


@pytest.mark.slow
def test_what_does_not_compile_is_one_line(monkeypatch):
    monkeypatch.setattr(cannot, "__module__", "somebody.else")
    with pytest.raises(RefinementError) as error:
        address_of(replace(TERM, pixel=cannot), OFFSET)
    assert error.value.line().startswith("cannot of the plug-in somebody.else failed: TypingError:")
    assert "fix the plug-in" in error.value.line()


def test_a_derivative_of_another_shape_is_refused_by_name(make_problem, make_planes):
    def of_one_pattern(intensity, counts, weights, offset):
        loss, derivative = on_arrays(intensity, counts, weights, offset)
        return loss, derivative[0]

    term = replace(TERM, pixel=None, compare=of_one_pattern)
    problem = replace(make_problem(32, 1, DataTermKind.AMPLITUDE, OFFSET, count=3), data_term=DataTerm(term, OFFSET))
    with pytest.raises(RefinementError, match=r"data term mine gives a derivative of shape \(32, 32\) for"):
        GeneralMultislice(problem, np, "complex64", "whole arrays").loss_and_gradient(*make_planes(problem, 1))
