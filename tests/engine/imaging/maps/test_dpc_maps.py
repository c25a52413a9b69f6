"""Centre of mass and iDPC on fields with known answers.

Correlation and slope would be 1 but for ``np.gradient``: its differences over two pixels flatten a blob of 5.5 pixels
by 1 / 5.5^2 / 6 = 0.5 %, and it is one-sided at the border of the visited area.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import correlation

from ptylive.engine.imaging.maps.com import along_scan_axes, center_of_mass, com_invA
from ptylive.engine.imaging.maps.dpc_iterative import iterative_dpc
from ptylive.engine.imaging.maps.idpc import integrated_dpc
from ptylive.engine.imaging.maps.virtual import virtual_image


def gradient_of(phase, step):
    return np.stack(np.gradient(phase, *step)) / (2 * np.pi)


def blob(shape):
    y, x = np.indices(shape)
    return np.exp(-((y - shape[0] / 2) ** 2 + (x - shape[1] / 3) ** 2) / 60.0)


@pytest.mark.parametrize("step", [(0.4, 0.4), (0.4, 0.7)])
def test_integration_inverts_the_gradient(step):
    phase = blob((48, 40))
    found = integrated_dpc(gradient_of(phase, step), step, np.ones(phase.shape, bool))
    assert correlation(found, phase) > 0.999
    slope = np.polyfit(phase.ravel(), found.ravel(), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.01)


def test_early_rows_are_already_right():
    phase = blob((48, 40))
    visited = np.zeros(phase.shape, bool)
    visited[:34] = True
    field = np.where(visited, gradient_of(phase, (0.4, 0.4)), 0)
    found = integrated_dpc(field, (0.4, 0.4), visited)
    assert correlation(found[:34], phase[:34]) > 0.999
    assert not found[34:].any() or np.abs(found[34:]).max() < np.abs(found).max()


def test_centre_of_mass_is_turned_to_the_scan():
    moments = np.array([[10.0, 10.0, 0.0], [10.0, -10.0, 0.0]])
    com = center_of_mass(moments, np.ones((1, 2), bool))
    np.testing.assert_allclose(com[0], [[1.0, -1.0]])
    turned = along_scan_axes(com, 90.0)
    np.testing.assert_allclose(turned[0], 0, atol=1e-12)
    np.testing.assert_allclose(turned[1], [[-1.0, 1.0]], atol=1e-12)


def test_patterns_whose_counts_do_not_sum_above_0_have_no_centre_of_mass():
    moments = np.array([[-5.0, 10.0, 3.0], [0.0, 2.0, 1.0], [10.0, 10.0, 0.0]])
    com = center_of_mass(moments, np.ones((1, 3), bool))
    np.testing.assert_allclose(com, [[[-1 / 3, -1 / 3, 2 / 3]], [[0.0, 0.0, 0.0]]], atol=1e-12)


def test_the_map_is_in_units_of_the_detector_along_the_axes_of_the_scan():
    """The recorded columns are the detector's rows, and these are the scan's columns: two rotations, one pixel size."""
    now = SimpleNamespace(
        moments=np.array([[10.0, 10.0, 0.0], [10.0, -10.0, 0.0]]),
        visited=np.ones((1, 2), bool),
        calibration=SimpleNamespace(transform="transpose"),
        rotation_deg=90.0,
        require=lambda name, needed_for: {"detector_pixel_invA": 0.05}[name],
    )
    # recorded rows -> detector columns (transpose); R(-90°) turns the column axis onto the row axis
    np.testing.assert_allclose(com_invA(now), [[[0.05, -0.05]], [[0.0, 0.0]]], atol=1e-12)


def test_virtual_detector_fills_what_was_not_visited():
    regions = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0, 0, 0, 0]])
    visited = np.array([[True, True, False]])
    np.testing.assert_allclose(virtual_image("bf", regions, visited), [[3.0, 11.0, 7.0]])
    np.testing.assert_allclose(virtual_image("adf", regions, visited), [[4.0, 8.0, 6.0]])


def test_iterative_dpc_needs_no_frame_and_no_whole_scan():
    phase = blob((48, 40)) + np.linspace(0, 2, 40)[None]  # a ramp, which a periodic or mirrored solver would bend
    visited = np.ones(phase.shape, bool)
    visited[20:26, 10:16] = False
    field = np.where(visited, gradient_of(phase, (0.4, 0.4)), 0)
    found = iterative_dpc(field, (0.4, 0.4), visited)
    assert correlation(found, phase) > 0.995


def test_steepest_descent_comes_to_what_conjugate_gradients_come_to():
    phase = blob((24, 20))
    visited = np.ones(phase.shape, bool)
    field = gradient_of(phase, (0.4, 0.4))
    settled = iterative_dpc(field, (0.4, 0.4), visited, 200)
    few, many = (iterative_dpc(field, (0.4, 0.4), visited, n, step=1.0) for n in (2, 400))
    assert correlation(many, settled) > 0.9999 > correlation(few, settled)
    halved = iterative_dpc(field, (0.4, 0.4), visited, 1, step=0.5)
    # the first step from zero is the gradient times the step length, in single precision
    np.testing.assert_allclose(halved, 0.5 * iterative_dpc(field, (0.4, 0.4), visited, 1, step=1.0), atol=1e-6)


def test_iterative_dpc_is_damped_below_and_above():
    y = np.arange(64) * 0.4
    slow, fast = np.cos(2 * np.pi * y / 25.6), np.cos(2 * np.pi * y / 3.2)
    phase = np.broadcast_to((slow + fast)[:, None], (64, 64))
    field, visited = gradient_of(phase, (0.4, 0.4)), np.ones((64, 64), bool)
    high, low = (iterative_dpc(field, (0.4, 0.4), visited, 100, passes=each) for each in ((0.15, None), (None, 0.08)))
    inside = slice(8, -8)  # near the border the phase is not determined and has other frequencies
    assert correlation(high[inside], np.broadcast_to(fast[:, None], (64, 64))[inside]) > 0.95
    assert correlation(low[inside], np.broadcast_to(slow[:, None], (64, 64))[inside]) > 0.95
