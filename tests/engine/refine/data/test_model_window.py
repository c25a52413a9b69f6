"""Pixels of the model: finer ones share the place of the detector's, and mirrored patterns are placed correctly."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import bytes_in_files
from ptylive.engine.refine.data import model_window
from ptylive.engine.refine.data.model_window import ModelWindow, as_seen, image_window
from ptylive.schema import Calibration, MetadataError
from ptylive.schema.preset.patterns import PatternSettings

SIZE, PIXEL = 8, 0.05


def window(offset=0.0):
    """A detector's window whose beam lies ``offset`` pixels off a pixel."""
    k = (np.fft.fftfreq(SIZE) * SIZE + offset) * PIXEL
    k_row, k_col = np.meshgrid(k, k, indexing="ij")
    return SimpleNamespace(size=SIZE, pixel_invA=PIXEL, k_row=k_row, k_col=k_col)


@pytest.mark.parametrize("offset", [0.0, 0.3])
@pytest.mark.parametrize("upsampling", [1, 2, 3, 4])
def test_the_middle_of_the_fine_pixels_is_the_coarse_one(upsampling, offset):
    fine, coarse = ModelWindow.of(window(offset), upsampling), window(offset)
    assert (fine.size, fine.pixel_invA) == (SIZE * upsampling, pytest.approx(PIXEL / upsampling))
    assert fine.object_pixel_A == pytest.approx(1 / (SIZE * PIXEL))
    for found, wanted in ((fine.k_row, coarse.k_row), (fine.k_col.T, coarse.k_col.T)):
        line = np.fft.fftshift(found[:, 0]).reshape(SIZE, upsampling)
        # rounding of numbers up to 0.3 in double precision
        np.testing.assert_allclose(np.sort(line.mean(axis=1)), np.sort(wanted[:, 0]), atol=1e-15)
        np.testing.assert_allclose(np.diff(np.sort(found[:, 0])), PIXEL / upsampling, atol=1e-15)
    np.testing.assert_allclose(fine.k_radius, np.hypot(fine.k_row, fine.k_col))


def dataset(shape=(6, 8), count=5, dtype=np.uint16):
    rng = np.random.default_rng(0)
    patterns = rng.poisson(9, (count, *shape)).astype(dtype)
    bad = np.zeros(shape, bool)
    bad[1, 2] = True
    points = np.arange(count)
    return Dataset(patterns, points, np.zeros((count, 2)), bad, np.array([2.0, 3.5]), (1, count), Calibration())


def test_mirrored_patterns_take_their_mask_and_centre_along():
    plain = replace(dataset(), offsets_px=np.arange(10.0).reshape(5, 2))
    seen = as_seen(plain, PatternSettings(flip_ky=True))
    np.testing.assert_array_equal(seen.offsets_px, plain.offsets_px * (-1, 1))
    assert as_seen(dataset(), PatternSettings(flip_ky=True)).offsets_px is None
    np.testing.assert_array_equal(seen.patterns[np.array([4, 1])], plain.patterns[[4, 1], ::-1])
    assert np.argwhere(seen.bad_pixels).tolist() == [[4, 2]]
    np.testing.assert_array_equal(seen.beam_center_px, [3.0, 3.5])


def test_patterns_that_were_shifted_hold_the_beam_elsewhere():
    seen = as_seen(dataset(), PatternSettings(data_shift_vector_px=(1.0, -0.5)))
    np.testing.assert_array_equal(seen.beam_center_px, [1.0, 4.0])
    unmoved = dataset()
    assert as_seen(unmoved, PatternSettings()) is unmoved


def test_images_lie_in_a_square_of_their_longer_side():
    images = dataset(dtype=np.float32)
    images.patterns[0, 0, 0] = -3
    found = image_window(images, 2.0, "auto")
    assert found.size == 8
    assert found.measured.sum() == 6 * 8 - 1
    np.testing.assert_array_equal(found.patterns[2, :6], np.where(images.bad_pixels, 0, images.patterns[2]))
    assert found.patterns[0, 0, 0] == 0, "no counts below none"
    assert found.pixel_invA == pytest.approx(1 / 16)
    np.testing.assert_allclose(found.k_row[:, 0], np.fft.fftfreq(8, 2.0))


def test_images_are_read_in_portions_and_may_lie_in_a_file(monkeypatch, tmp_path):
    images = dataset(dtype=np.float32)
    whole = image_window(images, 2.0, 10).patterns
    monkeypatch.setattr(model_window, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr("ptylive.engine.memory.ALWAYS_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 1000.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = image_window(images, 2.0, 10).patterns
    np.testing.assert_array_equal(found, whole)
    assert bytes_in_files(found.base) == found.nbytes


def test_a_model_that_does_not_fit_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 20_000.0)
    assert ModelWindow.of(window(), 3).size == 24
    with pytest.raises(MetadataError, match="a model of 32 x 32 pixels would take"):
        ModelWindow.of(window(), 4)


def test_a_window_smaller_than_the_images_is_refused():
    for size in (8, 10):
        assert image_window(dataset(), 2.0, size).size == size
    with pytest.raises(MetadataError, match="window_px = 8 is smaller than the images"):
        image_window(dataset((6, 9)), 2.0, 8)


def test_without_a_pixel_there_is_no_near_field():
    with pytest.raises(MetadataError, match="the near field needs image_pixel_A"):
        image_window(dataset(), None, "auto")
