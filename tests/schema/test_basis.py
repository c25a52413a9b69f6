"""Coefficients of patterns, and the exact numbers sent with them."""

import numpy as np
import pytest

from ptylive.schema.basis import MOMENTS, MOVED, Basis

VECTORS = np.arange(24).reshape(2, 12)


def test_pixels_are_raw():
    assert Basis().is_raw and not Basis(kind="zernike").is_raw


def test_extras_follow_the_coefficients_in_their_own_order():
    basis = Basis(kind="zernike", n_bright=4, n_dark=3, extra=("k_col", *MOVED, "sum", "k_row"))
    np.testing.assert_array_equal(basis.columns(VECTORS, ("sum", "k_col")), [[10, 7], [22, 19]])
    assert basis.follows
    np.testing.assert_array_equal(basis.moved_px(VECTORS), [[8, 9], [20, 21]])


@pytest.mark.parametrize("extra", [(), MOVED, MOMENTS, (*MOMENTS, "moved_row")])
def test_masks_that_did_not_follow_the_beam_have_not_moved(extra):
    basis = Basis(kind="zernike", n_bright=4, n_dark=3, extra=extra)
    assert not basis.follows
    np.testing.assert_array_equal(basis.moved_px(VECTORS), np.zeros((2, 2)))
