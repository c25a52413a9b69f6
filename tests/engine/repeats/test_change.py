"""Damage as revealed by the products of pairs of scans."""

import numpy as np
import pytest

from ptylive.engine.repeats.change import SIGNIFICANT, change, is_change, pair_products
from ptylive.engine.repeats.field import RingPowers

RINGS, SCANS, MANY = 10, 5, 60.0


def drawn(seed, fading=0.0, drifting=0.0, signal=1.0, noise=2.0):
    """Products of random spectra whose signal fades, or is gradually replaced by another one."""
    rng = np.random.default_rng([seed, 3])
    products = np.zeros((RINGS, SCANS, SCANS))
    count = int(MANY)
    for ring in range(RINGS):
        now, made = _complex(rng, count), []
        for scan in range(SCANS):
            kept = 1 - drifting
            now = now if scan == 0 else kept * now + np.sqrt(1 - kept**2) * _complex(rng, count)
            made.append(np.sqrt(signal) * (1 - fading * scan) * now + np.sqrt(noise) * _complex(rng, count))
        spectra = np.array(made)
        products[ring] = (spectra @ spectra.conj().T).real / count
    return RingPowers(products, np.full(RINGS, MANY), np.arange(RINGS) + 0.5, 100.0)


def _complex(rng, count):
    return (rng.normal(size=count) + 1j * rng.normal(size=count)) / np.sqrt(2)


def test_noise_alone_is_no_change():
    """Deviations relative to their errors scatter by 1; the mean square of the 40 draws here is 1 to within 0.22."""
    pulls = np.array([[value / error for value, error in change(drawn(seed))] for seed in range(40)])
    assert 0.4 < (pulls**2).mean() < 1.7
    assert (np.abs(pulls) < SIGNIFICANT).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_signal_that_fades_is_told(seed):
    fading, _ = change(drawn(seed, fading=0.1))
    assert is_change(fading)
    # the products of pairs fall as (1 - 0.1 j)(1 - 0.1 k), by 0.2 a scan of the first at the start, less later
    assert fading[0] == pytest.approx(0.18, abs=4 * fading[1])


@pytest.mark.parametrize("seed", range(5))
def test_a_specimen_that_becomes_another_one_is_told(seed):
    fading, drifting = change(drawn(seed, drifting=0.2))
    assert is_change(drifting)
    assert drifting[0] == pytest.approx(0.17, abs=4 * drifting[1])  # (1 - 0.8^d) after d scans, fitted by a line
    assert abs(fading[0]) < 4 * fading[1]


def test_of_two_scans_or_of_no_signal_nothing_is_told():
    assert change(drawn(1).of_first(2))[0] == (0.0, np.inf)
    assert change(RingPowers(-np.ones((4, 3, 3)) + 5 * np.eye(3), np.full(4, 9.0), np.arange(4) + 0.5, 1.0)) == (
        (0.0, np.inf),
        (0.0, np.inf),
    )
    assert not is_change((0.0, np.inf))
    assert not is_change((0.005, 0.0001)), "of no consequence"


def test_pairs_share_the_noise_of_a_scan():
    found, covariance = pair_products(drawn(1))
    assert found.shape == (10,)
    np.testing.assert_allclose(found.mean(), 1.0)
    assert covariance[0, 1] > 0  # (0, 1) and (0, 2)
    assert covariance[0, -1] == 0  # (0, 1) and (3, 4)
    assert covariance[0, 0] > 2 * covariance[0, 1]
