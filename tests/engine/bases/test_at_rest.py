"""Coefficients of displaced patterns corrected to zero displacement; the masks describe the random patterns fully."""

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.bases.at_rest import AtRest
from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.descan import moved

SIDE, RADIUS = 32, 8.0
FIELD = DetectorField((15.5, 15.5), RADIUS, np.ones((SIDE, SIDE), dtype=bool))


def patterns_of(masks: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Discs whose brightness varies by a tenth, in low orders."""
    amount = rng.normal(0, 0.1, (count, len(masks))) * np.exp(-np.arange(len(masks)) / 5)
    amount[:, 0] += 1
    return 100 * np.tensordot(amount, masks, axes=1)


@pytest.mark.parametrize("seed", quick_first(range(3)))
@pytest.mark.parametrize(("reach", "most"), [(0.3, 0.02), (0.8, 0.08)])
def test_most_of_a_displacement_is_taken_out(seed: int, reach: float, most: float) -> None:
    """The remaining mean square change is small but not 0: masks end at the disc's edge and miss what lies beyond."""
    rng = np.random.default_rng(seed)
    basis = make_basis(parse_basis("zernike:21+1"), FIELD, None)
    pictures = patterns_of(basis.masks[:15], rng, 200).astype(np.float32)
    displacement = rng.uniform(-reach, reach, (200, 2))
    rest, seen = basis.project(pictures), basis.project(moved(pictures, -displacement))
    found = AtRest.of(basis, RADIUS, reach).coefficients(seen, displacement)
    print(seed, reach, np.square(found - rest).mean() / np.square(seen - rest).mean())
    assert np.square(found - rest).mean() < most * np.square(seen - rest).mean()


def test_what_lies_still_stays_as_it_is() -> None:
    basis = make_basis(parse_basis("zernike:10+1"), FIELD, None)
    seen = basis.project(np.random.default_rng(1).poisson(5.0, (50, SIDE, SIDE)))
    found = AtRest.of(basis, RADIUS, 0.5).coefficients(seen, np.zeros((50, 2)))
    assert found == pytest.approx(seen, abs=1e-3 * float(np.abs(seen).max()))  # the operators are interpolated


def test_masks_need_not_be_orthonormal() -> None:
    """Other masks that span the same space give the same result, in their own coefficients."""
    rng = np.random.default_rng(2)
    basis = make_basis(parse_basis("zernike:10+1"), FIELD, None)
    mixed = rng.normal(size=(11, 11)) + 3 * np.eye(11)
    other = MaskBasis("custom", np.tensordot(mixed, basis.masks, axes=1).astype(np.float32), 10)
    displacement = rng.uniform(-0.5, 0.5, (64, 2))
    seen = basis.project(patterns_of(basis.masks[:6], rng, 64))
    found = AtRest.of(basis, RADIUS, 0.5).coefficients(seen, displacement)
    again = AtRest.of(other, RADIUS, 0.5).coefficients(seen @ mixed.T, displacement)
    assert again == pytest.approx(found @ mixed.T, abs=1e-3 * float(np.abs(again).max()))


def test_one_pattern_alone_is_enough() -> None:
    basis = make_basis(parse_basis("zernike:10+1"), FIELD, None)
    seen = basis.project(patterns_of(basis.masks[:3], np.random.default_rng(3), 1))
    assert np.isfinite(AtRest.of(basis, RADIUS, 0.4).coefficients(seen, np.array([[0.4, -0.4]]))).all()
