"""Object modes, positions, beam current, background and slice distances: gradients, and compiled against reference."""

from dataclasses import replace

import numpy as np
import pytest
from combinations import every_two
from rounding import SINGLE, SINGLE_SIGNED

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import HELD, Corrections, DataTermKind

NAMES = ("shifts_px", "current", "background", "distances_A")
CASES = every_two(list(DataTermKind), (1, 3), (1, 2), (1, 2))
"""Slices, probe modes, object modes."""


def central_difference(loss, at, direction, step):
    values = [loss(at + k * step * direction) for k in (-2, -1, 1, 2)]
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


@pytest.mark.parametrize(("kind", "slices", "modes", "object_modes"), CASES)
def test_gradients_equal_central_differences(
    make_problem, make_planes, make_corrections, kind, slices, modes, object_modes
):
    problem = make_problem(12, slices, kind, 0.1, count=3)
    backend = GeneralMultislice(problem, np, "complex128", "reference")
    planes, probe = make_planes(problem, modes, object_modes)
    at = make_corrections(problem)
    result = backend.loss_and_gradient(planes, probe, corrections=at)
    rng = np.random.default_rng(2)

    def check(gradient, value, loss, step=2e-4):
        direction = rng.normal(size=value.shape)
        expected = central_difference(loss, value, direction, step)
        # at these steps truncation leaves 2e-7, rounding of the loss 1e-8
        assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-6)

    check(result.object, planes, lambda x: backend.loss_and_gradient(x, probe, corrections=at).loss)
    check(result.probe, probe, lambda x: backend.loss_and_gradient(planes, x, corrections=at).loss)
    for name in NAMES if slices > 1 else NAMES[:3]:

        def loss(x, name=name):
            return backend.loss_and_gradient(planes, probe, corrections=replace(at, **{name: x})).loss

        step = {"distances_A": 1e-2, "background": 1e-3}.get(name, 2e-4)
        check(getattr(result.corrections, name), getattr(at, name), loss, step)


@pytest.mark.parametrize(("kind", "slices", "modes", "object_modes"), CASES)
def test_compiled_agrees_with_the_reference(
    make_problem, make_planes, make_corrections, kind, slices, modes, object_modes
):
    problem = make_problem(32, slices, kind, 0.05, count=40)
    planes, probe = make_planes(problem, modes, object_modes)
    at = make_corrections(problem)
    expected = GeneralMultislice(problem, np, "complex128", "double").loss_and_gradient(planes, probe, corrections=at)
    compiled = CompiledMultislice(problem, 2)
    result = compiled.loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32), corrections=at)
    compiled.close()
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    pairs = [(result.object, expected.object, SINGLE), (result.probe, expected.probe, SINGLE)]
    pairs += [(getattr(result.corrections, name), getattr(expected.corrections, name), SINGLE_SIGNED) for name in NAMES]
    for ours, theirs, share in pairs:
        assert ours.shape == theirs.shape
        assert np.linalg.norm(ours - theirs) <= share * np.linalg.norm(theirs)


def test_equal_object_modes_are_one(make_problem, make_planes):
    """The model averages over object modes: two equal states model what one does, and share its gradient."""
    problem = make_problem(32, 2, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 2))
    backend = CompiledMultislice(problem)
    one = backend.loss_and_gradient(planes, probe)
    two = CompiledMultislice(problem).loss_and_gradient(np.concatenate([planes, planes], axis=1), probe)
    assert two.loss == pytest.approx(one.loss, rel=SINGLE)
    np.testing.assert_allclose(
        two.object[:, :2] + two.object[:, 2:], one.object, atol=SINGLE * np.abs(one.object).max()
    )


def test_corrections_left_out_are_the_problems_own(make_problem, make_planes):
    problem = make_problem(32, 3, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 1))
    backend = CompiledMultislice(problem)
    plain = backend.loss_and_gradient(planes, probe)
    moved = backend.loss_and_gradient(planes, probe, corrections=Corrections(shifts_px=problem.shifts_px + 0.4))
    neutral = Corrections(problem.shifts_px, np.ones(problem.count), np.zeros((32, 32)), np.full(2, 10.0))
    assert moved.loss != plain.loss
    assert backend.loss_and_gradient(planes, probe).loss == plain.loss
    assert backend.loss_and_gradient(planes, probe, corrections=neutral).loss == pytest.approx(plain.loss, rel=SINGLE)
    assert plain.corrections == HELD


def test_patterns_left_out_have_no_gradient(make_problem, make_planes, make_corrections):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 1))
    at, chosen = make_corrections(problem), np.array([4, 1])
    for backend in (CompiledMultislice(problem), GeneralMultislice(problem, np, "complex64", "arrays")):
        result = backend.loss_and_gradient(planes, probe, chosen, probe_gradient=False, corrections=at)
        assert not result.probe.any()
        for gradient in (result.corrections.current, result.corrections.shifts_px[:, 0]):
            assert sorted(np.flatnonzero(gradient)) == [1, 4]


def test_corrections_of_an_extended_model_are_not_ignored(make_problem, make_planes):
    """Regression: the compiled kernel returned the loss without them."""
    problem = make_problem(32, 2, DataTermKind.POISSON, 0.1, count=3)
    backend = CompiledMultislice(problem, 1)
    tilted = Corrections(shifts_px=np.zeros((3, 2)), tilts=np.zeros((1, 6)))
    for evaluate in (backend.loss_and_gradient, backend.losses):
        with pytest.raises(TypeError, match="the plain model has no tilts"):
            evaluate(*make_planes(problem, 1), np.arange(3), corrections=tilted)


@pytest.mark.parametrize("kind", [CompiledMultislice, GeneralMultislice])
def test_a_current_of_the_problem_is_held(make_problem, make_planes, kind):
    """As if it were refined, without a gradient by it."""
    problem = make_problem(32, 2, DataTermKind.POISSON, 0.05, count=6)
    planes, probe = make_planes(problem, 1)
    current = np.random.default_rng(1).uniform(0.8, 1.2, 6)

    def backend(problem):
        return kind(problem, 1) if kind is CompiledMultislice else kind(problem, np, "complex128", "double")

    expected = backend(problem).loss_and_gradient(planes, probe, corrections=Corrections(current=current))
    held = replace(problem, current=current)
    found = backend(held).loss_and_gradient(planes, probe)
    assert found.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert np.linalg.norm(found.object - expected.object) <= SINGLE * np.linalg.norm(expected.object)
    assert found.corrections.current is None
    some = np.array([4, 1])
    part = backend(held.part(some)).loss_and_gradient(planes, probe)
    assert part.loss == pytest.approx(backend(held).loss_and_gradient(planes, probe, some).loss, rel=SINGLE)
