"""TIFF files: unchanged numbers, and a scale that other programs can read, however fine or coarse."""

import numpy as np
import pytest
from PIL import Image

from ptylive.engine.exports.tiff import write_tiff

DATA = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


@pytest.mark.parametrize("data", [DATA, DATA.T, DATA[::-1, ::2], DATA.astype(float), DATA[:1, :1]])
def test_pixels_are_the_numbers(tmp_path, data):
    write_tiff(tmp_path / "a.tif", data, (0.5, 0.25))
    with Image.open(tmp_path / "a.tif") as found:
        np.testing.assert_array_equal(np.asarray(found), data.astype(np.float32))


@pytest.mark.parametrize("step_A", [(0.5, 0.25), (1e-4, 2e-4), (1.0 / 3, 2.0 / 3), (1e8, 1e7)])
def test_the_scale_is_in_pixels_per_nm(tmp_path, step_A):
    """Rationals of two 32-bit integers; the finer of two denominators keeps their rounding small."""
    write_tiff(tmp_path / "a.tif", DATA, step_A)
    with Image.open(tmp_path / "a.tif") as found:
        tags = found.tag_v2
        assert "unit=nm" in tags[270]
        assert float(tags[283]) == pytest.approx(10.0 / step_A[0], rel=1e-6, abs=1e-9)
        assert float(tags[282]) == pytest.approx(10.0 / step_A[1], rel=1e-6, abs=1e-9)
        assert min(float(tags[282]), float(tags[283])) > 0


def test_without_a_scale_none_is_claimed(tmp_path):
    write_tiff(tmp_path / "a.tif", DATA, None)
    with Image.open(tmp_path / "a.tif") as found:
        assert not {282, 283, 296} & set(found.tag_v2)
        assert "unit" not in found.tag_v2[270]
