"""Phases at or above 0: PtyRAD's numbers for both of its modes."""

import numpy as np

from ptylive.engine.refine.regularisers.constraints.positive_phase import PositivePhase


def test_the_phase_is_that_of_ptyrad(ptyrad):
    phase, absorption = PositivePhase(0.2).potentials_changed(ptyrad["phase"], ptyrad["modulus"], np)
    np.testing.assert_allclose(phase, ptyrad["objp_postiv_phase"], atol=1e-6)
    np.testing.assert_array_equal(absorption, ptyrad["modulus"])


def test_every_form_of_object(bumpy):
    before = bumpy.potentials(bumpy.vector)[0]
    found = bumpy.potentials(bumpy.after(objp_postiv=True, objp_postiv_relax=0.5))[0]
    np.testing.assert_allclose(found, np.where(before < 0, before / 2, before), atol=1e-6)
    found = bumpy.potentials(bumpy.after(objp_postiv=True, objp_postiv_mode="subtract_min"))[0]
    np.testing.assert_allclose(found, before - before.min(), atol=1e-6)
    assert bumpy.made() == []
