"""The general backend: derivatives against central differences in double, and the plain model as a special case."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from combinations import every_two
from forward_problems import (
    COUNT,
    P,
    check_gradients,
    coefficients,
    every_correction,
    groups,
    make_planes,
    make_problem,
    moved_patterns,
    near_field,
    tilts,
)
from quick_first import quick_first

from ptylive.engine.backend.multislice.description import SplitStep
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind

SHAPES = [(1, 1, 1), (1, 2, 2), (3, 1, 2), (3, 2, 1), (3, 2, 2)]
"""Slices, probe modes, object modes: every pair of values occurs together, as do all the larger ones."""


@pytest.mark.parametrize(
    ("kind", "field", "mode", "shape"), every_two(list(DataTermKind), ["far", "near"], range(5), SHAPES)
)
def test_every_loss_and_refinable_under_every_tilt(kind, field, mode, shape):
    slices, modes, object_modes = shape
    parts = {"tilts": tilts(mode), "aberrations": groups()}
    if field == "near":
        parts["near_field"] = near_field()
    check_gradients(make_problem(kind, slices, **parts), modes, object_modes)


@pytest.mark.parametrize(
    ("kind", "field", "mode", "shape"),
    [
        *every_two(list(CoefficientTermKind), ["far", "near"], range(5), SHAPES[::4]),
        *quick_first(product(CoefficientTermKind, ["far", "near"], range(5), SHAPES[1:4]), 0),
    ],
)
def test_every_loss_of_coefficients(kind, field, mode, shape):
    slices, modes, object_modes = shape
    parts = {"tilts": tilts(mode), "aberrations": groups(), "compressed": coefficients(kind)}
    if field == "near":
        parts["near_field"] = near_field()
    check_gradients(make_problem(kind, slices, **parts), modes, object_modes)


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("upsampling", [1, 2])
def test_patterns_that_do_not_lie_in_place(mode, upsampling):
    problem = make_problem(slices=2, tilts=tilts(mode), upsampling=upsampling)
    check_gradients(moved_patterns(problem), 2, 2)


@pytest.mark.parametrize("split", list(SplitStep))
@pytest.mark.parametrize("parts", quick_first([{}, {"tilts": tilts(4)}, {"tilts": tilts(0, each=False)}], 2))
def test_a_thickness_that_varies(split, parts):
    check_gradients(make_problem(slices=3, split=split, stretched=True, **parts), 2, 1)


@pytest.mark.parametrize("split", list(SplitStep))
@pytest.mark.parametrize("field", quick_first(["far", "near"]))
@pytest.mark.parametrize("slices", quick_first([3, 1]))
def test_gradients_of_split_steps_are_exact(split, field, slices):
    parts = {"split": split, "tilts": tilts(4, each=False)}
    if field == "near":
        parts["near_field"] = near_field()
    check_gradients(make_problem(slices=slices, **parts), 1, 2)


def test_band_limit_markers_plates_and_upsampling():
    rng = np.random.default_rng(9)
    size = 2 * P
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    problem = make_problem(
        slices=3,
        upsampling=2,
        band=np.clip((0.4 - q) * 20, 0, 1).astype(np.float32),
        probe_marker=np.array([1, 0, 1]),
        probes=3,
        phase_plates=np.exp(1j * rng.normal(size=(COUNT, size, size))),
        aberrations=groups(size),
        tilts=tilts(4),
    )
    check_gradients(problem, modes=2, object_modes=1, probes=3)


@pytest.mark.parametrize(("slices", "modes", "object_modes"), SHAPES)
def test_nothing_asked_for_is_the_plain_model(slices, modes, object_modes):
    problem = make_problem(slices=slices)
    plain = GeneralMultislice(replace(problem, model=None), np, "complex128", "reference")
    general = GeneralMultislice(problem, np, "complex128", "double", threads=2)
    planes, probe = make_planes(problem, modes, object_modes)
    corrections = every_correction(problem)
    expected = plain.loss_and_gradient(planes, probe, corrections=corrections)
    found = general.loss_and_gradient(planes, probe, corrections=corrections)
    general.close()
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(found.object, expected.object, atol=1e-10)
    np.testing.assert_allclose(found.probe, expected.probe, atol=1e-10)
    for name, value in vars(expected.corrections).items():
        if value is not None:
            np.testing.assert_allclose(getattr(found.corrections, name), value, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(general.illumination(probe), plain.illumination(probe), rtol=1e-12)


def test_what_the_compiled_kernel_cannot_do_opens_the_general_backend():
    problem = make_problem(slices=3, tilts=tilts(0), split=SplitStep.FOURTH_ORDER)
    backend = open_backend("cpu", problem)
    assert isinstance(backend, GeneralMultislice)
    assert backend.name == "cpu (scipy, for split step yoshida, tilts)"
    assert open_backend("cpu", make_problem()).name == "cpu (scipy)", "its window of 8 pixels is none that is compiled"


def test_what_is_not_refined_stays_as_the_model_has_it():
    """Tilts are given; aberrations are refined without the beam current."""
    problem = make_problem(slices=2, tilts=tilts(4), aberrations=groups())
    check_gradients(problem, 1, 1, without=("tilts", "current"))


def test_coefficients_without_anything_beside_them():
    compressed = replace(coefficients(CoefficientTermKind.LEAST_SQUARES, extra_terms=False), whitening=None)
    check_gradients(make_problem(CoefficientTermKind.LEAST_SQUARES, compressed=compressed), 1, 1)


def test_a_loss_of_pixels_is_no_loss_of_coefficients():
    problem = make_problem(DataTermKind.AMPLITUDE, compressed=coefficients(CoefficientTermKind.GAUSS))
    with pytest.raises(KeyError):
        GeneralMultislice(problem, np, "complex128", "double").loss_and_gradient(*make_planes(problem, 1, 1))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2)])
def test_waves_are_those_of_the_patterns_and_their_change_half_the_gradient(shape):
    """The change -dL/dI wave yields the probe gradient when the object is 1 and the probe is not moved."""
    slices, modes, object_modes = shape
    problem = make_problem(DataTermKind.AMPLITUDE, slices, offset=0.0)
    backend = GeneralMultislice(problem, np, "complex128", "general")
    planes = make_planes(problem, modes, object_modes)
    waves, changes = backend.corrected_waves(*planes, np.arange(COUNT))
    assert waves.shape == (COUNT, object_modes, modes, P, P)
    patterns = (abs(waves) ** 2).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(patterns, backend.expected_patterns(*planes), rtol=1e-12)
    root = np.sqrt(problem.patterns / patterns) - 1
    np.testing.assert_allclose(changes, (problem.weights * root)[:, None, None] * waves, rtol=1e-5)
    np.testing.assert_array_equal(backend.waves(*planes, np.arange(1, COUNT)), waves[1:])


def test_light_in_slices_is_what_enters_them():
    problem = make_problem(slices=3)
    problem = replace(problem, shifts_px=np.zeros((COUNT, 2)))
    backend = GeneralMultislice(problem, np, "complex128", "general")
    planes = make_planes(problem, 2, 2)
    light = backend.light_in_slices(*planes, np.arange(COUNT))
    np.testing.assert_allclose(light[0], backend.illumination(planes[1]), rtol=1e-12)  # nothing in front of the first
    damped = (planes[0] * np.array([1, 0.5, 1] * 2).reshape(1, 6, 1, 1), planes[1])
    less = backend.light_in_slices(*damped, np.arange(COUNT))
    np.testing.assert_allclose(less.sum(axis=(1, 2)) / light.sum(axis=(1, 2)), [1, 1, 0.25], rtol=1e-12)
    some = backend.light_in_slices(*planes, np.array([2]))
    np.testing.assert_allclose(light - some, backend.light_in_slices(*planes, np.array([0, 1])), atol=1e-10)


def test_light_may_be_shared_out_by_pattern():
    problem = make_problem()
    backend = GeneralMultislice(problem, np, "complex128", "general")
    planes, shares = make_planes(problem, 2, 1)[1], np.array([2.0, 0.0, 0.5])
    each = [backend.illumination(planes, np.array([n])) for n in range(COUNT)]
    wanted = sum(share * one for share, one in zip(shares, each, strict=True))
    np.testing.assert_allclose(backend.illumination(planes, None, shares), wanted, rtol=1e-6)
