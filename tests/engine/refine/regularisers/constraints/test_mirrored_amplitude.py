"""Moduli that mirror the phase: PtyRAD's numbers."""

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.constraints.mirrored_amplitude import MirroredAmplitude
from ptylive.engine.refine.regularisers.potentials import absorption_of, modulus
from ptylive.schema import MetadataError


def test_the_amplitude_is_that_of_ptyrad(ptyrad):
    mirrored = MirroredAmplitude(0.03, 4.0, 0.1)
    phase, absorption = mirrored.potentials_changed(ptyrad["phase"], absorption_of(ptyrad["modulus"], np), np)
    np.testing.assert_array_equal(phase, ptyrad["mirrored_amp_phase"])
    np.testing.assert_allclose(modulus(absorption, np), ptyrad["mirrored_amp_modulus"], atol=1e-6)


def test_settings_reach_it(absorbing):
    asked = {"mirrored_amp_scale": 0.1, "mirrored_amp_power": 2.0, "mirrored_amp_relax": 0.0}
    found = absorbing.after(mirrored_amp=True, **asked)
    phase, absorption = absorbing.potentials(found)
    np.testing.assert_allclose(modulus(absorption, np), 1 - 0.1 * np.maximum(phase, 0) ** 2, atol=1e-6)


def test_a_phase_has_no_modulus(phases):
    with pytest.raises(MetadataError) as error:
        phases.made(mirrored_amp=True)
    assert error.value.line() == "mirrored_amp needs an object with a modulus: set phase_only_obj=false"
    assert phases.made() == []
