"""Velox's series of patterns, in the layout that RosettaSciIO reads; specimen images are not mistaken for them."""

from unicodedata import normalize

import h5py
import numpy as np
import pytest
from foreign_files import velox, velox_metadata

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.velox import recognises
from ptylive.streamer.source import open_source

DATA = np.arange(6 * 4 * 5, dtype="<u2").reshape(6, 4, 5)


def read(path, **values):
    with open_source(path, values) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize(
    ("unit", "size", "name", "value"), [("1/m", 2e8, "pixel_invA", 0.02), ("rad", 1e-3, "pixel_mrad", 1)]
)
def test_a_series_of_a_camera(tmp_path, unit, size, name, value):
    haadf = velox_metadata("m", 1e-11)
    images = {"aa": (DATA, velox_metadata(unit, size)), "bb": (DATA, haadf), "cc": (DATA[:1], haadf)}
    velox(tmp_path / "a.emd", images)
    frames, header, notes = read(tmp_path / "a.emd", scan_shape=(2, 3))
    np.testing.assert_array_equal(frames, DATA)
    assert (header.scan.shape, header.detector_shape) == ((2, 3), (4, 5))
    assert getattr(header.detector, name) == pytest.approx(value)
    assert header.optics.energy_eV == 300e3
    assert header.scan.dwell_time_us == pytest.approx(1000)
    assert header.optics.convergence_semiangle_mrad is None
    assert "series read: aa" in notes
    assert any("beam convergence is not used" in note for note in notes)


def test_rosettasciio_reads_the_same_patterns(tmp_path):
    """Shows that the layout assumed by the test is RosettaSciIO's own."""
    reader = pytest.importorskip("rsciio.emd").file_reader
    velox(tmp_path / "a.emd", {"aa": (DATA, velox_metadata())})
    (signal,) = reader(str(tmp_path / "a.emd"))
    np.testing.assert_array_equal(signal["data"], read(tmp_path / "a.emd")[0])
    units = [normalize("NFKC", axis["units"]) for axis in signal["axes"][1:]]  # micro sign or mu, by version
    assert units == [normalize("NFKC", "1 / µm")] * 2
    assert signal["axes"][1]["scale"] == pytest.approx(200)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ({"aa": (DATA, velox_metadata("m", 1e-11))}, "no series of diffraction patterns"),
        ({"aa": (DATA[:1], velox_metadata())}, "no series of diffraction patterns"),
        ({"aa": (DATA, {})}, "no series of diffraction patterns"),
        ({"aa": (DATA, [])}, "no series of diffraction patterns"),
        ({"aa": (DATA, velox_metadata()), "bb": (DATA, velox_metadata())}, "2 series of patterns"),
    ],
)
def test_what_is_no_scan_is_one_line(tmp_path, images, says):
    velox(tmp_path / "a.emd", images)
    with pytest.raises(InputFileError, match=says):
        read(tmp_path / "a.emd")


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b"\xff"])
def test_metadata_that_are_no_json_are_one_line(tmp_path, text):
    velox(tmp_path / "a.emd", {"aa": (DATA, velox_metadata())})
    with h5py.File(tmp_path / "a.emd", "a") as file:
        del file["Data/Image/aa/Metadata"]
        file["Data/Image/aa/Metadata"] = np.frombuffer(text, np.uint8)[:, None]
    with pytest.raises(InputFileError, match="not readable as JSON"):
        read(tmp_path / "a.emd")


def test_without_metadata_nothing_is_taken_for_patterns(tmp_path):
    velox(tmp_path / "a.emd", {"aa": (DATA, velox_metadata())})
    with h5py.File(tmp_path / "a.emd", "a") as file:
        assert recognises(file)
        del file["Data/Image/aa/Metadata"]
    with pytest.raises(InputFileError, match="no series"):
        read(tmp_path / "a.emd")
    with h5py.File(tmp_path / "a.emd", "a") as file:
        del file["Data/Image"]
        assert not recognises(file)
