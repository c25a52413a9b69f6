import numpy as np
import pytest

from ptylive.engine.larbed.tilt_series import raster_tilts
from tests.larbed_crystals import crystal, series_of


def test_a_raster_of_tilts_is_centred_and_turned():
    tilts = raster_tilts((3, 5), 2.0, (1.0, -1.0))
    assert tilts.shape == (15, 2)
    assert tilts[0] == pytest.approx([-1.0, -5.0])
    assert tilts.mean(axis=0) == pytest.approx([1.0, -1.0])
    turned = raster_tilts((3, 1), 2.0, rotation_deg=90.0)
    assert turned[2] == pytest.approx([0.0, 2.0])  # +row goes to +column


def test_discs_are_reflections_over_tilts():
    series = series_of(crystal(), tilts=5)
    discs = series.discs(series.counts)
    assert discs.shape == (49, 5, 5)
    assert discs[7, 1, 2] == series.counts[7, 7]
    with pytest.raises(ValueError, match="not lie on a raster"):
        series.part(np.arange(3)).discs(series.counts[:3])


def test_shuffling_keeps_patterns_and_moves_them():
    series = series_of(crystal(), tilts=5)
    shuffled = series.shuffled(np.random.default_rng(0))
    assert not np.array_equal(shuffled.counts, series.counts)
    assert np.array_equal(np.sort(shuffled.counts[:, 0]), np.sort(series.counts[:, 0]))
    assert np.array_equal(shuffled.tilts_mrad, series.tilts_mrad)
