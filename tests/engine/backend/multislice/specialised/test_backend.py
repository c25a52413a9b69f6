"""Every forward model on the compiled kernel, compared with whole arrays in double precision."""

from dataclasses import replace

import numpy as np
import pytest
from forward_models import agree, models
from forward_problems import every_correction, make_planes, make_problem, moved_patterns, tilts
from rounding import DOUBLE, DOUBLE_SIGNED, SINGLE, SINGLE_SIGNED

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import Precision
from ptylive.engine.backend.multislice.specialised.backend import SpecialisedMultislice, is_possible

SIZE = 32

MODELS = models(SIZE)


def check(problem, modes, object_modes, probes, **changes):
    """Compare loss, gradients and derivatives of all corrections; return what the kernel found."""
    share, signed = (SINGLE, SINGLE_SIGNED) if problem.precision is Precision.SINGLE else (DOUBLE, DOUBLE_SIGNED)
    planes = make_planes(problem, modes, object_modes, probes)
    corrections = every_correction(problem)
    arrays = GeneralMultislice(problem, np, "complex128", "double")
    expected = arrays.loss_and_gradient(*planes, corrections=corrections)
    given = [plane.astype(problem.precision.real) for plane in planes]
    backend = SpecialisedMultislice(problem, "kernel", **changes)
    found = backend.loss_and_gradient(*given, corrections=corrections)
    again = backend.loss_and_gradient(*given, np.array([2, 0]), probe_gradient=False)
    some = arrays.loss_and_gradient(*planes, np.array([2, 0]), probe_gradient=False)
    backend.close()
    assert {found.object.dtype, found.probe.dtype} == {problem.precision.real}
    assert found.loss == pytest.approx(expected.loss, rel=share)
    assert again.loss == pytest.approx(some.loss, rel=share)
    assert not again.probe.any()
    agree("object, two patterns", again.object, some.object, share)
    agree("object", found.object, expected.object, share)
    agree("probe", found.probe, expected.probe, share)
    for name, value in vars(expected.corrections).items():
        if value is None:
            assert getattr(found.corrections, name) is None
        else:
            agree(name, getattr(found.corrections, name), value, signed)
    return found


ROWS_APART = {"phase plates", "two modes that vary", "point spread", "coefficients of roots"}
"""Each of these has its own kind of planes."""


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, SIZE) for name in MODELS),
        *(pytest.param(name, 128, marks=[] if name in ROWS_APART else pytest.mark.slow) for name in MODELS),
    ],
)
def test_every_model_agrees_with_whole_arrays(name, size):
    parts = {"window": size, **models(size)[name]}
    problem = make_problem(**parts)
    check(moved_patterns(problem) if "near_field" not in parts else problem, 2, 2, parts.get("probes", 1))


@pytest.mark.slow
@pytest.mark.parametrize("size", [SIZE, 64])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_agrees_in_double_precision(name, size):
    parts = {"window": size, **models(size)[name]}
    problem = replace(make_problem(**parts), precision=Precision.DOUBLE)
    check(moved_patterns(problem) if "near_field" not in parts else problem, 2, 2, parts.get("probes", 1))


@pytest.mark.parametrize("name", ["tilts everywhere", "least squares of coefficients"])
def test_threads_give_the_same_sums(name):
    problem = make_problem(window=SIZE, **MODELS[name])
    one, three = (check(problem, 1, 1, 1, threads=threads) for threads in (1, 3))
    assert three.loss == pytest.approx(one.loss, rel=1e-6)  # losses of patterns are added up in double precision
    agree("object", three.object, one.object, SINGLE)


def test_patterns_are_taken_in_portions(monkeypatch):
    monkeypatch.setattr("ptylive.engine.backend.multislice.specialised.backend.WORK_BYTES", 1)
    monkeypatch.setattr("ptylive.engine.backend.multislice.specialised.backend.MOST_PATTERNS", 2)
    for name in ("tilts everywhere", "plain coefficients"):
        check(make_problem(window=SIZE, **MODELS[name]), 1, 2, 1)


def test_the_cpu_takes_it_for_every_model_and_says_so():
    backend = open_backend("cpu", make_problem(window=SIZE, tilts=tilts(0), slices=2))
    assert (type(backend), backend.name) == (SpecialisedMultislice, "cpu (compiled, with tilts)")


def test_a_varying_free_space_must_be_one_of_rows_and_columns():
    problem = make_problem(window=SIZE, slices=2, stretched=True)
    assert is_possible(problem)
    assert not is_possible(replace(problem, phase_per_A=problem.phase_per_A**2))
    assert is_possible(
        replace(problem, phase_per_A=problem.phase_per_A**2, model=replace(problem.model, stretched=False))
    )
    assert not is_possible(make_problem(stretched=True)), "its window of 8 pixels is none that is compiled"
