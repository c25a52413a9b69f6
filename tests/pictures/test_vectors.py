"""Arrows over a disc."""

import numpy as np

from ptylive.pictures.vectors import EXPLAINED, MEASURED, vectors


def test_arrows_point_where_they_should_and_the_longest_is_told():
    places = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    right = np.tile([0.0, 3.0], (4, 1))
    page = vectors(places, -right, right, 1.0, "Å")
    red, blue = (np.argwhere((page[:480] == colour).all(axis=-1)) for colour in (EXPLAINED, MEASURED))
    assert len(red) and len(blue)
    assert red[:, 1].mean() > blue[:, 1].mean() + 20, "columns run to the right"


def test_nothing_to_draw_is_drawn():
    none = np.zeros((3, 2))
    assert vectors(none, none, none, 1.0, "Å").shape[2] == 3
