"""The distortion of a detector, measured on the spots of a lattice and on the disc."""

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.distortion.reference import find_distortion
from ptylive.schema import MetadataError
from ptylive.schema.pattern.distortion import distortion_of, recorded_at

SHAPE = (128, 128)
NONE = np.zeros(SHAPE, bool)


def grating(coefficients, seed, spacing=13.0, angle_deg=17.0, shear=0.0):
    """Spots of a lattice, as a detector with the given distortion records them."""
    rng = np.random.default_rng(seed)
    turn = np.deg2rad(angle_deg)
    cell = spacing * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn) + shear, np.cos(turn)]])
    index = np.stack(np.meshgrid(np.arange(-9, 10), np.arange(-9, 10)), -1).reshape(-1, 2)
    true = index @ cell + (64.3, 62.1)
    seen = recorded_at(true, coefficients, SHAPE)
    rows, cols = np.indices(SHAPE)
    out = np.full(SHAPE, 3.0)
    for row, col in seen[((seen > 1) & (seen < 126)).all(axis=1)]:
        height = 300 * np.exp(-((row - 64) ** 2 + (col - 64) ** 2) / 60**2)
        out += height * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 1.3**2))
    return rng.poisson(out).astype(float)


def lattice_left(numbers, coefficients, *, linear):
    """Distance of the corrected spots from a lattice, px rms.

    With ``linear``, all linear terms are known and the lattice is the true one up to scale, rotation and shift;
    otherwise it is any lattice.
    """
    places = np.stack(np.meshgrid(*[np.linspace(14, 113, 12)] * 2), -1).reshape(-1, 2)
    seen = recorded_at(places, coefficients, SHAPE)
    back = np.array(seen)
    for _ in range(40):
        back = back + seen - recorded_at(back, distortion_of(numbers), SHAPE)
    away = places - 63.5
    if linear:
        columns = np.column_stack([np.concatenate([away[:, 0], away[:, 1]]), np.concatenate([away[:, 1], -away[:, 0]])])
        columns = np.column_stack([columns, np.repeat([1, 0], len(away)), np.repeat([0, 1], len(away))])
        target = back.T.ravel()
        left = target - columns @ np.linalg.lstsq(columns, target, rcond=None)[0]
    else:
        columns = np.column_stack([away, np.ones(len(away))])
        left = (back - columns @ np.linalg.lstsq(columns, back, rcond=None)[0]).ravel()
    return float(np.sqrt(2 * np.mean(left**2)))


@pytest.mark.parametrize("seed", quick_first(range(3)))
def test_spots_of_a_square_grating_tell_all_terms(seed):
    true = np.random.default_rng([seed, 5]).uniform(-0.02, 0.02, (9, 2))
    pattern = grating(true, seed)
    before = lattice_left([0], true, linear=True)
    found = find_distortion(pattern, NONE, on="square")
    assert "spots" in found.on
    assert before > 0.4
    assert lattice_left(found.numbers, true, linear=True) < 0.12 * before


def test_an_unknown_cell_leaves_the_linear_terms_open():
    true = np.random.default_rng([9, 5]).uniform(-0.02, 0.02, (9, 2))
    found = find_distortion(grating(true, 9, shear=0.2), NONE)
    assert found.numbers[:4] == (0.0,) * 4
    assert lattice_left(found.numbers, true, linear=False) < 0.12 * lattice_left([0], true, linear=False)


@pytest.mark.parametrize(("stretch",), quick_first([((-0.015, 0.02),), ((0.0, 0.0),), ((0.02, 0.0),)]))
def test_a_disc_tells_the_ellipse(stretch):
    coefficients = np.zeros((9, 2))
    coefficients[:2] = [[stretch[0], stretch[1]], [stretch[1], -stretch[0]]]
    rows, cols = np.indices(SHAPE)
    places = np.stack([rows, cols], -1).reshape(-1, 2).astype(float)
    back = np.array(places)
    for _ in range(20):
        back = back + places - recorded_at(back, coefficients, SHAPE)
    radius = np.hypot(*(back - (62.0, 65.0)).T).reshape(SHAPE)
    pattern = np.random.default_rng(1).poisson(400 * np.clip(30.5 - radius, 0, 1) + 2).astype(float)
    found = find_distortion(pattern, NONE)
    assert found.on == "the edge of the disc"
    assert found.numbers[:4] == pytest.approx([stretch[0], stretch[1], stretch[1], -stretch[0]], abs=0.002)
    assert not any(found.numbers[4:])


def test_where_nothing_is_seen_it_says_so():
    with pytest.raises(MetadataError, match="neither a disc nor a lattice of spots is visible"):
        find_distortion(np.zeros(SHAPE), NONE)
