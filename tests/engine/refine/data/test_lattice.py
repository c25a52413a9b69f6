"""The lattice of a scan: its axes, its frequencies, and positions that form no lattice."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.data.lattice import Lattice


def test_lattice_knows_steps_and_directions(scanned):
    lattice = Lattice.of(scanned())
    assert lattice.lengths_A == pytest.approx((10.0, 9.6))
    turn = np.deg2rad(30.0)
    np.testing.assert_allclose(lattice.axes, [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], atol=1e-9)
    q = lattice.frequencies(np.array([[3.0, 5.0]]))[0]
    assert q @ lattice.slow * 20 == pytest.approx(3.0)
    assert q @ lattice.fast * 24 == pytest.approx(5.0)


def test_scattered_positions_and_tiny_scans_are_no_lattice(scanned):
    dataset = scanned()
    jitter = np.random.default_rng(0).normal(0, 0.1, dataset.positions_A.shape)
    assert Lattice.of(replace(dataset, positions_A=dataset.positions_A + jitter)) is None
    assert Lattice.of(scanned(shape=(8, 24))) is None
