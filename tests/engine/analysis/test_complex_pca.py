"""Principal components of waves, compared with the waves they were composed of."""

import numpy as np
import pytest

from ptylive.engine.analysis.complex_pca import principal_components


def test_waves_of_two_components_are_found_again():
    rng = np.random.default_rng(11)
    base, _ = np.linalg.qr(rng.normal(size=(60, 2)) + 1j * rng.normal(size=(60, 2)))
    scores = (rng.normal(size=(9, 2)) + 1j * rng.normal(size=(9, 2))) * (3.0, 1.0)
    waves = (0.5 + scores @ base.T).reshape(9, 6, 10)
    found = principal_components(waves)
    assert found.components.shape == (8, 6, 10)
    assert found.shares[:2].sum() == pytest.approx(1)
    assert found.shares[0] > found.shares[1] > 0.01
    flat = found.components.reshape(8, -1)[:2]
    np.testing.assert_allclose(flat @ flat.conj().T, np.eye(2), atol=1e-5)
    inside = flat.T @ (flat.conj() @ base)  # the space that the components span
    np.testing.assert_allclose(np.abs(np.linalg.svd(inside)[1][:2]), 1, atol=1e-5)
    again = found.mean + np.tensordot(found.scores[:, :2], found.components[:2], 1)
    np.testing.assert_allclose(again, waves, atol=1e-5)  # single precision
    assert principal_components(waves, 1).scores.shape == (9, 1)


def test_phases_count():
    """Waves that differ only by a phase have one component; identical waves have no component of any weight."""
    wave = np.ones((4, 4)) + 0j
    turned = np.stack([wave, 1j * wave, -wave])
    assert principal_components(turned).shares[0] == pytest.approx(1)
    assert principal_components(np.stack([wave, wave])).shares.tolist() == [0.0]
    with pytest.raises(ValueError, match="waves have the shape"):
        principal_components(wave)
