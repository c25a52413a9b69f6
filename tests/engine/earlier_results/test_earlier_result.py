"""Results of any program: what is taken, and why others are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptylive.engine.earlier_results.earlier_result import COARSEST_A, FINEST_A, EarlierResult, square_pixel
from ptylive.schema import InputFileError, MetadataError

FILE = Path("a.h5")
WHOLE = EarlierResult(
    "ptyrad", np.ones((1, 2, 8, 9), complex), np.ones((1, 3, 4, 4), complex), 0.2, (5.0, 5.0),
    positions_A=np.zeros((6, 2)),
)  # fmt: skip


def test_a_whole_result_is_taken_and_so_is_one_that_holds_little():
    assert WHOLE.checked(FILE) is WHOLE
    little = EarlierResult("ptyrad")
    assert little.checked(FILE) is little


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"object": np.ones((2, 8, 9), complex)}, r"its object has the shape \(2, 8, 9\)"),
        ({"object": np.ones((1, 0, 8, 9), complex)}, "its object has the shape"),
        ({"object": np.zeros((1, 1, 8, 9), complex)}, "its object is empty"),
        ({"object": np.full((1, 1, 8, 9), np.nan)}, "its object is empty, or holds values that are not numbers"),
        ({"probe": np.ones((1, 3, 4, 5), complex)}, "its probe has the shape"),
        ({"probe": np.zeros((1, 3, 4, 4), complex)}, "its probe is empty"),
        ({"pixel_A": COARSEST_A}, "its pixel of 50 Å is not plausible"),
        ({"pixel_A": FINEST_A}, "its pixel of 0.001 Å is not plausible"),
        ({"pixel_A": float("nan")}, "its pixel of nan Å is not plausible"),
        ({"slice_thickness_A": (5.0, -1.0)}, "its slices have no thickness"),
        ({"slice_thickness_A": (5.0, float("inf"))}, "its slices have no thickness"),
        ({"positions_A": np.zeros((6, 3))}, "its positions have the shape"),
        ({"positions_A": np.full((6, 2), np.inf)}, "its positions"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_file(changed, words):
    with pytest.raises(InputFileError, match=f"a.h5: {words}"):
        replace(WHOLE, **changed).checked(FILE)


def test_an_object_need_not_be_square():
    assert replace(WHOLE, object=np.ones((1, 1, 4, 90), complex)).checked(FILE)


def test_what_is_asked_for_is_given_with_its_pixel():
    assert WHOLE.require_object("a.h5")[1] == 0.2
    modes, pixel_A = WHOLE.require_probe("a.h5")
    assert modes.shape == (3, 4, 4) and pixel_A == 0.2
    assert WHOLE.require_positions("a.h5").shape == (6, 2)


@pytest.mark.parametrize("missing", ["object", "probe", "positions_A", "pixel_A"])
def test_what_a_file_lacks_is_named_with_its_setting(missing):
    result = replace(WHOLE, **{missing: None})
    asked = {"object": ["object"], "probe": ["probe"], "positions_A": ["positions"], "pixel_A": ["object", "probe"]}
    for name in asked[missing]:
        with pytest.raises(MetadataError, match=rf"start_{name} a.h5 \(ptyrad\) holds no {name}"):
            getattr(result, f"require_{name}")("a.h5")


def test_pixels_are_square():
    assert square_pixel(FILE, (0.2, 0.2001)) == 0.2
    with pytest.raises(InputFileError, match="not square"):
        square_pixel(FILE, (0.2, 0.201))
