"""Ring averages: a wave lies at its frequency, a Gaussian has its width."""

import numpy as np
import pytest

from ptylive.engine.analysis.radial import object_power, probe_intensity

PIXEL_A = 0.2


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.5])
def test_a_wave_lies_at_its_frequency(angle):
    """The wave has 0.5 1/Å and is shared by two slices; a constant level does not count."""
    row, col = np.mgrid[:80, :100] * PIXEL_A
    wave = np.cos(2 * np.pi * 0.5 * (row * np.cos(angle) + col * np.sin(angle)))
    found = object_power(np.stack([0.3 * wave + 5, 0.1 * wave]).astype(np.float32), PIXEL_A)
    assert abs(found.radius[found.mean.argmax()] - 0.5) <= found.radius[1]
    assert found.radius[-1] <= 0.5 / PIXEL_A
    assert found.mean[0] < 1e-3 * found.mean.max()


def test_the_intensity_of_a_probe_falls_as_it_was_made():
    """Measured around the centre of mass, wherever that lies: exp(-r² / 2 s²), summed over the modes."""
    at = np.arange(64)
    away = ((at - 30.0) ** 2)[:, None] + (at - 33.0) ** 2
    probe = np.sqrt([[[0.7]], [[0.3]]]) * np.exp(-away / (4 * 6.0**2)) * np.exp(0.3j)
    found = probe_intensity(probe, PIXEL_A)
    expected = np.exp(-((found.radius / PIXEL_A) ** 2) / (2 * 6.0**2))
    np.testing.assert_allclose(found.mean[:15], expected[:15], atol=0.02)  # rings are one pixel wide
    assert found.mean.max() == 1
