"""The mean pattern of a scan whose beam wanders is known between pixels, so that shifting it causes no ringing."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.imaging import wandering_mean
from ptylive.engine.backend.imaging.wandering_mean import (
    KNOTS,
    WanderingMean,
    WanderingSums,
    counting_noise_px2,
    moments_of,
)
from ptylive.engine.descan import moved, moved_back, nearly_moved_back, places_in_scan
from ptylive.schema import Detector, Scan, ScanHeader
from ptylive.schema.detector import Descan

SIDE, RADIUS, SHAPE = 32, 9.3, (24, 30)
POINTS = SHAPE[0] * SHAPE[1]
DESCAN = Descan.of([1.6, -0.7, 0.9, 1.3])
FINE = 8
LEAST_FRAMES = KNOTS[-1][0]


def disc(places):
    """A disc with an edge one pixel wide, modulated by a wave that differs between patterns, at places (n, 2)."""
    axis = np.arange(SIDE) - SIDE / 2
    out = np.empty((len(places), SIDE, SIDE))
    for n, (row, col) in enumerate(places):
        radius = np.hypot(axis[:, None] - row, axis[None] - col)
        inside = np.clip(RADIUS - radius + 0.5, 0, 1)
        out[n] = 100 * inside * (1 + 0.05 * np.cos(0.4 * (axis[:, None] - row) + n))
    return out


@pytest.fixture(scope="module")
def scan():
    header = ScanHeader(
        "u",
        "s",
        POINTS,
        Scan(shape=SHAPE, step_A=(1.0, 1.0)),
        detector=Detector(shape=(SIDE, SIDE), dtype="<f4"),
    )
    places = DESCAN.at_points(np.arange(POINTS), SHAPE)
    return header, disc(places).astype(np.float32), disc(np.zeros_like(places))


def mean_of(header, frames):
    sums = WanderingSums()
    for part in np.array_split(np.arange(len(frames)), 7):
        sums.add(*nearly_moved_back(header, DESCAN, part, frames[part]), places_in_scan(header.scan, part))
    return sums.mean()


def test_the_edge_does_not_ring(scan):
    header, frames, still = scan
    index = np.arange(POINTS)
    mean = mean_of(header, frames)
    by_shift, by_mean = (moved_back(header, DESCAN, index, frames, one) - still for one in (None, mean))
    axis = np.arange(SIDE) - SIDE / 2
    radius = np.hypot(axis[:, None], axis[None])
    for least, most in ((0, RADIUS - 2), (RADIUS - 2, RADIUS + 2)):
        ring = (radius >= least) & (radius < most)
        assert by_mean[:, ring].std() < 0.4 * by_shift[:, ring].std(), (least, most)
    assert np.abs(mean.still - still.mean(axis=0)).max() < 4, "of 100: a corner of the edge is no polynomial"


def test_what_differs_is_moved_as_before(scan):
    """A zero mean removes nothing."""
    header, frames, _ = scan
    nothing = WanderingMean(1, np.zeros((16, SIDE, SIDE), np.float32))
    index = np.arange(50)
    plain = moved_back(header, DESCAN, index, frames[:50])
    # values shifted in from beyond the detector's edge are not available for interpolation
    np.testing.assert_allclose(moved_back(header, DESCAN, index, frames[:50], nothing), plain, atol=0.1)


def test_whole_pixels_and_the_rest_make_the_place(scan):
    header, frames, _ = scan
    near, rest = nearly_moved_back(header, DESCAN, np.arange(POINTS), frames)
    assert np.abs(rest).max() <= 0.5
    whole = np.rint(DESCAN.at_points(np.arange(POINTS), SHAPE) - rest)
    for n in (0, 17, POINTS - 1):
        expected = moved(frames[n : n + 1], whole[n : n + 1])[0]
        np.testing.assert_allclose(near[n], expected, atol=1e-3)


def test_brighter_patterns_take_more_of_the_mean(scan):
    header, frames, _ = scan
    mean = mean_of(header, frames)
    assert mean.strength(2 * frames[:5]) == pytest.approx(2 * mean.strength(frames[:5]), rel=1e-5)
    doubled = moved_back(header, DESCAN, np.arange(5), 2 * frames[:5], mean)
    np.testing.assert_allclose(doubled, 2 * moved_back(header, DESCAN, np.arange(5), frames[:5], mean), atol=2e-2)


def test_no_centre_of_mass_depends_on_the_mean(scan):
    """This holds even where the fit absorbs part of the specimen: integrated DPC is sensitive to slow deflections."""
    header, frames, _ = scan
    index, mean = np.arange(POINTS), mean_of(header, frames)
    wrong = replace(mean, coefficients=mean.coefficients * np.linspace(0.8, 1.2, SIDE, dtype=np.float32))
    plain = moments_of(moved_back(header, DESCAN, index, frames))
    for one in (mean, wrong):
        found = moments_of(moved_back(header, DESCAN, index, frames, one))
        # a hundredth of a pixel times all counts: values read from outside are cut off slightly differently
        assert np.abs(found - plain).max() < 1e-2 * plain[:, 0].mean()


def test_where_a_specimen_changes_the_edge_more_there_is_none(scan):
    header, frames, _ = scan
    assert mean_of(header, frames) is not None
    waves = 1 + 0.9 * np.cos(np.add.outer(0.7 * np.arange(POINTS), np.arange(SIDE)))
    assert mean_of(header, (frames * waves[:, None]).astype(np.float32)) is None


def test_of_few_patterns_there_is_none():
    sums, still = WanderingSums(), np.zeros((LEAST_FRAMES - 1, 2))
    sums.add(np.ones((LEAST_FRAMES - 1, 4, 4)), still, still)
    assert sums.mean() is None
    sums.add(np.ones((1, 4, 4)), still[:1], still[:1])
    mean = sums.mean()
    assert mean is not None and mean.knots == 2
    np.testing.assert_allclose(mean.at(np.array([[0.4, -0.5]])), 1, atol=1e-4)


def test_a_wander_within_a_pixel_is_told_by_fractions_and_a_long_one_is_not():
    mean = WanderingMean(3, np.zeros((36, 4, 4), np.float32))
    for pixels, told in ((0.8, 1.0), (8.0, 0.0)):
        place = Descan.of([pixels, 0.2 * pixels, -0.1 * pixels, pixels]).at_points(np.arange(POINTS), SHAPE)
        assert mean.explained_share(place - np.rint(place), place) == pytest.approx(told, abs=0.05)


def test_what_changes_slowly_over_the_scan_is_left_to_the_patterns(scan):
    """A film that ends in mid-scan would be mistaken for part of the mean when the wander is only a few pixels."""
    header, frames, _ = scan
    index = np.arange(POINTS)
    film = 1 + 0.1 * np.cos(np.pi * (index // SHAPE[1] + 0.5) / SHAPE[0])[:, None, None] * (np.arange(SIDE) > SIDE / 2)
    sums = WanderingSums()
    sums.add(*nearly_moved_back(header, DESCAN, index, frames * film), places_in_scan(header.scan, index))
    inside = np.hypot(*np.meshgrid(*[np.arange(SIDE) - SIDE / 2] * 2)) < RADIUS - 3
    off = []
    for slowly in (False, True):
        mean = sums.mean(slowly=slowly)
        assert mean is not None
        moves = mean.at(np.array([[-0.4, -0.3], [0.4, 0.3]]))[:, inside]
        off.append(np.abs(moves[1] - moves[0]).max())
    # inside the disc nothing depends on the sub-pixel fraction; the film changes the mean by a tenth of 100
    assert off[1] < 0.5 * off[0]


def test_one_surface_is_read_by_all_pixels(scan):
    """Half a pixel forward from one pixel is half a pixel back from the next."""
    header, frames, _ = scan
    mean = mean_of(header, frames)
    here, there = mean.at(np.array([[-0.5, 0.1], [0.5, 0.1]]))
    ring = np.abs(np.hypot(*np.meshgrid(*[np.arange(SIDE) - SIDE / 2] * 2, indexing="ij")) - RADIUS) < 1
    # each pixel is shrunk towards its own mean, only slightly at the edge
    assert np.abs(here[:-1] - there[1:])[ring[:-1] & ring[1:]].max() < 5


def test_of_a_detector_whose_sums_would_take_too_much_memory_there_is_none(monkeypatch):
    frames, still = np.ones((2 * LEAST_FRAMES, 8, 8)), np.zeros((2 * LEAST_FRAMES, 2))
    monkeypatch.setattr(wandering_mean, "MOST_BYTES", 8 * 64)
    sums = WanderingSums()
    sums.add(frames, still, still)
    assert sums.mean() is None
    assert sums._right.size <= 1
    monkeypatch.setattr(wandering_mean, "MOST_BYTES", 2**30)
    sums.add(frames, still, still)
    assert sums._right.size > 1


@pytest.mark.parametrize(("per_pixel", "kept"), [(0.4, 1.0), (0.8, 1.0), (1.3, 0.0)])
def test_what_is_finer_than_a_pixel_is_not_taken_for_the_mean(per_pixel, kept):
    """Structure finer than a pixel cannot belong to the mean, because a pixel integrates over its area.

    If the wander is short, slow changes of the specimen would otherwise be fitted as such structure. The test uses a
    wave with whole cycles over the detector along its rows, as sub-pixel fractions sample it.
    """
    rng = np.random.default_rng(1)
    rest, place = rng.uniform(-0.5, 0.5, (POINTS, 2)), rng.uniform(-1, 1, (POINTS, 2))
    turns = 2 * np.pi * round(per_pixel * SIDE) / SIDE

    def wave(off_px):
        return 10 + np.cos(turns * (np.arange(SIDE) - off_px[:, :1]))[:, :, None] * np.ones(SIDE)

    sums = WanderingSums()
    sums.add(wave(rest), rest, place)
    mean = sums.mean()
    assert mean is not None
    nodes = np.array([[-0.4, 0.0], [-0.1, 0.3], [0.2, -0.2], [0.4, 0.1]])
    found, true = mean.at(nodes) - 10, wave(nodes) - 10
    # remaining share of an amplitude of 1: the spline's own error, and the penalty relative to the number of patterns
    assert (found * true).sum() / (true**2).sum() == pytest.approx(kept, abs=0.15)


def test_counting_moves_the_centre_of_mass_by_as_much_as_is_said():
    """The variance of 4000 draws is known to two parts in a hundred: 1 / sqrt(4000) of it, over two axes."""
    rng = np.random.default_rng(5)
    mean = np.exp(-0.05 * ((np.arange(12)[:, None] - 4) ** 2 + 0.5 * (np.arange(14) - 8) ** 2)) * 3
    for times in (1.0, 4.0):
        sums = moments_of((times * rng.poisson(mean / times, (4000, 12, 14))).astype(np.float32))
        found = (sums[:, 1:] / sums[:, :1]).var(axis=0).sum()
        assert counting_noise_px2(mean, times) == pytest.approx(found, rel=0.06)
    assert counting_noise_px2(np.zeros((3, 3)), 1.0) == 0.0
