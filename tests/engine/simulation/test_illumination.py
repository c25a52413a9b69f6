"""Modes of the beam: the nominal probe, source size and focal spread, and refusal of what does not fit."""

import numpy as np
import pytest

from ptylive.engine.simulation.illumination import FWHM_PER_SIGMA, Illumination, hermite
from ptylive.engine.simulation.object_grid import Window
from ptylive.schema import MetadataError
from ptylive.schema.simulation.settings import SimulationSettings


def made(**values):
    settings = SimulationSettings.of({"detector_shape": 32, **values})
    window = Window.of(settings)
    return Illumination.of(settings, window), window


def test_nodes_have_the_moments_of_a_normal_distribution():
    nodes, weights = hermite(4, 3.0)
    for power, moment in ((0, 1.0), (1, 0.0), (2, 9.0), (3, 0.0), (4, 243.0), (6, 15 * 3.0**6)):
        assert (weights * nodes**power).sum() == pytest.approx(moment, abs=1e-9)
    assert hermite(5, 0.0)[0].tolist() == [0.0]


def test_all_modes_together_are_one_beam():
    found, window = made(source_size_A=0.5, focal_spread_A=30, source_points=3, focal_points=2)
    assert len(found.modes) == 18
    assert (np.abs(found.modes) ** 2).sum() == pytest.approx(1.0, rel=1e-5)  # single precision
    probe = np.abs(np.fft.ifft2(found.nominal)) ** 2
    assert np.unravel_index(probe.argmax(), probe.shape) == (window.size // 2, window.size // 2)


def test_a_source_widens_the_probe_by_its_variance():
    sharp, window = made(detector_shape=64, oversampling=2, reach=1)
    blurred, _ = made(detector_shape=64, oversampling=2, reach=1, source_size_A=1.5, source_points=5)
    spread = []
    for one in (sharp, blurred):
        intensity = (np.abs(np.fft.ifft2(one.modes)) ** 2).sum(axis=0)
        rows = np.fft.fft2(intensity)[1, 0]  # the window's first frequency is not affected by tails that wrap around
        spread.append(-2 * np.log(abs(rows) / intensity.sum()))
    added = (2 * np.pi / window.side_A) ** 2 * (1.5 / FWHM_PER_SIGMA) ** 2
    assert spread[1] - spread[0] == pytest.approx(added, rel=1e-3)


def test_focal_spread_is_a_set_of_defoci():
    found, window = made(focal_spread_A=40.0, focal_points=2, defocus_A=0)
    one, other = (made(defocus_A=defocus)[0].nominal for defocus in (40.0, -40.0))
    seen = {round(abs(np.vdot(mode, expected)) * np.sqrt(2), 4) for mode in found.modes for expected in (one, other)}
    assert 1.0 in seen
    assert len(found.modes) == 2
    assert window.size


def test_what_does_not_fit_is_refused():
    with pytest.raises(MetadataError, match=r"the aperture of 25 mrad is larger than the model"):
        made(detector_pixel_mrad=0.2)
    with pytest.raises(MetadataError, match=r"the probe is .* Å wide"):
        made(defocus_A=5000)
    with pytest.raises(MetadataError, match=r"the probe is .* Å wide"):
        made(source_size_A=20)
    with pytest.raises(MetadataError, match="disc of at least a pixel"):
        made(detector_pixel_mrad="60 mrad", detector_shape=4)
