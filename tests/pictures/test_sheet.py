"""Pictures side by side with text below them."""

import numpy as np
import pytest

from ptylive.pictures.colours import ColourMap
from ptylive.pictures.sheet import MARGIN_PX, SIDE_PX, WHITE, Cell, sheet

CHECKS = np.indices((8, 8)).sum(axis=0) % 2.0


def framed(page, number, size=(SIDE_PX, SIDE_PX)):
    """The picture at one of the places in the first row."""
    left = MARGIN_PX + number * (SIDE_PX + MARGIN_PX)
    return page[MARGIN_PX : MARGIN_PX + size[0], left : left + size[1]]


def test_pictures_stand_beside_each_other_equally_large():
    fine = np.kron(CHECKS, np.ones((80, 80)))  # 640 pixels: reduced in size
    page = sheet([Cell(CHECKS, "coarse"), Cell(fine, "fine"), Cell(CHECKS, "third", ["a line"])], in_a_row=2)
    assert page.dtype == np.uint8
    assert page.shape[1] == MARGIN_PX + 2 * (SIDE_PX + MARGIN_PX)
    np.testing.assert_array_equal(framed(page, 0), framed(page, 1))
    assert set(np.unique(framed(page, 0))) == {0, 255}
    assert (page[:MARGIN_PX] == WHITE).all()
    below = page[MARGIN_PX + SIDE_PX : 2 * MARGIN_PX + SIDE_PX + 20]
    assert (below.min(axis=(0, 2)) < 128)[: SIDE_PX // 2].any(), "the title is written"
    right_half = page[page.shape[0] // 2 :, page.shape[1] // 2 + MARGIN_PX :]
    assert (right_half[SIDE_PX // 4 :] == WHITE).all(), "nothing at the fourth place"


def test_pixels_are_drawn_as_long_and_wide_as_they_are():
    page = sheet([Cell(CHECKS, "oblong", pixel_A=(1.0, 0.5))])
    tall = framed(page, 0, (SIDE_PX, SIDE_PX // 2))
    assert {0, 255} <= set(np.unique(tall))
    assert page.shape[1] == SIDE_PX // 2 + 2 * MARGIN_PX


def test_what_was_not_visited_has_no_colour_of_the_map():
    page = sheet([Cell(CHECKS, "half", visited=np.arange(64).reshape(8, 8) < 32)])
    assert len(np.unique(framed(page, 0)[SIDE_PX // 2 + 1 :].reshape(-1, 3), axis=0)) == 1


def test_colours_and_scale_bars_are_drawn():
    plain, scaled = (sheet([Cell(CHECKS, "x", colour_map=ColourMap.MAGMA, pixel_A=p)]) for p in (None, (1.0, 1.0)))
    assert (framed(plain, 0)[..., 0] != framed(plain, 0)[..., 2]).any()
    lower_left = (slice(SIDE_PX * 3 // 4, None), slice(0, SIDE_PX // 2))
    assert (framed(plain, 0)[lower_left] != framed(scaled, 0)[lower_left]).any()


def test_the_letter_that_the_font_lacks_is_written():
    """An A with a ring is drawn, not the box for a missing letter."""
    wide = [sheet([Cell(CHECKS, text)])[SIDE_PX + MARGIN_PX :] for text in ("12 A rad", "12 Å rad")]
    differ = (wide[0] != wide[1]).any(axis=(0, 2))
    assert 0 < differ.sum() < 12, "a ring, and the rest where it was"


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match="needs a picture"):
        sheet([])


def test_a_map_in_doubt_is_greyed_with_the_word():
    plain, greyed = (framed(sheet([Cell(CHECKS, "x", doubt=doubt)]), 0).astype(int) for doubt in ("", "unsure"))
    above, middle = slice(0, SIDE_PX // 2 - 40), slice(SIDE_PX // 2 - 20, SIDE_PX // 2 + 20)
    assert plain.max() == 255 and np.ptp(greyed[above]) < 0.4 * 255
    assert greyed[middle].max() > greyed[above].max() + 80, "the word is written"


def test_a_long_word_stays_within_a_small_picture():
    small = sheet([Cell(CHECKS, "x", pixel_A=(1.0, 8.0), doubt="no pixel stands out of the noise " * 2)])
    assert small.shape[1] == SIDE_PX + 2 * MARGIN_PX
