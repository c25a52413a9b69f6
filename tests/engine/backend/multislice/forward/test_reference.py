"""The reference implementation: gradients against central differences, the model against its equations."""

from dataclasses import replace

import numpy as np
import pytest
from combinations import every_two

from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem

WINDOW = 12


def reference(problem: MultisliceProblem) -> GeneralMultislice:
    return GeneralMultislice(problem, np, "complex128", "reference")


def central_difference(loss, planes, direction):
    """dL/dt along a direction, fourth order.

    At this step truncation leaves some 1e-8; rounding of sums in double precision leaves 1e-12 of the loss.
    """
    h = 2e-4
    at = [loss(planes + k * h * direction) for k in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)


@pytest.mark.parametrize(
    ("kind", "offset", "slices", "modes"), every_two(list(DataTermKind), (0.05, 1.0), (1, 2, 4), (1, 2))
)
def test_gradients_equal_central_differences(make_problem, make_planes, kind, offset, slices, modes):
    problem = make_problem(WINDOW, slices, kind, offset)
    backend = reference(problem)
    planes, probe = make_planes(problem, modes)
    result = backend.loss_and_gradient(planes, probe)
    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = rng.normal(size=planes.shape)
        expected = central_difference(lambda x: backend.loss_and_gradient(x, probe).loss, planes, direction)
        assert (result.object * direction).sum() == pytest.approx(expected, rel=1e-6)
        direction = rng.normal(size=probe.shape)
        expected = central_difference(lambda x: backend.loss_and_gradient(planes, x).loss, probe, direction)
        assert (result.probe * direction).sum() == pytest.approx(expected, rel=1e-6)


def test_single_parameters_of_every_slice(make_problem, make_planes):
    """Random directions sum over everything; this test varies one real or imaginary part at a time."""
    problem = make_problem(WINDOW, 3, DataTermKind.AMPLITUDE, 0.1)
    backend = reference(problem)
    planes, probe = make_planes(problem, 2)
    gradient = backend.loss_and_gradient(planes, probe).object
    for where in [(0, 0, 6, 7), (1, 1, 8, 4), (0, 2, 5, 10), (1, 2, 9, 9)]:
        direction = np.zeros_like(planes)
        direction[where] = 1
        expected = central_difference(lambda x: backend.loss_and_gradient(x, probe).loss, planes, direction)
        assert gradient[where] == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_pattern_is_moved_by_its_offset(make_problem, make_planes):
    """A shift by whole pixels equals a roll towards larger indices."""
    problem = make_problem(WINDOW, 2, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = make_planes(problem, 2)
    still = reference(problem).expected_patterns(planes, probe)
    moved = reference(replace(problem, offsets_px=np.tile([2.0, -3.0], (problem.count, 1))))
    np.testing.assert_allclose(
        moved.expected_patterns(planes, probe), np.roll(still, (2, -3), axis=(1, 2)), rtol=1e-9, atol=1e-9 * still.max()
    )


def test_counts_are_kept_by_a_transparent_object(make_problem, make_planes):
    """Unitary transforms: the summed model equals sum |probe|^2 for every pattern and any number of slices."""
    problem = make_problem(WINDOW, 3, DataTermKind.AMPLITUDE, 0.0, count=1)
    _, probe = make_planes(problem, 2)
    flat = np.stack([np.ones(problem.object_shape), np.zeros(problem.object_shape)])
    empty = MultisliceProblem(
        patterns=np.zeros_like(problem.patterns),
        weights=np.ones_like(problem.weights),
        corners=problem.corners,
        shifts_px=problem.shifts_px,
        object_shape=problem.object_shape,
        propagators=problem.propagators,
        data_term=DataTerm(DataTermKind.AMPLITUDE, 0.0),
    )
    loss = reference(empty).loss_and_gradient(flat, probe).loss  # sum (sqrt(I) - 0)^2
    assert loss == pytest.approx((probe**2).sum(), rel=1e-9)


def test_poisson_loss_vanishes_at_the_truth(make_problem, make_planes):
    """The constant is part of the term, so a perfect model has loss 0 and gradient 0."""
    problem = make_problem(WINDOW, 1, DataTermKind.POISSON, 0.0, count=1, dtype="float64")
    planes, probe = make_planes(problem, 1)
    wave = np.fft.ifft2(probe[0, 0] + 1j * probe[1, 0], norm="ortho")
    q = np.fft.fftfreq(WINDOW)
    shift = np.exp(-2j * np.pi * (q[:, None] * problem.shifts_px[0, 0] + q[None, :] * problem.shifts_px[0, 1]))
    wave = np.fft.ifft2(np.fft.fft2(wave) * shift)
    row, col = problem.corners[0]
    window = (planes[0, 0] + 1j * planes[1, 0])[row : row + WINDOW, col : col + WINDOW]
    problem.patterns[0] = np.abs(np.fft.fft2(wave * window, norm="ortho")) ** 2
    result = reference(problem).loss_and_gradient(planes, probe)
    assert abs(result.loss) < 1e-6  # relative to 432 counts; the argument of the logarithm has 1e-12 added
    assert np.abs(result.object).max() < 1e-6


def test_probe_gradient_can_be_left_out(make_problem, make_planes):
    problem = make_problem(WINDOW, 2, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = make_planes(problem, 2)
    backend = reference(problem)
    with_probe = backend.loss_and_gradient(planes, probe)
    without = backend.loss_and_gradient(planes, probe, probe_gradient=False)
    assert without.loss == with_probe.loss
    assert not without.probe.any()
    np.testing.assert_array_equal(without.object, with_probe.object)


def test_losses_of_subsets_add_up(make_problem, make_planes):
    problem = make_problem(WINDOW, 2, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = make_planes(problem, 1)
    backend = reference(problem)
    halves = [backend.loss_and_gradient(planes, probe, np.arange(i, problem.count, 2)) for i in (0, 1)]
    whole = backend.loss_and_gradient(planes, probe)
    assert halves[0].loss + halves[1].loss == pytest.approx(whole.loss)
    np.testing.assert_allclose(halves[0].object + halves[1].object, whole.object, atol=1e-12)


def test_illumination_is_the_sum_of_shifted_probes(make_problem, make_planes):
    problem = make_problem(WINDOW, 1, DataTermKind.AMPLITUDE, 0.0)
    _, probe = make_planes(problem, 2)
    intensity = (np.abs(np.fft.ifft2(probe[0] + 1j * probe[1], norm="ortho")) ** 2).sum(0)
    expected = np.zeros(problem.object_shape[1:])
    for row, col in problem.corners:
        expected[row : row + WINDOW, col : col + WINDOW] += intensity
    np.testing.assert_allclose(reference(problem).illumination(probe), expected, rtol=1e-12)


def written_out(problem, planes, probe, shifts):
    """Intensities (N, P, P) following the equations in ``problem.py``, one pattern, mode and slice at a time."""
    q = np.fft.fftfreq(WINDOW)
    objects = (planes[0] + 1j * planes[1]).reshape(-1, *problem.object_shape)
    found = np.zeros((problem.count, WINDOW, WINDOW))
    for n, (row, col) in enumerate(problem.corners):
        ramp = np.exp(-2j * np.pi * (q[:, None] * shifts[n, 0] + q[None, :] * shifts[n, 1]))
        for slices in objects:
            for mode in probe[0] + 1j * probe[1]:
                wave = np.fft.ifft2(mode * ramp, norm="ortho")
                for z, transmission in enumerate(slices):
                    wave = wave * transmission[row : row + WINDOW, col : col + WINDOW]
                    if z < len(slices) - 1:
                        wave = np.fft.ifft2(np.fft.fft2(wave) * problem.propagators[z])
                found[n] += np.abs(np.fft.fft2(wave, norm="ortho")) ** 2 / len(objects)
    return found


@pytest.mark.parametrize(("slices", "modes", "object_modes"), [(1, 2, 1), (3, 1, 2), (4, 2, 1)])
def test_patterns_are_those_of_the_equations(make_problem, make_planes, slices, modes, object_modes):
    problem = make_problem(WINDOW, slices, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = make_planes(problem, modes, object_modes)
    expected = written_out(problem, planes, probe, problem.shifts_px)
    np.testing.assert_allclose(reference(problem).expected_patterns(planes, probe), expected, rtol=1e-9, atol=1e-12)
    amplitude = np.sqrt(expected + 0.1) - np.sqrt(problem.patterns + 0.1)
    loss = (problem.weights * amplitude**2).sum()
    assert reference(problem).loss_and_gradient(planes, probe).loss == pytest.approx(loss, rel=1e-10)


def test_what_patterns_tell_of_their_positions(make_problem, make_planes):
    """Fisher information, compared with central differences of the patterns."""
    problem = make_problem(WINDOW, 2, DataTermKind.POISSON, 0.2)
    planes, probe = make_planes(problem, 2, 2)
    chosen, h = np.array([4, 1]), 1e-4
    derivatives = []
    for axis in np.eye(2):
        ahead, behind = (written_out(problem, planes, probe, problem.shifts_px + k * h * axis) for k in (1, -1))
        derivatives.append((ahead - behind)[chosen] / (2 * h))
    intensity = written_out(problem, planes, probe, problem.shifts_px)[chosen]
    expected = np.einsum("anij,bnij,nij->nab", derivatives, derivatives, problem.weights / (intensity + 0.2))
    found = reference(problem).position_information(planes, probe, chosen)
    # second order: (2 pi h)^2 / 6 = 7e-8 for each of two factors, as intensities vary by up to a cycle a pixel
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_model_needs_what_its_lengths_are_measured_with(make_problem):
    problem = make_problem(WINDOW, 2, DataTermKind.AMPLITUDE, 0.1)
    model = ForwardModel(pixel_A=0.2, wavelength_A=0.04, thickness_A=(3.0, 3.0))
    with pytest.raises(ValueError, match="phase_per_A"):
        reference(replace(problem, model=model, phase_per_A=None))
    assert reference(replace(problem, phase_per_A=None)).name == "reference", "the plain far field does not"
    finer = replace(model, upsampling=2)
    with pytest.raises(ValueError, match="far field"):
        reference(replace(problem, model=finer)).position_information(*[np.zeros((2, 2, 17, 21))] * 2, np.arange(2))
