"""Windows of the model, and the grid of the object around a scan."""

import numpy as np
import pytest

from ptylive.engine.simulation.object_grid import ObjectGrid, Window, detector_pixel_mrad
from ptylive.schema import MetadataError
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import wavelength_A


def settings(**values):
    return SimulationSettings.of(values)


def test_the_window_is_that_of_the_detector():
    asked = settings(detector_shape=(64, 48), detector_pixel_mrad=2.0, reach=2, energy_eV=80e3)
    window = Window.of(asked)
    assert window.size == 128
    assert window.side_A == pytest.approx(wavelength_A(80e3) / 2e-3)
    assert Window.of(
        asked.model_copy(update={"model": settings(oversampling=2, reach=2).model})
    ).side_A == pytest.approx(2 * window.side_A)
    assert window.detector_pixel_invA == pytest.approx(1 / window.side_A)


def test_the_limit_holds_the_detector():
    for reach in (1.0, 1.5, 2.0, 4.0):
        window = Window.of(settings(reach=reach))
        highest = window.size / (2 * window.side_A)
        assert min(window.detector_edge_invA, highest) <= window.limit_invA * (1 + 1e-12) <= highest * (1 + 1e-9)


def test_a_detector_reaches_two_semiangles_where_nothing_is_said():
    assert detector_pixel_mrad(settings(convergence_semiangle_mrad=20, detector_shape=(40, 64))) == pytest.approx(2.0)


def test_a_model_that_is_too_large_is_refused():
    with pytest.raises(MetadataError, match="the model needs 1024 pixels"):
        Window.of(settings(detector_shape=(256, 256), oversampling=2, reach=2))


def test_windows_lie_within_the_grid_and_around_their_positions():
    window = Window.of(settings())
    positions = np.random.default_rng(2).uniform(-20, 30, (50, 2))
    grid = ObjectGrid.around(positions, window)
    corners, rests = grid.placed(positions, window)
    assert corners.min() >= 0
    assert (corners + window.size <= grid.shape).all()
    assert np.abs(rests).max() <= 0.5
    centres = (corners + window.size // 2 + rests) * grid.pixel_A + grid.origin_A
    np.testing.assert_allclose(centres, positions)
