"""The detector: mapping of model points to pixels, and every detector effect separately."""

import numpy as np
import pytest

from ptylive.engine.simulation.object_grid import Window
from ptylive.engine.simulation.readout import Readout
from ptylive.schema import MetadataError
from ptylive.schema.detector import undo_transform
from ptylive.schema.simulation.settings import SimulationSettings

INDEX = np.arange(400)


def made(**values):
    settings = SimulationSettings.of({"detector_shape": (16, 24), "reach": 1, **values})
    window = Window.of(settings)
    return Readout.of(settings, window), window


def flat(count=1, value=1.0, shape=(16, 24)):
    return np.full((count, *shape), value, np.float32)


def test_pixels_are_sums_of_the_points_of_the_model():
    for times in (1, 2, 3):
        readout, window = made(oversampling=times)
        intensity = np.zeros((1, window.size, window.size), np.float32)
        row, col = times * 3, times * -5  # the middle of the pixel (3, -5) from the beam
        intensity[0, row, col] = 1.0
        read = readout.expected(intensity)[0]
        assert np.argwhere(read).tolist() == [[16 // 2 + 3, 24 // 2 - 5]]
        everything = readout.expected(np.ones_like(intensity))[0]
        np.testing.assert_allclose(everything[2:-2, 2:-2], times**2)


def test_an_even_number_of_points_is_moved_by_half_of_one():
    readout, _ = made(oversampling=2, detector_transform="none")
    np.testing.assert_allclose(readout.offsets_px(np.zeros((1, 2))), [[-0.5, -0.5]])
    readout, _ = made(oversampling=1, beam_offset_px=(0.25, -1.3))
    np.testing.assert_allclose(readout.offsets_px(np.array([[1.0, 2.0]])), [[1.25, 1.7]])


@pytest.mark.parametrize("words", ["none", "transpose", "flip_rows", "flip_cols", "transpose+flip_rows"])
def test_what_is_recorded_is_undone_by_the_schema(words):
    """The spot is given next to the beam in the detector's frame; the beam's offset is in pixels as recorded."""
    readout, window = made(detector_transform=words, beam_offset_px=(1, -2))
    intensity = np.zeros((1, window.size, window.size), np.float32)
    intensity[0, 0, 0], intensity[0, 2, -3] = 1.0, 2.0
    recorded = readout.expected(intensity)[0]
    undone = undo_transform(recorded, words)
    beam, spot = np.argwhere(undone == 1)[0], np.argwhere(undone == 2)[0]
    assert (spot - beam).tolist() == [2, -3]
    assert np.argwhere(recorded == 1)[0].tolist() == [16 // 2 + 1, 24 // 2 - 2] == list(readout.center_px)


def test_electrons_scatter_as_poisson_says():
    readout, _ = made(electrons_per_pattern=1000)
    frames = readout.recorded(flat(400, 0.02), INDEX).astype(float)  # 20 electrons a pixel
    count = frames.size
    assert frames.mean() == pytest.approx(20, abs=5 * np.sqrt(20 / count))
    # variance of the variance of Poisson numbers: (2 m^2 + m) / n
    assert frames.var() == pytest.approx(20, abs=5 * np.sqrt((2 * 400 + 20) / count))
    assert np.abs(np.corrcoef(frames[:, 3, 4], frames[:, 3, 5])[0, 1]) < 5 / np.sqrt(400)
    whole = readout.recorded(flat(400, 0.02), INDEX)
    np.testing.assert_array_equal(whole[7:9], readout.recorded(flat(2, 0.02), INDEX[7:9]))  # whichever frames are read


def test_without_noise_frames_are_means():
    readout, _ = made(electrons_per_pattern=1000, poisson=False, dtype="f4", counts_per_electron=3)
    np.testing.assert_allclose(readout.recorded(flat(1, 0.02), INDEX[:1]), 60.0)


def test_gain_and_dark_are_undone_by_the_references():
    values = {"electrons_per_pattern": 1e6, "poisson": False, "dtype": "f4", "gain_spread": 0.1, "dark_counts": 40}
    readout, _ = made(**values)
    frames = readout.recorded(flat(1, 0.01), INDEX[:1])[0]
    assert readout.gain.std() == pytest.approx(0.1, rel=0.2)
    np.testing.assert_allclose((frames - 40) / readout.gain, 1e4, rtol=1e-6)


def test_read_noise_has_its_spread_and_whole_numbers_are_not_negative():
    readout, _ = made(electrons_per_pattern=1, poisson=False, read_noise_counts=2.5, dtype="f4")
    noise = readout.recorded(flat(400, 0.0), INDEX)
    assert noise.std() == pytest.approx(2.5, rel=5 / np.sqrt(2 * noise.size))
    assert noise.min() < 0
    readout, _ = made(electrons_per_pattern=1, poisson=False, read_noise_counts=2.5)
    assert readout.recorded(flat(1, 0.0), INDEX[:1]).max() < 100


def test_full_dead_and_hot_pixels():
    values = {"electrons_per_pattern": 1e6, "dead_pixels": 3, "hot_pixels": 2}
    readout, _ = made(**values, saturation_value=500)
    frame = readout.recorded(flat(1, 0.01), INDEX[:1])[0]
    assert frame.max() == 500
    assert np.count_nonzero(readout.bad_pixels) == 5
    assert (frame[readout.dead] == 0).all() and (frame[readout.hot] == 500).all()
    assert readout.recorded(flat(1, 1.0), INDEX[:1])[0].max() == 500
    floating, _ = made(**values, dtype="f4", poisson=False)
    frame = floating.recorded(flat(1, 0.5), INDEX[:1])[0]
    assert frame.max() == pytest.approx(5e5) and (frame[floating.hot] == 65535).all()
    eight, _ = made(**values, dtype="u1")
    assert eight.recorded(flat(1, 0.01), INDEX[:1])[0].max() == 255


def test_the_point_spread_keeps_the_sum_and_widens():
    readout, window = made(point_spread_px=1.2, detector_shape=32)
    intensity = np.zeros((1, window.size, window.size), np.float32)
    intensity[0, 0, 0] = 1.0
    spot = readout.expected(intensity)[0].astype(float)
    rows = np.arange(32) - 16
    assert spot.sum() == pytest.approx(1.0, rel=1e-3)  # the kernel ends at four standard deviations
    assert (spot.sum(axis=1) * rows**2).sum() == pytest.approx(1.2**2, rel=0.01)


def test_distortions_move_spots_where_the_formula_says():
    for values in (
        {"ellipticity": 0.1, "ellipse_deg": 20},
        {"distortion_third": 0.08},
        {"distortion_second": (0.05, -0.02)},
    ):
        readout, window = made(detector_shape=64, **values)
        rows, cols = (np.fft.fftfreq(window.size, 1 / window.size),) * 2
        spot = np.exp(-((rows[:, None] - 14) ** 2 + (cols[None, :] + 9) ** 2) / (2 * 2.0**2))[None].astype(np.float32)
        read = readout.expected(spot)[0].astype(float)
        assert read.sum() == pytest.approx(spot.sum(), rel=2e-3)  # no electrons are lost
        place = np.array([(read.sum(axis=1 - a) * (np.arange(64) - 32)).sum() for a in (0, 1)]) / read.sum()
        np.testing.assert_allclose(readout.scattered_to(*(place / 32)) * 32, [14, -9], atol=0.05)  # slightly bent
        assert np.abs(place - [14, -9]).max() > 0.2


def test_a_circle_becomes_an_ellipse_of_that_ratio():
    readout, window = made(detector_shape=96, ellipticity=0.1, ellipse_deg=0)
    k = np.fft.fftfreq(window.size, 1 / window.size)
    disc = (np.hypot(k[:, None], k[None, :]) < 20).astype(np.float32)[None]
    read = readout.expected(disc)[0]
    height, width = (read.sum(axis=1) > 0.5).sum(), (read.sum(axis=0) > 0.5).sum()
    assert height / width == pytest.approx(1.1, abs=1 / 20)  # one pixel of each


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"beam_offset_px": (100, 0)}, "off the detector"),
        ({"electrons_per_pattern": 1e30}, "cannot be counted"),
        ({"electrons_per_pattern": 1e20, "counts_per_electron": 1e-3}, "cannot be counted"),
    ],
)
def test_impossible_detectors_are_refused(values, words):
    with pytest.raises(MetadataError, match=words):
        made(**values)


def test_a_distortion_that_folds_the_pattern_is_refused():
    readout, window = made(detector_shape=64, distortion_third=-0.29, distortion_second=(0.2, 0.2))
    with pytest.raises(MetadataError, match="folds the pattern"):
        readout.expected(np.zeros((1, window.size, window.size), np.float32))


def test_a_beam_that_leaves_the_detector_is_refused():
    readout, _ = made(beam_offset_px=(6, 0))
    readout.check_descan(np.array([[1.0, 0.0]]))
    with pytest.raises(MetadataError, match="off the detector"):
        readout.check_descan(np.array([[2.0, 0.0]]))
