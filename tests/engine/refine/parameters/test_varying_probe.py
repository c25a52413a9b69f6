"""Components of a varying probe: their start, and an equivalent set of orthogonal ones."""

import numpy as np

from ptylive.engine.refine.parameters.varying_probe import orthogonal, start_components

SIZE = 12


def wave(seed, *lead):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*lead, SIZE, SIZE)) + 1j * rng.normal(size=(*lead, SIZE, SIZE))


def real_products(planes):
    flat = planes.reshape(len(planes), -1)
    return (flat.conj() @ flat.T).real


def test_components_begin_orthogonal_to_the_probe_and_each_other():
    probe, chi = wave(0), np.random.default_rng(1).normal(size=(4, SIZE, SIZE))
    products = real_products(np.concatenate([probe[None], start_components(probe, chi)]))
    np.testing.assert_allclose(products, np.eye(5) * products[0, 0], atol=1e-9 * products[0, 0])


def test_the_first_begins_along_its_aberration():
    probe, chi = wave(0), np.random.default_rng(1).normal(size=(1, SIZE, SIZE))
    assert np.vdot(start_components(probe, chi)[0], -1j * chi[0] * probe).real > 0


def test_orthogonal_components_give_the_same_probes():
    probe, components = wave(2), wave(3, 3)
    components[2] += 2 * components[0]
    coefficients = np.random.default_rng(4).normal(size=(40, 3)) + np.array([0.5, 0.0, -1.0])
    varied = orthogonal(probe, components, coefficients)
    before = probe + np.tensordot(coefficients, components, 1)
    after = varied.mean + np.tensordot(varied.coefficients, varied.components, 1)
    np.testing.assert_allclose(after, before, atol=1e-10)
    np.testing.assert_allclose(varied.coefficients.mean(axis=0), 0, atol=1e-12)
    power = (np.abs(varied.mean) ** 2).sum()
    np.testing.assert_allclose(real_products(varied.components), power * np.eye(3), atol=1e-9 * power)
    strength = (varied.coefficients**2).sum(axis=0)
    assert (np.diff(strength) < 0).all(), "strongest first"
    together = varied.coefficients.T @ varied.coefficients
    np.testing.assert_allclose(together, np.diag(strength), atol=1e-9 * strength[0])


def test_components_that_no_pattern_has_stay_finite():
    varied = orthogonal(wave(2), wave(3, 2), np.zeros((5, 2)))
    assert np.isfinite(varied.components).all()
    np.testing.assert_array_equal(varied.coefficients, 0)
