"""Files of the zoo are native files: the metadata told in them are read back, and the truth is not."""

import h5py
import numpy as np
import pytest
from zoo_scans import small_draw, written_scan

from benchmarks.zoo.files import blind_copy, half_copy, usable
from ptylive.streamer.source import open_source


def test_the_product_understands_them(tmp_path):
    drawn = small_draw(
        rotation_deg=-30.0, transform="transpose", defocus_A=120.0, flyback=1, beam_offset_px=(1.5, -2.0)
    )
    path, scan = written_scan(tmp_path, drawn)
    with open_source(path) as source:
        header = source.header
        assert header.scan.shape == (10, 12) and header.scan.flyback_frames == 1
        assert header.scan.rotation_deg == -30
        assert header.detector.transform == "transpose"
        assert header.optics.aberrations["C10"] == -120  # underfocus
        assert tuple(header.detector.beam_center_px) == pytest.approx((6.0, 9.5))
        assert header.detector.pixel_mrad == pytest.approx(1e3 * drawn.wavelength_A / drawn.window_A)
        np.testing.assert_array_equal(source.frames(np.arange(3)), scan.counts.reshape(-1, 16, 16)[:3])


def test_a_blind_copy_tells_nothing_that_could_be_found(tmp_path):
    path, _ = written_scan(tmp_path, small_draw(rotation_deg=-30.0))
    blind_copy(path, tmp_path / "blind.h5")
    with h5py.File(tmp_path / "blind.h5") as file:
        assert set(file) == {"data", "metadata"}
        told = set(file["metadata"].attrs)
    assert not told & {"rotation_deg", "defocus_A", "detector_transform", "beam_center_px", "name"}


def test_halves_share_no_pattern(tmp_path):
    path, _ = written_scan(tmp_path, small_draw(flyback=1))
    received = []
    for parity in (0, 1):
        half_copy(path, tmp_path / f"{parity}.h5", parity)
        with open_source(tmp_path / f"{parity}.h5") as source:
            received.append(source.received)
    assert (received[0] ^ received[1]).all()


def test_a_file_of_another_draw_is_not_used(tmp_path):
    drawn = small_draw()
    path, _ = written_scan(tmp_path, drawn)
    assert usable(path, drawn)
    assert not usable(path, small_draw(step_A=1.6))
    assert not usable(tmp_path / "none.h5", drawn)
