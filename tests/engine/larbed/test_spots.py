import numpy as np
import pytest

from ptylive.engine.larbed.spots import fit_lattice, integrate, mean_at_rest
from ptylive.schema.errors import InputFileError

CELL_INVA, PIXEL_INVA, LEVEL = np.diag([0.25, 0.2]), 0.02, 3.0
CENTRE, TURN = np.array([40.3, 38.6]), np.deg2rad(23.0)


def patterns(shifts):
    """Spots of width 0.8 px whose sums are 1000 / (1 + h^2 + k^2), on a level background, and the lattice's basis."""
    turn = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
    basis = CELL_INVA / PIXEL_INVA @ turn.T
    rows, cols = np.mgrid[:81, :81]
    out = np.full((len(shifts), 81, 81), LEVEL)
    for number, shift in enumerate(shifts):
        for h in range(-3, 4):
            for k in range(-3, 4):
                row, col = CENTRE + shift + np.array([h, k]) @ basis
                spot = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 0.8**2)) / (2 * np.pi * 0.8**2)
                out[number] += 1000 / (1 + h * h + k * k) * spot
    return out, basis


def test_lattice_and_sums():
    shifts = np.array([[0.0, 0.0], [3.4, -2.2], [-1.5, 2.5]])
    taken, basis = patterns(shifts)
    lattice = fit_lattice(mean_at_rest(taken, shifts), CELL_INVA, PIXEL_INVA)
    # rows and columns of this cell differ, so only half a turn is left open
    sign = np.sign(lattice.basis_px[0] @ basis[0])
    assert lattice.basis_px * sign == pytest.approx(basis, abs=0.1)
    assert lattice.centre_px == pytest.approx(CENTRE, abs=0.3)
    hk = lattice.inside((81, 81), shifts)
    near = hk[(np.abs(hk) <= 1).all(axis=1)]
    assert len(near) == 9
    expected = 1000 / (1 + (near**2).sum(axis=1))
    # a spot of 0.8 px within 3 px of a place known to 0.3 px holds 99.8 %; the ring contains some of the rest
    assert integrate(taken, lattice, near, shifts) == pytest.approx(np.tile(expected, (3, 1)), rel=0.02)


def test_close_spots_are_refused():
    with pytest.raises(InputFileError, match="pixels apart"):
        fit_lattice(np.ones((40, 40), np.float32), CELL_INVA / 4, PIXEL_INVA)


def test_patterns_are_moved_back_by_whole_pixels():
    one = np.zeros((1, 6, 6))
    one[0, 4, 1] = 1
    assert np.argwhere(mean_at_rest(one, np.array([[2.2, -1.0]]))).tolist() == [[2, 2]]
