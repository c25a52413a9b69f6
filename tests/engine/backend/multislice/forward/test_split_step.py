"""Split steps: their composition, and how fast they approach the exact wave as slices become thinner."""

from itertools import pairwise

import numpy as np
import pytest

from ptylive.engine.backend.multislice.description import ForwardModel, SplitStep
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.specimen import Place, Specimen
from ptylive.engine.backend.multislice.forward.split_step import Propagate, Transmit, program
from ptylive.engine.backend.multislice.forward.values import Sums, Values
from ptylive.engine.backend.multislice.problem import HELD

SIZE, PIXEL_A, WAVELENGTH_A, THICKNESS_A = 12, 0.5, 0.05, 16.0
ORDERS = {SplitStep.FIRST_ORDER: 1, SplitStep.SECOND_ORDER: 2, SplitStep.FOURTH_ORDER: 4}


def phase_per_A():
    q = np.fft.fftfreq(SIZE, PIXEL_A)
    return -np.pi * WAVELENGTH_A * (q[:, None] ** 2 + q[None, :] ** 2)


def potential():
    """Phase and a little absorption per Å of the specimen, the same at every depth."""
    x = 2 * np.pi * np.arange(SIZE) / SIZE
    phase = 0.04 * (1 + np.cos(x)[:, None] * np.cos(x - 1)[None, :])
    return 1j * phase - 0.1 * phase


def entrance_wave():
    q = np.fft.fftfreq(SIZE, PIXEL_A)
    return np.fft.ifft2(np.exp(-3 * (q[:, None] ** 2 + q[None, :] ** 2)) * np.exp(1j * q)[:, None])


def exact_wave():
    """exp(T (A + B)) from its eigenvectors; A is the propagation and B the potential, as matrices on the pixels."""
    transform = np.fft.fft2(np.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE), norm="ortho").reshape(SIZE * SIZE, -1).T
    generator = transform.conj().T @ (1j * phase_per_A().ravel()[:, None] * transform) + np.diag(potential().ravel())
    values, vectors = np.linalg.eig(generator)
    share = np.linalg.solve(vectors, entrance_wave().ravel())
    return (vectors @ (np.exp(THICKNESS_A * values) * share)).reshape(SIZE, SIZE)


def pattern(split, slices):
    """Far field behind n slices."""
    thickness = (THICKNESS_A / slices,) * slices
    kit = ArrayKit(np, np.dtype("complex128"))
    model = ForwardModel(PIXEL_A, WAVELENGTH_A, thickness, split)
    specimen = Specimen(kit, model, phase_per_A(), SIZE, slices)
    objects = np.exp(potential() * thickness[0]).reshape(1, 1, -1).repeat(slices, axis=1)
    wave = entrance_wave()[None, None]
    values = Values(objects, None, 1, thickness, None, None, None, None, None)
    place = Place(np.array([0]), np.arange(SIZE * SIZE).reshape(1, SIZE, SIZE), Sums(None, None, HELD), {})
    _, exit_wave = specimen.forward(0, values, specimen.prepared(values, HELD), wave, place)
    return np.abs(np.fft.fft2(exit_wave[0, 0])) ** 2


@pytest.mark.parametrize("split", list(SplitStep))
def test_errors_fall_with_the_order_of_the_method(split):
    exact = np.abs(np.fft.fft2(exact_wave())) ** 2
    numbers = (4, 8, 16) if split is SplitStep.FOURTH_ORDER else (16, 32, 64)
    errors = [np.linalg.norm(pattern(split, n) - exact) / np.linalg.norm(exact) for n in numbers]
    found = np.log2(np.asarray(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(found, ORDERS[split], atol=0.25)  # orders tend to whole numbers as slices become thin


def test_higher_orders_are_worth_it_at_the_same_slices():
    exact = np.abs(np.fft.fft2(exact_wave())) ** 2
    first, second, fourth = (np.linalg.norm(pattern(split, 8) - exact) for split in SplitStep)
    assert first > 10 * second > 100 * fourth


def test_the_plain_program_is_slices_and_the_space_between_them():
    assert program(SplitStep.FIRST_ORDER, 2, to_exit_face=False) == (
        Transmit(0, 1.0),
        Propagate(((0, 1.0),)),
        Transmit(1, 1.0),
    )


@pytest.mark.parametrize("split", list(SplitStep))
def test_all_of_every_slice_is_passed(split):
    steps = program(split, 3, to_exit_face=split is not SplitStep.FIRST_ORDER)
    powers, lengths = np.zeros(3), np.zeros(3)
    for step in steps:
        if isinstance(step, Transmit):
            powers[step.slice] += step.power
        else:
            for z, share in step.shares:
                lengths[z] += share
    np.testing.assert_allclose(powers, 1)
    np.testing.assert_allclose(lengths, [1, 1, 0 if split is SplitStep.FIRST_ORDER else 1])
    kinds = [type(step) for step in steps]
    assert all(a is not b for a, b in pairwise(kinds))
