"""Masks: orthonormal, placed correctly, and exact where exactness is promised."""

import numpy as np
import pytest

from ptylive.engine.bases.choice import BasisChoice, make_basis, parse_basis
from ptylive.engine.bases.compressor import EXTRAS, Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.polynomials import orders
from ptylive.schema import MetadataError

SHAPE = (40, 44)
ORTHONORMAL = 1.01 * float(np.finfo(np.float32).eps)
"""Masks of unit norm are made in double and stored in single precision. Each value is off by at most eps/2 of itself,
so a product of two masks by at most eps (Cauchy-Schwarz); a hundredth is added for double arithmetic. The products are
summed in double, as the accuracy of single-precision sums depends on a processor's kernels.
"""
ROUNDING = float(np.finfo(np.float32).eps) / 2


def error_of_sums(weights, terms):
    """Largest error of the sums weights (n, pixels) @ |terms| (pixels, m) in single precision, in any order.

    Each of the terms and of the additions may be rounded, on both sides of a product too (Higham, Accuracy and
    Stability, section 3.1). Pixels with zero weight add nothing.
    """
    n = int((terms != 0).any(axis=1).sum()) + 3
    return n * ROUNDING / (1 - n * ROUNDING) * (np.abs(weights) @ np.abs(terms))


@pytest.fixture(scope="module")
def field():
    good = np.ones(SHAPE, bool)
    good[19, 20] = good[3, 5] = False
    return DetectorField((19.3, 21.6), 11.0, good)


@pytest.fixture(scope="module")
def patterns(field):
    rng = np.random.default_rng(4)
    rows, cols = np.indices(SHAPE) / 9.0
    tilt = rng.normal(size=(60, 2, 1, 1))
    shade = 1.2 + np.sin(tilt[:, 0] * 3 + rows) * np.cos(tilt[:, 1] * 3 + cols)
    return rng.poisson(np.where(field.bright, 20 * shade, 0.3)).astype(np.uint16)


@pytest.mark.parametrize("text", ["zernike:45+1", "zernike:20+6", "binning:45+1", "binning:30+9", "data", "pca:12+3"])
@pytest.mark.parametrize("root", ["", ":sqrt"])
def test_masks_are_orthonormal_and_keep_to_their_region(field, patterns, text, root):
    choice = parse_basis(text + root if ":" in text or not root else f"{text}:15+1{root}")
    basis = make_basis(choice, field, patterns)
    masks = basis.flat.astype(float)
    np.testing.assert_allclose(masks @ masks.T, np.eye(basis.count), rtol=0, atol=ORTHONORMAL)
    assert not basis.masks[: basis.n_bright, ~field.bright].any()
    assert not basis.masks[basis.n_bright :, ~field.dark].any()
    if choice.kind != "binning":
        assert (basis.n_bright, basis.n_dark) == (choice.n_bright, choice.n_dark)
    else:
        assert abs(basis.n_bright - choice.n_bright) <= 2


def test_masks_learnt_from_intensities_begin_with_the_plane_and_those_from_roots_do_not(field, patterns):
    plane = np.stack([np.ones(field.bright.sum()), field.grid.k_row[field.bright], field.grid.k_col[field.bright]])
    for root in ("", ":sqrt"):
        masks = make_basis(parse_basis(f"data:15+1{root}"), field, patterns).masks[:15, field.bright]
        outside = np.linalg.norm(plane - plane @ masks.T @ masks, axis=1) / np.linalg.norm(plane, axis=1)
        # masks learnt from roots leave out a third of the plane, others 1e-7 of it in single precision
        assert (outside.max() < 1e-4) == (not root)


def test_zernike_order_is_osa():
    assert [orders(j) for j in range(10)] == [
        (0, 0), (1, -1), (1, 1), (2, -2), (2, 0), (2, 2), (3, -3), (3, -1), (3, 1), (3, 3),
    ]  # fmt: skip
    assert orders(44) == (8, 8)


def test_zernike_polynomials_are_those_of_the_textbook(field):
    from ptylive.engine.bases.polynomials import zernike

    rho, (row, col) = field.radius / 12, (field.grid.k_row / 12, field.grid.k_col / 12)
    everywhere = np.ones(SHAPE, bool)
    found = zernike(field, everywhere, 12.0, 13).reshape(13, *SHAPE)
    np.testing.assert_allclose(found[2], row, atol=1e-12)
    np.testing.assert_allclose(found[1], col, atol=1e-12)
    np.testing.assert_allclose(found[4], 2 * rho**2 - 1, atol=1e-12)
    np.testing.assert_allclose(found[12], 6 * rho**4 - 6 * rho**2 + 1, atol=1e-12)


def test_extras_are_exact(field, patterns):
    compressor = Compressor(make_basis(parse_basis("zernike:45+1"), field), field)
    vectors = compressor.vectors(patterns)
    assert vectors.shape == (60, 46 + len(EXTRAS))
    assert vectors.dtype == np.float32
    extra = dict(zip(EXTRAS, vectors[:, 46:].T, strict=True))
    clean = np.where(field.good, patterns, 0).astype(float)
    # integers below 2^24: no sum is rounded
    np.testing.assert_array_equal(extra["sum"], clean.sum((1, 2)))
    np.testing.assert_array_equal(extra["edge"], clean[:, field.edge].sum(1))
    k_row = np.where(field.good, np.arange(SHAPE[0])[:, None] - 19.3, 0.0).reshape(-1, 1)
    flat = clean.reshape(60, -1)
    assert (np.abs(extra["k_row"] - (flat @ k_row)[:, 0]) <= error_of_sums(flat, k_row)[:, 0]).all()
    masks = compressor.basis.flat.T.astype(float)
    assert (np.abs(vectors[:, :46] - flat @ masks) <= error_of_sums(flat, masks)).all()
    # remainder outside the masks: the error of the squares, and twice each coefficient times its own error
    inside = np.where(field.bright, clean, 0).reshape(60, -1) ** 2
    coefficients = flat @ masks[:, :45]
    left = inside.sum(1) - (coefficients**2).sum(1)
    bound = error_of_sums(inside, np.ones((inside.shape[1], 1)))[:, 0]
    bound += (2 * np.abs(coefficients) * error_of_sums(flat, masks[:, :45])).sum(1)
    assert (np.abs(extra["perp_bright"] - left) <= bound).all()
    assert (bound < 0.2 * left).all(), "the bound must tell a number that is exact from one that is not"


def test_square_roots_are_of_intensities(field, patterns):
    compressor = Compressor(make_basis(parse_basis("binning:45+1:sqrt"), field), field, square_root=True)
    vectors = compressor.vectors(patterns)
    n = compressor.basis.n_bright
    roots = np.sqrt(np.where(field.good, patterns, 0)).reshape(60, -1)
    masks = compressor.basis.flat.T.astype(float)
    assert (np.abs(vectors[:, : compressor.basis.count] - roots @ masks) <= error_of_sums(roots, masks)).all()
    # Pythagoras: the kept part and the remainder add up to the intensity of the region, up to the rounding of a sum of
    # as many squares
    whole = (vectors[:, :n] ** 2).sum(1) + vectors[:, compressor.basis.count + 3]
    intensity = patterns[:, field.bright].sum(1)
    np.testing.assert_allclose(whole, intensity, rtol=(field.bright.sum() + n + 4) * 2 * ROUNDING)
    assert compressor.words.of == "sqrt_intensity"


def test_patterns_come_back_as_far_as_the_basis_goes(field):
    basis = make_basis(parse_basis("zernike:45+1"), field)
    weights = np.random.default_rng(1).normal(size=(3, 46))
    patterns = np.einsum("pn,nyx->pyx", weights, basis.masks)
    # every coefficient is a sum in single precision; a pattern adds up all of them
    error = error_of_sums(patterns.reshape(3, -1), basis.flat.T.astype(float)).sum(1).max()
    np.testing.assert_allclose(basis.pattern(basis.project(patterns)), patterns, rtol=0, atol=error)


def test_more_masks_leave_smaller_angles_to_the_patterns(field, patterns):
    whole = Compressor(make_basis(BasisChoice("data", 63, 1), field, patterns), field)
    # 63 masks span all 60 patterns; a single-precision cosine leaves the angle open by sqrt(2 eps), 0.03 degrees
    assert whole.intact_angles_deg(patterns)[0] < 0.1
    few = Compressor(make_basis(parse_basis("zernike:3+1"), field), field)
    more = Compressor(make_basis(parse_basis("zernike:45+1"), field), field)
    assert 90 > few.intact_angles_deg(patterns)[0] > more.intact_angles_deg(patterns)[0] > 0.1
    assert more.ratio == pytest.approx(40 * 44 / 52)


@pytest.mark.parametrize("text", ["zernik:45+1", "zernike:45", "zernike:0+1", "", "pixels:3+1", "zernike:99999+1"])
def test_what_is_no_basis_is_refused(text):
    with pytest.raises(MetadataError, match="basis"):
        parse_basis(text)


@pytest.mark.parametrize(
    ("defocus", "bright", "finest", "advised"),
    [(0.0, 45, 1.667, 45), (150.0, 45, 2.945, 136), (150.0, 153, 1.667, 136)],
)
def test_what_zernike_masks_resolve(field, defocus, bright, finest, advised):
    """Order n carries a ramp of n rad at the rim; mos2_edge, s_r = 4.5 steps, needs n > 14."""
    from ptylive.engine.compression import resolution
    from ptylive.schema import Optics, Scan, ScanHeader

    optics = Optics.model_validate({"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "defocus_A": defocus})
    header = ScanHeader("u", "s", 4, Scan(shape=(2, 2), step_A=3.75 / 4.5), optics)
    compressor = Compressor(make_basis(BasisChoice("zernike", bright, 1), field), field)
    found = resolution(compressor, header)
    assert found[0] == pytest.approx(finest, abs=5e-4)  # as many digits as are quoted
    assert found[1] == advised
    unknown = ScanHeader("u", "s", 4, Scan(shape=(2, 2), step_A=0.5))
    assert resolution(compressor, unknown) == (None, None)


def test_names_and_files():
    assert parse_basis("pixels").is_raw
    assert parse_basis("data") == BasisChoice("data", 15, 1)
    assert parse_basis("some/where/basis.h5").file.name == "basis.h5"


def test_too_many_masks_and_missing_patterns_are_named(field):
    with pytest.raises(MetadataError, match="pixels of the bright field"):
        make_basis(parse_basis("zernike:2000+1"), field)
    with pytest.raises(MetadataError, match="learnt from patterns"):
        make_basis(parse_basis("data:15+1"), field)
