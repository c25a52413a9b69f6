"""Blur along the beam: PtyRAD's kernel, phaser's on the logarithm, and no blur across the surfaces."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d

from ptylive.engine.refine.regularisers.constraints.layer_blur import LayerBlur, gaussian_rows

SINGLE = 2e-6
"""Some 16 roundings of values near 1 in single precision."""


def test_ptyrads_kernel(ptyrad):
    """Its ``std`` 1 with ``kernel_size`` 5 on phases, and on moduli, which PtyRAD blurs without their logarithm."""
    blur = LayerBlur(gaussian_rows(5, 1.0).astype("f4"))
    phase, modulus = blur.potentials_changed(ptyrad["phase"], ptyrad["modulus"], np)
    np.testing.assert_allclose(phase, ptyrad["obj_zblur_phase"], atol=SINGLE)
    np.testing.assert_allclose(modulus, ptyrad["obj_zblur_modulus"], atol=SINGLE)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.6])
def test_the_kernel_is_that_of_phaser(sigma):
    reach = int(np.ceil(2 * sigma))
    kernel = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    values = np.random.default_rng(0).normal(size=(7, 3))
    expected = convolve1d(values, kernel / kernel.sum(), axis=0, mode="nearest")
    np.testing.assert_allclose(gaussian_rows(7, sigma) @ values, expected, atol=1e-12)


def test_a_kernel_far_wider_than_the_object_sees_what_lies_beyond_it_only():
    expected = np.repeat([[0.5, 0, 0.5]], 3, axis=0)
    np.testing.assert_allclose(gaussian_rows(3, 1e9), expected, atol=0.01)  # cut at 100 times the slices


def test_the_object_of_every_form_is_blurred_by_its_distances(bumpy):
    phase, absorption = bumpy.potentials(bumpy.vector)
    kernel = gaussian_rows(3, 0.8)  # 8 Å for slices 10 Å apart
    found = bumpy.potentials(bumpy.after(obj_zblur_A=8.0, obj_zblur_weight=0.5))
    for part, values in zip(found, (phase, absorption), strict=True):
        expected = 0.5 * values + 0.5 * np.einsum("zs,msyx->mzyx", kernel, values)
        np.testing.assert_allclose(part, expected, atol=SINGLE)
    np.testing.assert_allclose(found[0].sum(axis=1), phase.sum(axis=1), atol=1.0)  # surfaces are replicated: inexact


def test_a_part_of_it(absorbing):
    phase, absorption = absorbing.potentials(absorbing.vector)
    kept = absorbing.potentials(absorbing.after(obj_zblur_A=8.0, obj_zblur_part="phase"))
    np.testing.assert_allclose(kept[1], absorption, atol=SINGLE)
    assert np.abs(kept[0] - phase).max() > 0.1
    kept = absorbing.potentials(absorbing.after(obj_zblur_A=8.0, obj_zblur_part="amplitude"))
    np.testing.assert_allclose(kept[0], phase, atol=SINGLE)


def test_one_slice_has_nothing_to_blur(thin):
    assert thin.made(obj_zblur_A=8.0) == []
