"""Quantities shared by the patterns of a scan: their effect, and its adjoint."""

import numpy as np
import pytest

from ptylive.engine.refine.parameters.scan_quantities import ScanQuantities, pivot_A

OF = np.array([0, 0, 1, 1, 1, 2])


def quantities(*moving):
    start = np.array([[0.0, 0.0], [20.0, 5.0], [-20.0, 0.0]], np.float32)
    return ScanQuantities(OF, 3, np.arange(12.0).reshape(6, 2), start, 50.0, 0.2, frozenset(moving))


def values(seed=0):
    return np.random.default_rng(seed).normal(size=(3, 5)) + np.array([0, 0, 0, 0, 3.0])


def test_a_tilt_turns_the_specimen_about_its_middle():
    """With 10 mrad more over 50 pixels of half the depth, patterns enter half a pixel further on."""
    block = np.zeros((3, 5))
    block[:, 2:4] = quantities().start_mrad + np.array([[0, 0], [10.0, 0], [0, -4.0]])
    block[:, 0] = [0, 0.4, 0]
    shifts, tilts, current = quantities("shifts", "tilts").added(block, None, None, None, np)
    away = shifts - quantities().shifts_px
    np.testing.assert_allclose(away[OF == 1], [[2.0 + 0.5, 0.0]] * 3, atol=1e-6)
    np.testing.assert_allclose(away[OF == 2], [[0.0, -0.2]], atol=1e-6)
    np.testing.assert_allclose(tilts[:, 2:4], block[OF, 2:4])
    assert not tilts[:, [0, 1, 4, 5]].any() and current is None
    np.testing.assert_allclose(pivot_A(OF, quantities().start_mrad, 200.0)[2], [2.0, 0.5], atol=1e-6)


@pytest.mark.parametrize("moving", [("shifts",), ("tilts",), ("currents",), ("shifts", "tilts", "currents")])
def test_the_way_back_is_the_adjoint(moving):
    asked, block, step = quantities(*moving), values(), values(1)
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(6, 2)), rng.normal(size=(6, 6)), rng.normal(size=6)

    def weighted(at):
        found = asked.added(at, None, None, None, np)
        return sum(float((w * f).sum()) for w, f in zip(weights, found, strict=True) if f is not None)

    given = [w if f is not None else None for w, f in zip(weights, asked.added(block, *[None] * 3, np), strict=True)]
    gradient = asked.gradient(*given, np)
    assert float((gradient * step).sum()) == pytest.approx((weighted(block + step) - weighted(block - step)) / 2)


def test_what_each_pattern_has_besides_stays():
    own, current = np.ones((6, 2)), np.full(6, 2.0)
    shifts, _, currents = quantities("shifts", "currents").added(values(), own, None, current, np)
    np.testing.assert_allclose(
        shifts, 1 + values()[OF, :2] / 0.2 + 1e-3 * 50 * (values()[:, 2:4] - quantities().start_mrad)[OF]
    )
    np.testing.assert_allclose(currents, 2 * values()[OF, 4])
