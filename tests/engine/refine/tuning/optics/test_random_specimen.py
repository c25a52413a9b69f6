"""Randomly placed atoms and lattices, distinguished by the power spectrum of a picture."""

import math

import numpy as np
import pytest
from scipy import ndimage

from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.tuning.optics.random_specimen import (
    CONTRAST,
    finest_period_A,
    is_random,
    spectral_contrast,
)

PIXEL_A = np.array([0.3, 0.4])
SEMIANGLE_INVA = 0.35
SHAPE = 128, 96


def atoms(places: np.ndarray) -> np.ndarray:
    """Peaks half an ångström wide at these pixels."""
    picture = np.zeros(SHAPE)
    np.add.at(picture, tuple(places.T % np.array(SHAPE)[:, None]), 1.0)
    return ndimage.gaussian_filter(picture, 0.5 / PIXEL_A, mode="wrap")


def at_random(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(SHAPE, size=(number, 2))


def on_a_lattice(step: int) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0] : step, : SHAPE[1] : step]
    return np.stack([rows.ravel(), columns.ravel()], axis=1)


def test_a_random_specimen_has_the_contrast_of_speckle():
    """It is 2 for exponential powers; over n frequencies the standard deviation is 2 / sqrt n."""
    rings = [
        spectral_contrast(np.random.default_rng(seed).normal(size=SHAPE), PIXEL_A, None, 0.6) for seed in range(20)
    ]
    frequencies = math.pi * 1.2**2 * PIXEL_A.prod() * math.prod(SHAPE)
    assert np.mean(rings) == pytest.approx(2.0, abs=0.05)
    assert np.std(rings) < 3 * 2 / math.sqrt(frequencies / 2)  # a window correlates neighbours


@pytest.mark.parametrize("number", [300, 3000])
def test_atoms_at_random_are_random_whatever_their_number(number):
    assert is_random(atoms(at_random(number)), PIXEL_A, None, SEMIANGLE_INVA)


def test_a_lattice_is_not_even_among_atoms_at_random():
    assert spectral_contrast(atoms(on_a_lattice(8)), PIXEL_A, None, SEMIANGLE_INVA) > 4 * CONTRAST
    both = atoms(on_a_lattice(8)) + atoms(at_random(300))
    assert not is_random(both, PIXEL_A, None, SEMIANGLE_INVA)


def test_rings_are_round_whatever_the_shape_of_a_pixel():
    """A blurred picture has the same power at the same frequency: rings that are not round mix bright and dark ones."""
    sharp = np.random.default_rng(0).normal(size=SHAPE)
    blurred = ndimage.gaussian_filter(sharp, 1.0 / PIXEL_A, mode="wrap")
    assert spectral_contrast(blurred, PIXEL_A, None, SEMIANGLE_INVA) < 3
    assert spectral_contrast(blurred, PIXEL_A[:1].repeat(2), None, SEMIANGLE_INVA) > 4


def test_what_lies_beyond_the_resolution_is_not_looked_at():
    """The lattice of 0.9 Å is beyond an aperture of 0.35 / Å, which resolves 1.4 Å."""
    fine = np.zeros(SHAPE)
    fine[::3] = 1.0
    picture = atoms(at_random(300)) + 0.2 * fine
    assert is_random(picture, PIXEL_A, None, SEMIANGLE_INVA)
    assert not is_random(picture, PIXEL_A, None, 2 * SEMIANGLE_INVA)


def test_a_field_of_too_few_frequencies_tells_nothing():
    assert spectral_contrast(np.random.default_rng(0).normal(size=(6, 6)), PIXEL_A, None, 0.2) == math.inf
    assert spectral_contrast(np.zeros(SHAPE), PIXEL_A, None, SEMIANGLE_INVA) == math.inf


def waves(*periods_A: float) -> np.ndarray:
    """Plane waves along the columns."""
    places_A = np.arange(SHAPE[1]) * PIXEL_A[1]
    return np.broadcast_to(sum(np.cos(2 * np.pi * places_A / period_A) for period_A in periods_A), SHAPE)


@pytest.mark.parametrize("finest_A", [1.2, 2.0])
def test_the_finest_period_is_that_of_the_lattice_in_noise(finest_A):
    noise = 3.0 * np.random.default_rng(0).normal(size=SHAPE)
    found_A = finest_period_A(waves(4.1, finest_A) + noise, PIXEL_A, None, SEMIANGLE_INVA)
    two_frequencies = 2 * finest_A / (SHAPE[1] * PIXEL_A[1])
    assert found_A == pytest.approx(finest_A, rel=two_frequencies)


@pytest.mark.parametrize("shape", [(24, 20), (40, 30), SHAPE])
def test_noise_shows_no_period(shape):
    """Nor do rings of few frequencies, of which noise may have one far above the median."""
    noises = (np.random.default_rng(seed).normal(size=shape) for seed in range(100))
    assert {finest_period_A(noise, PIXEL_A, None, SEMIANGLE_INVA) for noise in noises} == {math.inf}
    assert finest_period_A(np.zeros(shape), PIXEL_A, None, SEMIANGLE_INVA) == math.inf


STEP_A = 2.3
SCAN = Lattice((16, 16), np.array([0.8, 0.6]) * STEP_A, np.array([-0.6, 0.8]) * STEP_A)
"""A scan that is turned by 37 degrees."""


def waves_of_scan(*orders: tuple[int, int]) -> np.ndarray:
    """Plane waves of these orders, in cycles per step along slow and fast axis."""
    places_A = np.moveaxis(np.indices(SHAPE), 0, -1) * PIXEL_A
    steps_A = np.column_stack([SCAN.slow, SCAN.fast])
    return sum(np.cos(2 * np.pi * places_A @ (np.array(order) @ np.linalg.inv(steps_A))) for order in orders)


def test_the_lattice_of_the_scan_is_none_of_the_specimen():
    noise = 3.0 * np.random.default_rng(0).normal(size=SHAPE)
    picture = waves_of_scan((1, 0), (0, 1), (1, -1)) + noise
    assert not is_random(picture, PIXEL_A, None, SEMIANGLE_INVA)
    assert is_random(picture, PIXEL_A, SCAN, SEMIANGLE_INVA)
    assert finest_period_A(picture, PIXEL_A, None, SEMIANGLE_INVA) == pytest.approx(STEP_A / math.sqrt(2), rel=0.05)
    assert finest_period_A(picture, PIXEL_A, SCAN, SEMIANGLE_INVA) == math.inf


def test_what_lies_between_the_orders_of_a_scan_is_the_specimen():
    steps_A = np.column_stack([SCAN.slow, SCAN.fast])
    halved = Lattice(SCAN.shape, *(steps_A / 2).T)
    picture = waves_of_scan((1, 0), (0, 1), (1, -1)) + 3.0 * np.random.default_rng(0).normal(size=SHAPE)
    assert not is_random(picture, PIXEL_A, halved, SEMIANGLE_INVA)
