"""Pictures in a report."""

import io

import numpy as np
from PIL import Image

from ptylive.application.report.elements import SIDE_PX, Picture
from ptylive.pictures.sheet import Cell


def test_a_picture_has_the_words_and_the_shape_of_its_cell():
    one = Picture.of(Cell(np.arange(8.0).reshape(2, 4), "a title", ["a line"]))
    assert (one.title, one.lines) == ("a title", ("a line",))
    with Image.open(io.BytesIO(one.png)) as picture:
        assert picture.size == (SIDE_PX, SIDE_PX // 2)
        shades = np.asarray(picture)[64, 64::128, 0].astype(int)
    assert (np.diff(shades) > 0).all()
