"""Coefficients and exact numbers of patterns, against sums over pixels."""

import numpy as np
import pytest

from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.compressor import EXTRAS, Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.schema import Detector, Optics, Scan, ScanHeader

GOOD = np.ones((24, 24), dtype=bool)
GOOD[12, 13] = GOOD[1, 1] = False
FIELD = DetectorField((11.0, 12.0), 5.0, GOOD)
FRAMES = np.random.default_rng(0).poisson(20.0, (6, 24, 24)).astype(np.uint16)
RTOL = 1e-4
"""Sums of some hundred counts in single precision."""


def compressor(text="zernike:6+3", **given):
    choice = parse_basis(text)
    return Compressor(make_basis(choice, FIELD), FIELD, choice.square_root, **given)


@pytest.mark.parametrize("text", ["zernike:6+3", "zernike:6+3:sqrt", "zernike:6+0"])
def test_coefficients_are_products_with_the_masks(text):
    made = compressor(text)
    vectors = made.vectors(FRAMES)
    values = np.sqrt(FRAMES) if text.endswith("sqrt") else FRAMES.astype(float)
    exact = np.tensordot(values, made.basis.masks.astype(float), axes=([1, 2], [1, 2]))
    assert vectors.dtype == np.float32 and vectors.shape == (6, made.basis.count + len(EXTRAS))
    np.testing.assert_allclose(vectors[:, : made.basis.count], exact, rtol=RTOL, atol=1e-3 * exact.max())


def test_extras_are_exact_sums_over_good_pixels():
    made = compressor()
    extras = dict(zip(made.extras, made.vectors(FRAMES)[:, made.basis.count :].T, strict=True))
    frames, grid = FRAMES.astype(float), FIELD.grid
    np.testing.assert_allclose(extras["sum"], (frames * GOOD).sum(axis=(1, 2)), rtol=RTOL)
    for name in ("k_row", "k_col"):
        weights = getattr(grid, name) * GOOD
        np.testing.assert_allclose(extras[name], (frames * weights).sum(axis=(1, 2)), rtol=RTOL, atol=0.5)


def test_what_masks_leave_out_is_the_energy_beyond_them():
    made = compressor(extras=("perp_dark", "perp_bright"))
    found = made.vectors(FRAMES)[:, made.basis.count :]
    coefficients = np.tensordot(FRAMES.astype(float), made.basis.masks.astype(float), axes=([1, 2], [1, 2]))
    for column, region, part in ((0, FIELD.dark, slice(6, None)), (1, FIELD.bright, slice(0, 6))):
        energy = (FRAMES.astype(float) ** 2 * region).sum(axis=(1, 2)) - (coefficients[:, part] ** 2).sum(axis=1)
        np.testing.assert_allclose(found[:, column], energy, rtol=1e-2)  # a difference of large numbers
        assert (found[:, column] >= 0).all()


def test_without_extras_there_are_coefficients_only():
    made = compressor(extras=())
    assert made.vectors(FRAMES).shape == (6, 9)
    assert made.ratio == 24 * 24 / 9
    assert compressor().ratio == 24 * 24 / (9 + len(EXTRAS))


def test_angles_tell_what_is_lost():
    """Patterns that are masks lose nothing, patterns across all masks everything."""
    made = compressor()
    mask = np.abs(made.basis.masks[:1]) * 1e3
    across = np.random.default_rng(1).normal(size=(1, 24, 24))
    flat = made.basis.flat.astype(float)
    across = (across.reshape(1, -1) - across.reshape(1, -1) @ flat.T @ flat).reshape(1, 24, 24)
    assert made.intact_angles_deg(mask)[0] == pytest.approx(0.0, abs=0.5)
    assert made.intact_angles_deg(mask)[1] == 0.0, "a region without intensity does not count"
    assert min(made.intact_angles_deg(across)) > 89.0


def test_the_description_is_enough_to_read_the_vectors():
    made = compressor("zernike:6+3:sqrt", com_px=(1.0, 2.0))
    words = made.words
    assert (words.kind, words.n_bright, words.n_dark, words.of) == ("zernike", 6, 3, "sqrt_intensity")
    assert (words.extra, words.center_px, words.radius_px, words.com_px) == (EXTRAS, (11.0, 12.0), 5.0, (1.0, 2.0))
    header = ScanHeader("u", "s", 6, Scan(), Optics(), Detector(shape=(24, 24), dtype="<u2"))
    described = made.described(header)
    np.testing.assert_array_equal(described.arrays["masks"], made.basis.masks)
    np.testing.assert_array_equal(described.arrays["bad_pixel_mask"], ~GOOD)
    assert described.basis == words
