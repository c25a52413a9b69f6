"""Pictures exported from the program."""

import io

import numpy as np
import pytest
from PIL import Image

from ptylive.pictures.colours import UNVISITED, ColourMap
from ptylive.pictures.snapshot import MOST_SIDE, draw, in_proportion, png


def test_a_png_shows_the_map_the_unvisited_part_and_a_scale_bar() -> None:
    data = np.zeros((64, 64), np.float32)
    data[:32] = 1.0
    visited = np.ones((64, 64), dtype=bool)
    visited[:, 60:] = False
    picture = np.asarray(
        Image.open(io.BytesIO(png(draw(data, ColourMap.GRAY, visited=visited, sampling_A=(0.5, 0.5)))))
    )
    assert picture.shape == (768, 768, 3)
    assert picture[100, 100].tolist() == [255, 255, 255]
    assert picture[500, 500].tolist() == [0, 0, 0]
    assert picture[100, 760].tolist() == [int(UNVISITED[i : i + 2], 16) for i in (1, 3, 5)]
    bar = np.flatnonzero((picture[-60:, :400] == 255).all(axis=-1).sum(axis=0))
    assert 5 * 24 - 2 <= bar.max() - bar.min() <= 5 * 24 + 2, "5 Å are ten pixels of twelve"


def test_small_pictures_and_unknown_scales_do_without_a_bar() -> None:
    tiny = draw(np.ones((4, 4), np.float32), ColourMap.MAGMA, sampling_A=(0.5, 0.5), least_side=1)
    assert tiny.shape == (4, 4, 3)


@pytest.mark.parametrize("sampling_A", [(0.6, 0.45), (0.45, 0.6), (3.0, 0.1)])
def test_lengths_along_rows_and_columns_are_alike_whatever_the_steps_are(sampling_A) -> None:
    """Regression: a scan of 40 x 56 points with rows farther apart than columns was drawn with square pixels."""
    picture = draw(np.zeros((40, 56), np.float32), ColourMap.GRAY, sampling_A=sampling_A, scale_bar=False)
    rows, cols = picture.shape[:2]
    assert rows / cols == pytest.approx(40 * sampling_A[0] / (56 * sampling_A[1]), rel=0.01)
    barred = draw(np.zeros((40, 56), np.float32), ColourMap.GRAY, sampling_A=sampling_A)
    pixel_A = 56 * sampling_A[1] / cols
    bar = np.flatnonzero((barred == 255).all(axis=-1).any(axis=0))
    length_A = (bar.max() - bar.min() + 1) * pixel_A
    assert min(abs(length_A - nice) for nice in (1, 2, 5, 10, 20, 50)) < 2 * pixel_A


def test_every_pixel_is_seen_where_pixels_are_no_squares() -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(in_proportion(data, (2.0, 1.0)), np.repeat(data, 2, axis=0))
    assert np.array_equal(in_proportion(data, None), data)


def test_a_nonsensical_step_does_not_make_an_endless_picture() -> None:
    assert max(draw(np.zeros((64, 64), np.float32), ColourMap.GRAY, sampling_A=(1e6, 1e-3)).shape) <= MOST_SIDE
