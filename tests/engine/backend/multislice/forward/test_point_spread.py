"""The detector's point spread: its effect on counts, and its derivatives in double precision."""

from dataclasses import replace

import numpy as np
import pytest
from forward_problems import (
    P,
    check_gradients,
    coefficients,
    every_correction,
    make_planes,
    make_problem,
    near_field,
    tilts,
)
from quick_first import quick_first

from ptylive.engine.backend.multislice.description import PointSpread
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.forward.point_spread import PointSpreadBlock
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind

DOUBLE = ArrayKit(np, np.dtype("complex128"))


def measured_image(size=P):
    """A randomly drawn point spread without symmetry."""
    image = np.zeros((size, size))
    image[:3, :2] = np.random.default_rng(11).random((3, 2))
    return (image / image.sum()).astype(np.float32)


@pytest.mark.parametrize("variance", [0.0, 0.01, 0.3, 2.0])
def test_a_gaussian_is_a_probability_with_that_variance(variance):
    """This holds at any width: no negative lobes, sum 1. With 64 pixels the rim is 22 deviations away."""
    hit = np.zeros((1, 64, 64))
    hit[0, 0, 0] = 1
    counted = PointSpreadBlock(DOUBLE, PointSpread(), 64).spread_any(hit, variance)[0]
    assert counted.min() > -1e-16
    assert counted.sum() == pytest.approx(1, rel=1e-12)
    at = np.fft.fftfreq(64, 1 / 64)
    for axis in (0, 1):
        assert (counted.sum(axis) * at**2).sum() == pytest.approx(variance, rel=1e-9, abs=1e-12)


def test_an_image_moves_counts_where_it_says():
    image = np.zeros((P, P), np.float32)
    image[0, 0], image[1, 0], image[0, -1] = 0.5, 0.3, 0.2
    counts = np.random.default_rng(0).random((2, P, P))
    expected = 0.5 * counts + 0.3 * np.roll(counts, 1, 1) + 0.2 * np.roll(counts, -1, 2)
    counted = PointSpreadBlock(DOUBLE, PointSpread(image=image), P).spread(counts, 0.0)
    np.testing.assert_allclose(counted, expected, atol=1e-7)  # the image is kept in single precision


@pytest.mark.parametrize("kind", list(DataTermKind))
@pytest.mark.parametrize("image", quick_first([measured_image(), None]))
def test_derivatives_with_every_loss(kind, image):
    check_gradients(make_problem(kind, 3, spread=PointSpread(0.4, image), tilts=tilts(4)), 2, 2)


@pytest.mark.parametrize("kind", list(CoefficientTermKind))
def test_derivatives_of_coefficients(kind):
    parts = {"spread": PointSpread(0.4, measured_image()), "compressed": coefficients(kind)}
    check_gradients(make_problem(kind, 2, **parts), 1, 1)


def test_derivatives_of_images_and_of_finer_models():
    check_gradients(make_problem(spread=PointSpread(0.4), near_field=near_field()), 1, 1)
    check_gradients(make_problem(slices=2, spread=PointSpread(0.4, measured_image()), upsampling=2), 2, 1)


def test_a_given_spread_that_is_not_refined():
    check_gradients(make_problem(slices=2, spread=PointSpread(0.4)), 1, 1, without=("spread_px2",))


def test_no_width_is_no_spread():
    problem = make_problem(slices=2, spread=PointSpread())
    planes, probe = make_planes(problem, 2, 1)
    without = replace(problem, model=replace(problem.model, spread=None))
    spread, plain = (
        GeneralMultislice(each, np, "complex128", "double").loss_and_gradient(
            planes, probe, corrections=every_correction(without)
        )
        for each in (problem, without)
    )
    assert spread.loss == pytest.approx(plain.loss, rel=1e-12)
    np.testing.assert_allclose(spread.object, plain.object, atol=1e-10)


def test_information_on_positions_is_of_what_is_counted():
    """Compared with central differences of the modelled counts."""
    problem = make_problem(slices=2, spread=PointSpread(0.8, measured_image()))
    planes, probe = make_planes(problem, 1, 1)

    def counts(moved):
        backend = GeneralMultislice(replace(problem, shifts_px=problem.shifts_px + moved), np, "complex128", "double")
        return backend.expected_patterns(planes, probe)

    backend = GeneralMultislice(problem, np, "complex128", "double")
    h = 1e-4  # second-order truncation: 1e-8
    slopes = np.stack([(counts(h * along) - counts(-h * along)) / (2 * h) for along in np.eye(2)], axis=1)
    weight = problem.weights / (counts(np.zeros(2)) + problem.data_term.offset)
    expected = np.einsum("naij,nbij,nij->nab", slopes, slopes, weight)
    found = backend.position_information(planes, probe, np.arange(problem.count))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_backend_says_why_it_is_the_general_one():
    problem = make_problem(spread=PointSpread(0.4))
    assert open_backend("cpu", problem).name == "cpu (scipy, for the detector's point spread)"
