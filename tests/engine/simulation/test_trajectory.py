"""Positions, descan and gaps of a simulated scan, in the conventions of ptylive."""

import numpy as np
import pytest

from ptylive.engine.simulation.trajectory import Trajectory
from ptylive.schema import Scan
from ptylive.schema.detector import Descan
from ptylive.schema.simulation.settings import SimulationSettings


def made(**values):
    settings = SimulationSettings.of({"scan_shape": (6, 8), "scan_step_A": (0.5, 0.7), **values})
    asked = settings.scan
    scan = Scan(
        shape=asked.scan_shape,
        step_A=asked.scan_step_A,
        pattern=asked.scan_pattern,
        flyback_frames=asked.flyback_frames,
    )
    return Trajectory.of(settings, scan), scan


@pytest.mark.parametrize("pattern", ["raster", "snake"])
@pytest.mark.parametrize("flyback", [0, 3])
def test_points_are_where_the_header_puts_them(pattern, flyback):
    found, scan = made(rotation_deg=37, scan_pattern=pattern, flyback_frames=flyback)
    point = scan.point_of(np.arange(scan.frames))
    assert len(found.nominal_A) == scan.frames
    np.testing.assert_allclose(found.nominal_A[point >= 0], scan.positions_A(37.0)[point[point >= 0]], atol=1e-12)
    np.testing.assert_array_equal(found.positions_A, found.nominal_A)
    assert found.received.all()


def test_descan_is_that_of_the_schema():
    numbers = (1.0, -0.5, 0.2, 0.1, 0.3, 0.4, 0.6, -0.2, 0.05, 0.7)
    found, scan = made(descan_px=numbers, scan_pattern="snake")
    point = scan.point_of(np.arange(scan.frames))
    np.testing.assert_allclose(found.descan_px, Descan.of(numbers).at_points(point, (6, 8)), atol=1e-12)


def test_drift_is_steady_from_first_to_last_frame():
    found, _ = made(drift_A=(3.0, -1.0))
    moved = found.positions_A - found.nominal_A
    np.testing.assert_allclose(moved, np.linspace(0, 1, 48)[:, None] * [3.0, -1.0], atol=1e-12)


def test_jitter_and_jumps_have_their_spread():
    found, _ = made(scan_shape=(100, 100), position_jitter_A=0.2)
    assert (found.positions_A - found.nominal_A).std(axis=0) == pytest.approx([0.2] * 2, rel=5 / np.sqrt(2e4))
    found, _ = made(scan_shape=(400, 3), line_jump_A=0.3, descan_jump_px=0.5)
    lines = (found.positions_A - found.nominal_A).reshape(400, 3, 2)
    assert np.ptp(lines, axis=1).max() < 1e-12
    assert lines[:, 0].std(axis=0) == pytest.approx([0.3] * 2, rel=5 / np.sqrt(800))
    assert found.descan_px.reshape(400, 3, 2)[:, 0].std(axis=0) == pytest.approx([0.5] * 2, rel=5 / np.sqrt(800))


@pytest.mark.parametrize(("share", "length"), [(0.25, 4), (0.3, 1), (0.99, 1000), (0.5, 7)])
def test_gaps_hold_the_share_that_was_asked_for(share, length):
    found, _ = made(missing_share=share, gap_frames=length)
    assert np.count_nonzero(~found.received) == min(round(share * 48), 47)


def test_a_gap_is_in_one_piece():
    found, _ = made(scan_shape=(20, 20), missing_share=0.1, gap_frames=8)
    starts = np.flatnonzero(np.diff(np.concatenate([[1], found.received.astype(int), [1]])))
    assert ((starts[1::2] - starts[::2]) % 8 == 0).all()


def test_the_same_seed_gives_the_same_positions():
    one, same, other = (made(position_jitter_A=0.1, seed=seed)[0].positions_A for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0
