"""Absorption in proportion to the phase: PtyRAD's numbers, and a given factor."""

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.constraints.complex_ratio import ComplexRatio
from ptylive.engine.refine.regularisers.potentials import absorption_of, modulus
from ptylive.schema import MetadataError


def test_the_ratio_is_that_of_ptyrad(ptyrad):
    ratio = ComplexRatio(0.8, 0.3)
    phase, absorption = ratio.potentials_changed(ptyrad["phase"], absorption_of(ptyrad["modulus"], np), np)
    np.testing.assert_allclose(phase, ptyrad["complex_ratio_phase"], atol=2e-6)
    np.testing.assert_allclose(modulus(absorption, np), ptyrad["complex_ratio_modulus"], atol=2e-6)


def test_a_given_factor(absorbing):
    before = absorbing.potentials(absorbing.vector)
    asked = {"complex_ratio_factor": 0.2, "complex_ratio_alpha1": 0.5, "complex_ratio_alpha2": 0.0}
    phase, absorption = absorbing.potentials(absorbing.after(complex_ratio=True, **asked))
    np.testing.assert_allclose(phase, before[0], atol=1e-6)
    expected = 0.5 * before[1] + 0.5 * 0.2 * before[0]
    if absorbing.settings.get("weakly_damped_obj"):
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(absorption, expected, atol=1e-6)


def test_an_empty_object_stays_empty(absorbing):
    nothing = np.zeros((1, 2, 4, 4), np.float32)
    phase, absorption = ComplexRatio(1.0, 0.5).potentials_changed(nothing, nothing, np)
    assert not phase.any() and not absorption.any()


def test_a_phase_has_no_modulus(phases):
    with pytest.raises(MetadataError, match="complex_ratio needs an object with a modulus"):
        phases.made(complex_ratio=True)
    assert phases.made() == []
