"""Limits of the modulus: soft ones give PtyRAD's numbers, hard ones the derivative along the path."""

import numpy as np
import pytest

from ptylive.engine.refine.parameters.constraint import Constraints
from ptylive.engine.refine.regularisers.constraints.amplitude_limits import AmplitudeLimits, SoftAmplitudeLimits
from ptylive.engine.refine.regularisers.potentials import absorption_of, modulus
from ptylive.schema import MetadataError

LIMITS = {"obja_thresh": True, "obja_thresh_min": 0.95, "obja_thresh_max": 1.02}


def test_soft_limits_are_those_of_ptyrad(ptyrad):
    soft = SoftAmplitudeLimits(0.96, 1.04, 0.25)
    phase, absorption = soft.potentials_changed(ptyrad["phase"], absorption_of(ptyrad["modulus"], np), np)
    np.testing.assert_array_equal(phase, ptyrad["obja_thresh_phase"])
    np.testing.assert_allclose(modulus(absorption, np), ptyrad["obja_thresh_modulus"], atol=1e-6)  # 8 roundings


def test_hard_limits_hold_and_soft_ones_change_once_an_epoch(absorbing):
    hard, soft = (absorbing.made(**LIMITS, obja_thresh_relax=share) for share in (0.0, 0.5))
    assert [type(each) for each in hard + soft] == [AmplitudeLimits, SoftAmplitudeLimits]
    (limits,), layout = hard, absorbing.setup.layout
    vector = absorbing.vector.copy()
    before = modulus(absorbing.potentials(vector)[1], np)
    limits.restore_fixed(layout, vector, np)
    phase, absorption = absorbing.potentials(vector)
    np.testing.assert_allclose(modulus(absorption, np), np.clip(before, 0.95, 1.02), atol=1e-6)
    np.testing.assert_allclose(phase, absorbing.potentials(absorbing.vector)[0], atol=1e-6)
    again = vector.copy()
    limits.restore_fixed(layout, again, np)
    np.testing.assert_allclose(again, vector, atol=1e-6)
    after = modulus(absorbing.potentials(absorbing.after(**LIMITS, obja_thresh_relax=0.5))[1], np)
    np.testing.assert_allclose(after, 0.5 * before + 0.5 * np.clip(before, 0.95, 1.02), atol=1e-6)


def test_the_gradient_is_the_derivative_along_the_path(absorbing):
    """Derivative of g . x along P(x - t g), in double precision: components pushed against a limit do not count."""
    layout, rng = absorbing.setup.layout, np.random.default_rng(3)
    limits = Constraints.of(AmplitudeLimits(0.95, 1.02))
    vector = absorbing.vector.astype(np.float64)
    limits.restore_fixed(layout, vector, np)
    free = np.zeros_like(vector)
    free[: layout.object_size] = rng.normal(size=layout.object_size)
    projected = free.copy()
    limits.project_gradient(layout, vector, projected, np)
    assert 0.05 < np.mean((projected != free)[: layout.object_size]) < 0.95
    step = 1e-7

    def along(t):
        moved = vector - t * free
        limits.restore_fixed(layout, moved, np)
        for part, lowest in layout.lower_bounds():
            np.maximum(moved[part], lowest, out=moved[part])
        return moved

    if absorbing.settings.get("weakly_damped_obj"):
        at_zero = np.zeros(vector.shape, bool)
        for part, lowest in layout.lower_bounds():
            at_zero[part] = (vector[part] <= lowest) & (free[part] > 0)
        projected[at_zero] = 0  # the layout's own bound, which solvers respect
    slope = free @ (along(step) - vector) / step
    # the curvature of circles adds step / modulus; one pixel in 20 000 may be so near a limit that it counts as at it
    assert slope == pytest.approx(-(projected @ projected), rel=1e-3)


def test_pixels_without_light_become_real(complex_object):
    layout, vector = complex_object.setup.layout, complex_object.vector.copy()
    layout.object_block(vector)[...] = 0
    AmplitudeLimits(0.9, 1.1).restore_fixed(layout, vector, np)
    real, imaginary = layout.object_block(vector).reshape(2, -1)
    np.testing.assert_allclose(real, 0.9, atol=1e-7)
    assert not imaginary.any()


def test_what_has_no_modulus_obeys_anyway_and_no_room_is_refused(phases, complex_object):
    assert phases.made(**LIMITS) == phases.made(**LIMITS, obja_thresh_relax=0.5) == []
    with pytest.raises(MetadataError, match="exclude every modulus"):
        complex_object.made(obja_thresh=True, obja_thresh_min=1.0, obja_thresh_max=1.0)
    assert complex_object.made() == complex_object.made(obja_thresh_relax=0.5) == []
