"""Blending of layers: PtyRAD's numbers, which follow fold_slice's formula."""

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.constraints.kz_filter import KzFilter
from ptylive.engine.refine.regularisers.potentials import absorption_of, modulus
from ptylive.schema import MetadataError

SINGLE = 3e-6
"""Transforms of 600 values near 1 in single precision, in both programs."""


def test_the_filter_is_that_of_ptyrad(ptyrad):
    phase, absorption = KzFilter(0.7, 1.0).potentials_changed(ptyrad["phase"], absorption_of(ptyrad["modulus"], np), np)
    np.testing.assert_allclose(phase, ptyrad["kz_filter_phase"], atol=SINGLE)
    np.testing.assert_allclose(modulus(absorption, np), ptyrad["kz_filter_modulus"], atol=SINGLE)


def test_it_is_beta_wedge_without_blur_and_constant(phases):
    """beta_wedge = beta times slice distance over pixel, except for the constant, which is small against k_r^2 here."""
    pixel, distance = phases.setup.grid.pixel_A, 10.0
    layered = phases.potentials(phases.after(kz_filter_beta=0.3, kz_filter_alpha=0.0))[0]
    settings = phases.preset(beta_wedge=0.3 * distance / pixel).regularisers
    wedge = phases.setup.regularisation.wedge(phases.setup.layout.object_shape, settings.beta_wedge)
    expected = np.fft.fftn(phases.potentials(phases.vector)[0], axes=(1, 2, 3)) * (1 - wedge)
    found = np.fft.fftn(layered, axes=(1, 2, 3))
    across = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in layered.shape[-2:]), indexing="ij"))
    far = across > 0.2
    np.testing.assert_allclose(found[..., far], expected[..., far], atol=0.02 * np.abs(expected[..., far]).max())


def test_a_part_of_it(absorbing):
    phase, absorption = absorbing.potentials(absorbing.vector)
    of_phase = absorbing.potentials(absorbing.after(kz_filter_beta=1.0, kz_filter_part="phase"))
    np.testing.assert_allclose(of_phase[1], absorption, atol=SINGLE)
    of_modulus = absorbing.potentials(absorbing.after(kz_filter_beta=1.0, kz_filter_part="amplitude"))
    np.testing.assert_allclose(of_modulus[0], phase, atol=SINGLE)
    assert np.std(of_modulus[1]) < 0.8 * np.std(absorption)


def test_it_wants_several_slices_and_what_it_acts_on(thin, phases):
    assert thin.made(kz_filter_beta=1.0) == []
    with pytest.raises(MetadataError, match="kz_filter_part = amplitude needs an object with a modulus"):
        phases.made(kz_filter_beta=1.0, kz_filter_part="amplitude")
