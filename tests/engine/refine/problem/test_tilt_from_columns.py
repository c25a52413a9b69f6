"""The shear of atom columns is measured, and removing it changes only the tilt."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.description import ForwardModel, Tilts
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem
from ptylive.engine.refine.problem.tilt_from_columns import Area, remove_shear, shear_mrad, shift_slices, wrapped_phases

PIXEL_A, SIZE, SPACINGS_A = 0.25, 64, (9.0, 12.0)


def sheared_slices(mrad):
    """Gaussian atoms in columns with the given shear (row, col)."""
    rng = np.random.default_rng(1)
    atoms = rng.uniform(2, SIZE * PIXEL_A - 2, (25, 2))
    at = np.arange(SIZE) * PIXEL_A
    slices = []
    for depth in np.concatenate([[0], np.cumsum(SPACINGS_A)]):
        moved = atoms + depth * 1e-3 * np.asarray(mrad)
        away = (at[:, None, None] - moved[:, 0]) ** 2 + (at[None, :, None] - moved[:, 1]) ** 2
        slices.append(0.3 * np.exp(-away / (2 * 0.5**2)).sum(-1))
    return np.exp(1j * np.array(slices))[None].astype(np.complex64)


@pytest.mark.parametrize("mrad", [(0.0, 0.0), (5.0, -2.0), (-12.0, 20.0)])
def test_lean_is_measured_and_taken_away(mrad):
    slices = sheared_slices(mrad)
    area = Area.around((12, SIZE - 13), (12, SIZE - 13), (SIZE, SIZE), 12)
    straight, shear = remove_shear(slices, area, SPACINGS_A, PIXEL_A)
    # slices in single precision, over 21 Å: 1e-3 mrad is 2e-5 Å
    np.testing.assert_allclose(shear, mrad, atol=1e-3)
    seen = wrapped_phases(straight[0])[:, area.rows, area.columns]
    assert np.abs(shear_mrad(seen, area.weights, SPACINGS_A, PIXEL_A)).max() < 1e-3
    np.testing.assert_allclose(straight[0, 0], slices[0, 0], atol=1e-5)  # transforms of numbers of modulus 1


def test_two_crystals_do_not_lean_where_they_meet():
    """The upper crystal is shifted and rotated against the lower one, which is no evidence of a tilt."""
    lower = sheared_slices((4.0, -3.0))[0]
    rows, columns = np.indices((SIZE, SIZE)) - SIZE / 2
    angle = np.deg2rad(10)
    turned = [
        np.angle(
            lower[z][
                np.rint(np.cos(angle) * rows - np.sin(angle) * columns + SIZE / 2 + 2).astype(int) % SIZE,
                np.rint(np.sin(angle) * rows + np.cos(angle) * columns + SIZE / 2 - 3).astype(int) % SIZE,
            ]
        )
        for z in (0, 0)
    ]
    shear = np.array([4.0, -3.0])
    upper = shift_slices(np.exp(1j * np.array(turned))[None], -shear, (9.0,), PIXEL_A)[0]
    slices = np.concatenate([lower, upper])[None]
    area = Area.around((6, SIZE - 7), (6, SIZE - 7), (SIZE, SIZE), 6)
    _, found = remove_shear(slices, area, (9.0, 12.0, 11.0, 9.0), PIXEL_A)
    np.testing.assert_allclose(found, shear, atol=0.5)  # the accuracy required of a tilt (test_tilt_search)


@pytest.mark.parametrize("seed", range(4))
def test_slices_that_are_alike_say_more_than_slices_that_are_not(seed):
    """One pair of slices agrees and is sheared; the other agrees by a fifth, is not sheared, and weighs a fortieth."""
    rng = np.random.default_rng(seed)
    smooth = np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, SIZE, SIZE))) * np.exp(-50 * _q2()))
    clear, other = smooth.real / smooth.real.std(axis=(1, 2), keepdims=True)
    shear = np.array([3.0, -2.0])  # 0.03 Å in 9 Å: below what counts as disorder
    sheared = shift_slices(np.stack([clear, clear])[None].astype(complex), -shear, (9.0,), PIXEL_A)[0, 1].real
    phases = np.stack([clear, sheared, 0.2 * sheared + other])
    found = shear_mrad(phases, np.ones((SIZE, SIZE)), (9.0, 9.0), PIXEL_A)
    # the other pair reduces the shear by a fortieth; with equal weights, by half
    np.testing.assert_allclose(found, shear, atol=0.2 * np.linalg.norm(shear))


def _q2():
    q = np.fft.fftfreq(SIZE)
    return q[:, None] ** 2 + q[None, :] ** 2


def test_the_surroundings_fade_and_end_with_the_object():
    area = Area.around((3, 9), (20, 40), (64, 64), 6)
    assert (area.rows, area.columns) == (slice(0, 16), slice(14, 47))
    assert area.weights.shape == (16, 33)
    np.testing.assert_allclose(area.weights[3:10, 6:27], 1)
    assert 0 < area.weights[0, 0] < area.weights[2, 5] < 1


def test_the_loss_cannot_tell_a_tilt_from_a_shear():
    shear = np.array([50.0, -20.0])
    slices = sheared_slices((0.0, 0.0)).astype(np.complex128)[0]
    q = np.fft.fftfreq(SIZE, PIXEL_A)
    phase_per_A = -np.pi * 0.025 * (q[:, None] ** 2 + q[None, :] ** 2)
    probe = (np.hypot(q[:, None], q[None, :]) < 0.8).astype(complex)[None]
    problem = MultisliceProblem(
        patterns=np.random.default_rng(2).poisson(5, (1, SIZE, SIZE)).astype(np.uint16),
        weights=np.ones((SIZE, SIZE), np.float32),
        corners=np.zeros((1, 2), np.int64),
        shifts_px=np.zeros((1, 2)),
        object_shape=(3, SIZE, SIZE),
        propagators=np.zeros((2, SIZE, SIZE)),
        data_term=DataTerm(DataTermKind.AMPLITUDE, 0.1),
        phase_per_A=phase_per_A,
        model=ForwardModel(PIXEL_A, 0.025, (*SPACINGS_A, 12.0), tilts=Tilts(np.zeros((1, 6)), 0)),
    )

    def loss(objects, tilt):
        tilts = Tilts(np.array([[0, 0, *(1e-3 * tilt), 0, 0]]), 0)
        backend = GeneralMultislice(
            replace(problem, model=replace(problem.model, tilts=tilts)), np, "complex128", "double"
        )
        planes = [np.stack([one.real, one.imag]) for one in (objects, probe)]
        return backend.loss_and_gradient(*planes).loss

    standing = loss(slices, shear)
    sheared = shift_slices(slices[None], -shear, SPACINGS_A, PIXEL_A)[0]
    assert loss(sheared, 0 * shear) == pytest.approx(standing, rel=1e-8)  # double precision
    assert loss(slices, 0 * shear) != pytest.approx(standing, rel=1e-6)  # a tenth of the effect of the tilt
