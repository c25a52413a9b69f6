"""Reflections as masks: their sums equal those that an inversion integrates."""

import numpy as np
import pytest

from ptylive.engine.larbed.reflection_masks import cell_of, reflection_masks
from ptylive.engine.larbed.spots import fit_lattice, integrate
from ptylive.schema.errors import InputFileError

PIXELS, SPACING_PX, PIXEL_INVA = 90, 12.0, 0.02
CELL_A = cell_of(1 / (SPACING_PX * PIXEL_INVA), 1 / (SPACING_PX * PIXEL_INVA), 90.0)
TURN = np.deg2rad(20.0)
BASIS = SPACING_PX * np.array([[np.cos(TURN), np.sin(TURN)], [-np.sin(TURN), np.cos(TURN)]])


def patterns(seed=3, count=6):
    """Spots of random strength on a rotated lattice over a sloping background."""
    rng, (rows, cols) = np.random.default_rng(seed), np.indices((PIXELS, PIXELS))
    out = np.tile(2.0 + 0.01 * rows, (count, 1, 1))
    for h in range(-3, 4):
        for k in range(-3, 4):
            row, col = np.array([44.3, 45.1]) + np.array([h, k]) @ BASIS
            strength = rng.uniform(200, 400, count) * np.exp(-0.3 * (h**2 + k**2))
            out += strength[:, None, None] * np.exp(-0.5 * ((rows - row) ** 2 + (cols - col) ** 2))
    return out.astype(np.float32)


def test_masks_integrate_as_the_inversion_does():
    frames = patterns()
    mean = frames.mean(axis=0)
    masks = reflection_masks(mean, CELL_A, PIXEL_INVA, 9)
    assert masks[0].hk == (0, 0)
    assert [one.mean for one in masks] == sorted((one.mean for one in masks), reverse=True)
    lattice = fit_lattice(mean, np.linalg.inv(CELL_A).T, PIXEL_INVA)
    expected = integrate(frames, lattice, np.array([one.hk for one in masks]), np.zeros((len(frames), 2)))
    found = np.stack([(one.weights * frames).sum(axis=(1, 2)) for one in masks], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # single precision
    assert masks[0].name == "g0_0"


def test_bad_pixels_weigh_nothing():
    frames, bad = patterns(), np.zeros((PIXELS, PIXELS), bool)
    bad[44, 45] = True
    frames[:, 44, 45] = 1e9
    masks = reflection_masks(frames.mean(axis=0), CELL_A, PIXEL_INVA, 4, bad)
    assert all(one.weights[44, 45] == 0 for one in masks)
    assert masks[0].weights.sum() == pytest.approx(0, abs=1e-9)  # an even background adds nothing


def test_what_is_no_lattice_is_said():
    with pytest.raises(InputFileError, match="not a valid cell"):
        cell_of(3.9, 0.0, 90.0)
    with pytest.raises(InputFileError, match="pixels apart"):
        reflection_masks(patterns()[0], CELL_A, 10 * PIXEL_INVA, 4)
