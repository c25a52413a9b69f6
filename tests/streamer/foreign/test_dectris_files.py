"""DECTRIS masters: frames of all data files in order, and nothing that is missing or does not fit."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.dectris_files import FrameFiles, open_dectris

DATA = np.arange(7 * 4 * 4, dtype="<u2").reshape(7, 4, 4)
DETECTOR = "entry/instrument/detector"


def master(folder, lengths=(3, 3, 1), **values):
    """A master with frames in files of n each, and values of its detector."""
    start = 0
    with h5py.File(folder / "s_master.h5", "w") as file:
        for n, length in enumerate(lengths, 1):
            with h5py.File(folder / f"s_data_{n:06d}.h5", "w") as part:
                part["entry/data/data"] = DATA[start : start + length]
            start += length
            file[f"entry/data/data_{n:06d}"] = h5py.ExternalLink(f"s_data_{n:06d}.h5", "/entry/data/data")
        file.require_group("entry/data")
        for name, value in values.items():
            file[f"{DETECTOR}/{name.replace('__', '/')}"] = value
    return folder / "s_master.h5"


def test_frames_of_all_files_lie_one_after_the_other(tmp_path):
    with open_dectris(master(tmp_path)) as file:
        assert file.frames.shape == DATA.shape
        for first in range(8):
            for last in range(first, 9):
                np.testing.assert_array_equal(file.frames[first:last,], DATA[first:last])
        assert file.chunk is None, "they are not stored as the stream sends them"


def scan_file(folder, **values):
    with h5py.File(folder / "s.h5", "w") as file:
        file.create_group("STEM Metadata").attrs.update(values)


def test_what_master_and_microscope_say(tmp_path):
    path = master(
        tmp_path,
        detectorSpecific__photon_energy=200e3,
        frame_time=1e-4,
        saturation_value=4095,
        beam_center_x=1.5,
        beam_center_y=2.5,
        detectorSpecific__pixel_mask=np.eye(4, dtype="<u4"),
    )
    scan_file(tmp_path, **{"NumPixelsX": 3, "NumPixelsY": 2, "Pixel Size": 0.05, "High Tension": 80e3})
    with open_dectris(path) as file:
        assert file.metadata == {
            "energy_eV": 80e3,
            "dwell_time_us": pytest.approx(100.0),
            "saturation_value": 4095,
            "beam_center_px": [2.5, 1.5],
            "scan_shape": [2, 3],
            "scan_step_A": pytest.approx(0.5),
        }
        np.testing.assert_array_equal(file.arrays["bad_pixel_mask"], np.eye(4, dtype=bool))


@pytest.mark.parametrize(
    "values", [{}, {"NumPixelsX": 3, "NumPixelsY": 3}, {"NumPixelsX": 0, "NumPixelsY": 2}, {"NumPixelsX": "3"}]
)
def test_a_scan_that_does_not_fit_the_frames_is_not_taken(tmp_path, values):
    path = master(tmp_path, detectorSpecific__pixel_mask=np.zeros((4, 4), "<u4"), frame_time=np.zeros(2))
    scan_file(tmp_path, **values)
    with open_dectris(path) as file:
        assert (file.metadata, file.arrays) == ({}, {})
        assert file.notes == ("scan of s.h5: no matching values",)


def other_shape(folder):
    path = master(folder)
    with h5py.File(folder / "s_data_000002.h5", "w") as part:
        part["entry/data/data"] = np.zeros((3, 4, 5), "<u2")
    return path


def empty_part(folder):
    path = master(folder)
    with h5py.File(folder / "s_data_000002.h5", "w") as part:
        part.create_group("entry/data")
    return path


def dangling(folder):
    path = master(folder)
    with h5py.File(path, "a") as file:
        file["entry/data/data_000004"] = h5py.SoftLink("/nowhere")
    return path


def a_group(folder):
    path = master(folder, lengths=())
    with h5py.File(path, "a") as file:
        file.create_group("entry/data/data")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_shape, "different shapes or types"),
        (empty_part, "holds no frames at /entry/data/data"),
        (dangling, "data_000004 holds no frames"),
        (a_group, "data holds no frames"),
        (lambda folder: master(folder, lengths=()), "names no data files"),
    ],
)
def test_masters_that_lead_nowhere_are_refused(tmp_path, make, words):
    with pytest.raises(InputFileError, match=words), open_dectris(make(tmp_path)):
        pass


def test_a_pattern_is_read_from_the_file_that_holds_it():
    parts = [DATA[:3], DATA[3:6], DATA[6:]]
    frames = FrameFiles.of("master", parts)
    assert (frames.shape, frames.dtype, frames.starts) == (DATA.shape, DATA.dtype, (0, 3, 6, 7))


def test_a_nexus_file_with_the_scan_where_a_master_has_its_parts_is_read(tmp_path):
    patterns = np.arange(2 * 3 * 4 * 5, dtype="<u2").reshape(2, 3, 4, 5)
    path = tmp_path / "scan.nxs"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = patterns
    with open_dectris(path) as opened:
        assert np.array_equal(opened.frames[:], patterns)
        assert opened.notes == ("patterns read from entry/data/data",)
