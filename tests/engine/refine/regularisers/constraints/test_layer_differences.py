"""Terms along the beam: formulas, and derivatives in double precision."""

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.constraints.layer_differences import (
    LayersTikhonov,
    LayersTotalVariation,
    SurfaceZero,
)

TERMS = [LayersTikhonov(0.7), LayersTotalVariation(0.7), SurfaceZero(0.7)]


def drawn(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 4, 6, 5)) + 1j * rng.normal(size=(2, 4, 6, 5))


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
@pytest.mark.parametrize("seed", [0, 10])
def test_gradients(term, seed):
    """Compared with fourth-order central differences, to 1e-6; no kink lies within the step."""
    wave, direction = drawn(seed), drawn(seed + 1)
    gradient = term.of(wave, np).gradient
    at = [term.of(wave + k * 1e-5 * direction, np).value for k in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-5
    assert (gradient.conj() * direction).real.sum() == pytest.approx(expected, rel=1e-6)


def test_penalties_of_a_single_step_are_the_formulas():
    wave = np.ones((1, 4, 2, 2), complex)
    wave[:, 2] = np.exp(0.3j)
    step = abs(np.exp(0.3j) - 1)
    assert LayersTikhonov(2.0).of(wave, np).value == pytest.approx(2 * 2 * 4 * step**2)
    assert LayersTotalVariation(2.0).of(wave, np).value == pytest.approx(2 * 2 * 4 * step)
    assert SurfaceZero(2.0).of(wave, np).value == pytest.approx(0, abs=1e-12)


def test_quantems_surface():
    """quantEM's loss for phases and for moduli at or below 1, with means in place of sums."""
    rng = np.random.default_rng(4)
    modulus, phase = rng.uniform(0.5, 1, (4, 6, 5)), rng.uniform(-1, 1, (4, 6, 5))
    size = np.abs(phase)  # quantEM takes the mean of |phase|, which is the same for positive phases
    expected = sum((1 - modulus[z]).mean() + np.abs(size[z] - size[z].mean()).mean() for z in (0, -1))
    found = SurfaceZero(1.0).of((modulus * np.exp(1j * size))[None], np).value
    assert found / 30 == pytest.approx(expected, rel=1e-12)


def test_they_are_absent_where_they_have_nothing_to_do(bumpy, thin):
    weights = {"layers_tikhonov_weight": 1.0, "layers_tv_weight": 1.0, "surface_zero_weight": 1.0, "loss_weight": 2.0}
    assert [(type(each), each.weight) for each in bumpy.made(**weights)] == [(type(term), 0.5) for term in TERMS]
    assert bumpy.made() == thin.made(**weights) == []
