"""Pictures that leave the program."""

import io

import numpy as np
from PIL import Image

from ptylive.pictures.colours import UNVISITED, ColourMap
from ptylive.pictures.snapshot import draw, png


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
