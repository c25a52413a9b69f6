"""The compiled kernel against the reference in double precision.

The double-precision kernel has the same source with other types and takes a minute to compile: slow tests.
"""

from dataclasses import replace

import numpy as np
import pytest
from forward_problems import moved_patterns
from quick_first import quick_first
from rounding import DOUBLE, DOUBLE_SIGNED, SINGLE

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import DataTermKind, Precision


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("kind", list(DataTermKind))
@pytest.mark.parametrize(("slices", "modes"), quick_first([(1, 4), (2, 3), (1, 1), (4, 1)], 2))
@pytest.mark.parametrize("window", [32, pytest.param(48, marks=pytest.mark.slow)])
def test_agrees_with_the_reference(make_problem, make_planes, kind, slices, modes, window):
    problem = make_problem(window, slices, kind, 0.05, count=40)
    planes, probe = make_planes(problem, modes)
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    single = planes.astype(np.float32), probe.astype(np.float32)
    compiled = CompiledMultislice(problem).loss_and_gradient(*single)
    assert compiled.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert relative(compiled.object, expected.object) < SINGLE
    assert relative(compiled.probe, expected.probe) < SINGLE
    arrays = GeneralMultislice(problem, np, "complex64", "single").loss_and_gradient(*single)
    assert relative(arrays.object, expected.object) < SINGLE


@pytest.mark.parametrize(("slices", "modes", "object_modes"), [(1, 1, 1), (3, 2, 2)])
def test_patterns_that_do_not_lie_in_place(make_problem, make_planes, slices, modes, object_modes):
    problem = moved_patterns(make_problem(32, slices, DataTermKind.POISSON, 0.05, count=7))
    planes, probe = make_planes(problem, modes, object_modes)
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    compiled = CompiledMultislice(problem).loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))
    assert compiled.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert relative(compiled.object, expected.object) < SINGLE
    assert relative(compiled.probe, expected.probe) < SINGLE


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(DataTermKind))
@pytest.mark.parametrize(("slices", "modes", "object_modes"), [(1, 1, 1), (3, 2, 2)])
def test_double_precision(make_problem, make_planes, make_corrections, kind, slices, modes, object_modes):
    problem = moved_patterns(make_problem(32, slices, kind, 0.05, count=7))
    problem = replace(problem, precision=Precision.DOUBLE)
    planes, corrections = make_planes(problem, modes, object_modes), make_corrections(problem)
    arrays, backend = GeneralMultislice(problem, np, "complex128", "reference"), CompiledMultislice(problem)
    expected = arrays.loss_and_gradient(*planes, corrections=corrections)
    found = backend.loss_and_gradient(*planes, corrections=corrections)
    assert found.object.dtype == found.probe.dtype == np.float64
    assert found.loss == pytest.approx(expected.loss, rel=DOUBLE)
    assert relative(found.object, expected.object) < DOUBLE
    assert relative(found.probe, expected.probe) < DOUBLE
    for name, value in vars(expected.corrections).items():
        if value is not None and value.size:
            assert relative(getattr(found.corrections, name), value) < DOUBLE_SIGNED, name
    modelled = backend.intensities(*planes)
    assert relative(modelled, arrays.expected_patterns(*planes)) < DOUBLE
    assert relative(backend.illumination(planes[1]), arrays.illumination(planes[1])) < DOUBLE


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_counts_of_double_precision_are_kept(make_problem, make_planes, dtype):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, dtype=dtype)
    many = replace(problem, patterns=problem.patterns + 2**24 + 1, precision=Precision.DOUBLE)
    planes = make_planes(problem, 1)
    expected = GeneralMultislice(many, np, "complex128", "reference").loss_and_gradient(*planes).loss
    assert CompiledMultislice(many).loss_and_gradient(*planes).loss == pytest.approx(expected, rel=DOUBLE)


SIZES = [64, 96, 128, 144, 192, 256, 288, 384, 512]


@pytest.mark.parametrize("window", [n if n == 128 else pytest.param(n, marks=pytest.mark.slow) for n in SIZES])
def test_every_window_size_agrees_with_the_reference(make_problem, make_planes, window):
    problem = make_problem(window, 2, DataTermKind.AMPLITUDE, 0.05, count=2)
    planes, probe = make_planes(problem, 1)
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    compiled = CompiledMultislice(problem).loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))
    assert relative(compiled.object, expected.object) < SINGLE
    assert relative(compiled.probe, expected.probe) < SINGLE


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", ">u2", "float32", "float64"])
def test_recorded_types_give_the_same_loss(make_problem, make_planes, dtype):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, dtype=dtype)
    planes, probe = make_planes(problem, 1)
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe).loss
    assert CompiledMultislice(problem).loss_and_gradient(planes, probe).loss == pytest.approx(expected, rel=SINGLE)


def test_threads_give_the_same_sums(make_problem, make_planes):
    problem = make_problem(32, 2, DataTermKind.AMPLITUDE, 0.1, count=101)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 2))
    one, three = CompiledMultislice(problem, 1), CompiledMultislice(problem, 3)
    single, threaded = one.loss_and_gradient(planes, probe), three.loss_and_gradient(planes, probe)
    again = three.loss_and_gradient(planes, probe)
    three.close()
    assert threaded.loss == pytest.approx(single.loss, rel=1e-6)  # losses of patterns are added up in double precision
    assert relative(threaded.object, single.object) < SINGLE
    assert threaded.loss == again.loss
    np.testing.assert_array_equal(threaded.object, again.object)


@pytest.mark.parametrize("kind", list(DataTermKind))
@pytest.mark.parametrize(("slices", "modes", "object_modes", "threads"), [(1, 1, 1, 1), (3, 2, 2, 3)])
def test_losses_without_gradients_are_those_of_single_patterns(
    make_problem, make_planes, make_corrections, kind, slices, modes, object_modes, threads
):
    problem = moved_patterns(make_problem(32, slices, kind, 0.05, count=7))
    planes = [each.astype(np.float32) for each in make_planes(problem, modes, object_modes)]
    backend, corrections, order = CompiledMultislice(problem, threads), make_corrections(problem), np.array([5, 0, 2])
    found = backend.losses(*planes, order, corrections=corrections)
    each = [backend.loss_and_gradient(*planes, order[k : k + 1], corrections=corrections).loss for k in range(3)]
    backend.close()
    np.testing.assert_allclose(found, each, rtol=1e-6)  # single precision: the same operations, perhaps fused otherwise


def test_illumination_agrees_with_the_reference(make_problem, make_planes):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.0)
    _, probe = make_planes(problem, 3)
    chosen = np.array([0, 3, 4])
    expected = GeneralMultislice(problem, np, "complex128", "reference").illumination(probe, chosen)
    assert relative(CompiledMultislice(problem).illumination(probe, chosen), expected) < SINGLE


def test_transposed_memory_is_not_copied(make_problem):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.0)
    stored = np.ascontiguousarray(problem.patterns.swapaxes(1, 2))
    object.__setattr__(problem, "patterns", stored.swapaxes(1, 2))
    assert np.shares_memory(CompiledMultislice(problem)._recorded, stored)


@pytest.mark.parametrize(("slices", "modes", "object_modes"), [(1, 1, 1), (3, 2, 2)])
def test_modelled_patterns_are_those_of_the_equations(make_problem, make_planes, slices, modes, object_modes):
    """Compared with the equations in engine/backend/multislice/problem.py, written out in double precision."""
    problem = moved_patterns(make_problem(32, slices, DataTermKind.POISSON, 0.0, count=5))
    planes, probe = make_planes(problem, modes, object_modes)
    size = problem.window
    f, x = np.fft.fftfreq(size), np.arange(size)
    expected = np.zeros((5, size, size))
    for n, ((row, col), shift, offset) in enumerate(
        zip(problem.corners, problem.shifts_px, problem.offsets_px, strict=True)
    ):
        ramp = np.exp(-2j * np.pi * (f[:, None] * shift[0] + f[None, :] * shift[1]))
        turn = np.exp(2j * np.pi / size * (x[:, None] * offset[0] + x[None, :] * offset[1]))
        for mode in probe[0] + 1j * probe[1]:
            for state in np.split(planes[0] + 1j * planes[1], object_modes):
                wave = np.fft.ifft2(mode * ramp, norm="ortho")
                for z, one in enumerate(state):
                    wave = wave * one[row : row + size, col : col + size]
                    if z < slices - 1:
                        wave = np.fft.ifft2(np.fft.fft2(wave) * problem.propagators[z])
                expected[n] += np.abs(np.fft.fft2(wave * turn, norm="ortho")) ** 2 / object_modes
    backend = CompiledMultislice(problem)
    assert relative(backend.intensities(planes, probe), expected) < SINGLE
    backend.loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))  # uses the same buffers
    assert relative(backend.intensities(planes, probe), expected) < SINGLE
