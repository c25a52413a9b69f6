"""From arrays in events to pictures of maps and patterns."""

import numpy as np
import pytest

from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.schema.maps import InformationLimit


def test_unvisited_points_are_index_zero_also_on_a_finer_map() -> None:
    coverage = np.zeros((4, 4), dtype=bool)
    coverage[:2] = True
    raw = RawPicture("tcbf", np.arange(64, dtype=np.float32).reshape(8, 8))
    picture = prepare(raw, 1, Surroundings(coverage, (4, 4), (0.5, 0.5)))
    assert (picture.indexed[:4] > 0).all()
    assert (picture.indexed[4:] == 0).all()
    assert picture.pixel == (0.25, 0.25)
    assert picture.size == (2.0, 2.0)
    assert picture.calibrated
    assert not picture.complete


def test_without_a_step_coordinates_are_scan_points() -> None:
    picture = prepare(RawPicture("bf", np.zeros((8, 8), np.float32)), 1, Surroundings(scan_shape=(4, 4)))
    assert picture.pixel == (0.5, 0.5)
    assert not picture.calibrated


def test_patterns_start_at_zero_and_keep_detector_pixels() -> None:
    raw = RawPicture("pattern", np.full((4, 4), 9.0, np.float32), sampling_A=(0.1, 0.1))
    linear = prepare(raw, 1, Surroundings(), wanted="pattern")
    log = prepare(raw, 2, Surroundings(), wanted="pattern_log")
    assert linear.limits == pytest.approx((0.0, 9.0), rel=1e-2)
    assert log.limits == pytest.approx((0.0, 1.0), rel=1e-2)
    assert linear.pixel == (1.0, 1.0)
    assert linear.peak == log.peak == 9.0


@pytest.mark.parametrize("wanted", ["pattern", "pattern_log"])
def test_a_normalised_pattern_is_not_black_and_an_empty_one_has_no_counts(wanted: str) -> None:
    """Regression: both were said to have 2.2 counts, and a pattern that sums to 1 was black."""
    pattern = np.array([[0, 1e-8], [1e-10, np.nan]], np.float32)
    shown = prepare(RawPicture("pattern", pattern), 1, Surroundings(), wanted=wanted)
    assert shown.peak == pytest.approx(1e-8)
    assert shown.indexed[0, 1] > 200
    assert shown.indexed[1, 0] > (20 if wanted == "pattern_log" else 1)
    empty = prepare(RawPicture("pattern", np.zeros((2, 2), np.float32)), 1, Surroundings(), wanted=wanted)
    assert empty.peak == 0.0
    assert (empty.indexed == 1).all()


def test_a_fourier_transform_has_its_peaks_and_rings_where_they_belong() -> None:
    cols = np.indices((64, 64))[1]
    coverage = np.zeros((64, 64), dtype=bool)
    coverage[:40] = True
    around = Surroundings(coverage, (64, 64), (0.5, 0.5), aperture_invA=0.3)
    raw = RawPicture("bf", np.cos(2 * np.pi * cols / 8).astype(np.float32))
    picture = prepare(raw, 1, around, wanted="bf:fft")
    row, col = np.unravel_index(int(np.argmax(picture.data)), picture.data.shape)
    assert picture.origin[0] + row * picture.pixel[0] == pytest.approx(0.0)
    assert abs(picture.origin[1] + col * picture.pixel[1]) == pytest.approx(1 / (8 * 0.5))
    rings = {ring.text: ring.radius for ring in picture.rings}
    assert rings["2 Å"] == pytest.approx(0.5)
    assert rings["2α"] == pytest.approx(0.6)
    assert max(rings.values()) <= 1.0


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (InformationLimit(2.5, 0.1), {"signal ends 2.5 Å": 0.4}),
        (InformationLimit(2.5, 1.0), {}),  # undetermined
        (InformationLimit(1.1, 0.01, finer=True), {}),  # as fine as the step can show
        (InformationLimit(0.8, 0.01), {}),  # outside the picture
    ],
)
def test_the_ring_beyond_which_nothing_is_signal_is_marked(limit: InformationLimit, told: dict[str, float]) -> None:
    noise = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32)
    raw = RawPicture("tcbf", noise, sampling_A=(0.5, 0.5), carries={1.0: limit, 2.0: InformationLimit(2.0, 0.1)})
    picture = prepare(raw, 1, Surroundings(), wanted="tcbf:fft")
    rings = {ring.text: ring.radius for ring in picture.rings if ring.text.startswith("signal")}
    assert rings == pytest.approx(told)


def test_words_of_rings_of_one_radius_do_not_meet() -> None:
    """Like the MoS2 scan at 1280 px: signal ends at 1.1 Å, next to the ring of 1 Å, and 2 alpha may lie there too."""
    raw = RawPicture(
        "obf", np.ones((64, 64), np.float32), sampling_A=(0.4, 0.4), carries={1.0: InformationLimit(1.0, 0.0)}
    )
    picture = prepare(raw, 1, Surroundings(aperture_invA=0.5), wanted="obf:fft")
    degrees = {ring.text: ring.degrees for ring in picture.rings if ring.radius == pytest.approx(1.0)}
    assert set(degrees) == {"1 Å", "2α", "signal ends 1 Å"}
    apart = np.abs(np.subtract.outer(list(degrees.values()), list(degrees.values())))
    assert apart[~np.eye(3, dtype=bool)].min() > 20


def test_the_wheel_is_made_of_both_components() -> None:
    ramp = np.ones((4, 4), np.float32)
    picture = prepare(
        RawPicture("com_row", 3 * ramp), 1, Surroundings(), wanted="dpc", more=[RawPicture("x", 4 * ramp)]
    )
    assert picture.wheel
    assert picture.limits[1] == pytest.approx(5.0, rel=1e-2)
    assert (picture.indices((0.0, 10.0)) != picture.indexed).all()
