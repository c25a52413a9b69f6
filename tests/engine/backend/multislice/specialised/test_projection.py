"""Coefficients compared in the kernel: against whole arrays in double precision, wherever the masks lie."""

from dataclasses import replace

import numpy as np
import pytest
from forward_problems import COUNT, coefficients, make_planes, make_problem, moved_patterns
from rounding import SINGLE

from ptylive.engine.backend.multislice.description import CompressedPatterns, PerpendicularTerm
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.kernel_parts.coefficients import DERIVATIVE, S, _of_length
from ptylive.engine.backend.multislice.problem import CoefficientTermKind
from ptylive.engine.backend.multislice.specialised import projection
from ptylive.engine.backend.multislice.specialised.backend import SpecialisedMultislice

SIZE = 32
SIGNED = (CoefficientTermKind.LEAST_SQUARES, CoefficientTermKind.ROOT)


def bright_and_dark(kind, bright=9, last_sees_all=False):
    """Orthonormal masks in the bright field and one covering all that lies outside, as in a compressed recording.

    With ``last_sees_all`` the last mask covers the whole detector; its overlap with the other masks is counted once.
    """
    rng, size = np.random.default_rng(4), SIZE
    q = np.fft.fftfreq(size)
    inside = (np.hypot(q[:, None], q[None, :] - 0.05) < 0.25).ravel()
    shown = np.zeros((bright + 1, size * size), np.float32)
    drawn = np.linalg.qr(rng.normal(size=(inside.sum(), bright)))[0].T
    shown[:bright, inside] = drawn if kind in SIGNED else np.abs(drawn)
    shown[bright, ~inside] = (~inside).sum() ** -0.5
    if last_sees_all:
        shown[bright] = 1 / size
    whole = PerpendicularTerm(
        inside.astype(np.float32), np.arange(bright), 9 * rng.random(COUNT).astype(np.float32), 0.02
    )
    values = (5 * rng.random((COUNT, bright + 1))).astype(np.float32)
    return CompressedPatterns(values, shown, None, (whole,) if kind in SIGNED else (), None)


def problem_of(kind, compressed):
    return moved_patterns(make_problem(window=SIZE, kind=kind, compressed=compressed))


def agrees(problem, kernel=True):
    """Compare loss and gradient of all patterns, and of a subset in another order."""
    planes = make_planes(problem, 2, 2, 1)
    arrays, backend = GeneralMultislice(problem, np, "complex128", "double"), SpecialisedMultislice(problem, "kernel")
    assert (backend._projection is not None) == kernel
    single = [plane.astype(np.float32) for plane in planes]
    for chosen in (None, np.array([2, 0])):
        expected, found = arrays.loss_and_gradient(*planes, chosen), backend.loss_and_gradient(*single, chosen)
        assert found.loss == pytest.approx(expected.loss, rel=SINGLE)
        for name in ("object", "probe"):
            away = np.linalg.norm(getattr(found, name) - getattr(expected, name))
            assert away <= SINGLE * np.linalg.norm(getattr(expected, name)), name


@pytest.mark.parametrize("kind", CoefficientTermKind)
@pytest.mark.parametrize(("bright", "last_sees_all"), [(3, False), (9, False), (9, True)])
def test_masks_that_look_at_few_pixels(kind, bright, last_sees_all):
    problem = problem_of(kind, bright_and_dark(kind, bright, last_sees_all))
    agrees(problem)
    if bright > 3:
        made = projection.projection_of(problem, problem.model)
        assert made.many.shape[1] < SIZE**2 / 4, "the bright field only"
        assert made.few.tolist() == [bright]


@pytest.mark.parametrize("kind", CoefficientTermKind)
def test_masks_that_look_everywhere_with_all_further_terms(kind):
    agrees(problem_of(kind, coefficients(kind, True, SIZE)))


@pytest.mark.parametrize("kind", SIGNED)
def test_many_masks_are_products_outside_the_kernel(kind, monkeypatch):
    monkeypatch.setattr(projection, "MOST_BYTES", 0)
    agrees(problem_of(kind, coefficients(kind, True, SIZE)), kernel=False)


def test_what_a_detector_does_besides_is_outside_the_kernel():
    problem = problem_of(CoefficientTermKind.ROOT, coefficients(CoefficientTermKind.ROOT, True, SIZE))
    finer = replace(problem.model, upsampling=2)
    assert projection.projection_of(problem, finer) is None
    assert projection.projection_of(problem, replace(problem.model, compressed=None)) is None


@pytest.mark.parametrize("kind", SIGNED)
def test_nothing_is_left_to_what_memory_held_before(kind):
    """Sums are not cleared first: a row without a derivative must be set to 0, as 0 times a stale NaN is NaN."""
    problem = problem_of(kind, bright_and_dark(kind))
    made = projection.projection_of(problem, problem.model)
    sums = np.full((3, len(made.many)), np.nan, np.float32)
    sums[S], sums[DERIVATIVE, : made.members.shape[1]] = 1, 0
    seen = np.ones(made.regions.shape[1], np.float32)
    loss, _ = _of_length(made, 0, made.measured[0, 0], seen, sums)
    assert np.isfinite(loss)
    assert np.isfinite(sums[DERIVATIVE]).all()
