"""Scale bar: 1-2-5 steps in the unit that a microscopist would use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptylive.pictures.scalebar import nice_length


@pytest.mark.parametrize(
    ("most", "length", "text"),
    [
        (0.6, 0.5, "50 pm"),
        (1.0, 1.0, "1 Å"),
        (4.9, 2.0, "2 Å"),
        (5.0, 5.0, "5 Å"),
        (10.0, 10.0, "1 nm"),
        (199.0, 100.0, "10 nm"),
        (9_999.0, 5_000.0, "500 nm"),
        (2.4e4, 2e4, "2 µm"),
    ],
)
def test_steps_and_units(most: float, length: float, text: str) -> None:
    bar = nice_length(most, 1.0)
    assert bar is not None
    assert bar.length == pytest.approx(length)
    assert bar.text == text


def test_without_calibration_the_bar_counts_scan_points() -> None:
    bar = nice_length(64, 0.25, calibrated=False)
    assert bar is not None
    assert (bar.length, bar.text) == (10.0, "10 points")


@pytest.mark.parametrize("extent", [0.0, -1.0, float("nan"), float("inf")])
def test_no_bar_for_impossible_extents(extent: float) -> None:
    assert nice_length(extent) is None


@given(st.floats(min_value=1e-2, max_value=1e7))
def test_the_bar_fits_and_is_not_tiny(extent: float) -> None:
    bar = nice_length(extent, 1.0)
    assert bar is not None
    assert 0.399 * extent <= bar.length <= extent * 1.000001
    assert bar.text[0] in "125"
