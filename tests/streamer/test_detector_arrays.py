"""Images of a detector from files and arrays."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from stream_tools import make_frames, make_header, stored_recording

from ptylive.schema import Basis, InputFileError, MetadataError
from ptylive.streamer.detector_arrays import read_detector_arrays, with_arrays
from ptylive.streamer.source import open_array, open_source

IMAGE = np.arange(64, dtype=np.uint16).reshape(8, 8)


def saved(folder, array, name="image.npy"):
    np.save(folder / name, array)
    return folder / name


def test_an_image_and_a_scan_whose_mean_counts(tmp_path, monkeypatch):
    header = make_header()
    frames = make_frames(header)
    recording = stored_recording(tmp_path, header, frames, missing=slice(5, 30))
    with h5py.File(recording, "r+") as file:  # the content of another program's file is unknown
        file["data"][0, 5] = 9
    monkeypatch.setattr("ptylive.streamer.detector_arrays.READ_BYTES", 1000)
    given = {"dark_reference": str(saved(tmp_path, IMAGE)), "vacuum_pattern": recording, "gain_reference": None}
    read = read_detector_arrays(given)
    assert set(read) == {"dark_reference", "vacuum_pattern"}
    np.testing.assert_array_equal(read["dark_reference"], IMAGE)
    arrived = np.delete(frames, np.arange(5, 30), axis=0)
    np.testing.assert_allclose(read["vacuum_pattern"], arrived.mean(axis=0), rtol=1e-6)
    stack = saved(tmp_path, frames.reshape(6, 7, 8, 8), "stack.npy")
    np.testing.assert_allclose(read_detector_arrays({"dark_reference": stack})["dark_reference"], frames.mean(axis=0))


def test_a_dp_mask_names_the_pixels_that_count():
    counts, bad = np.zeros((4, 4), int), np.zeros((4, 4), bool)
    counts[1:3], bad[2, 2] = 1, True
    read = read_detector_arrays({"dp_mask": counts, "bad_pixel_mask": bad})
    assert set(read) == {"bad_pixel_mask"}
    np.testing.assert_array_equal(read["bad_pixel_mask"], (counts == 0) | bad)
    with pytest.raises(MetadataError, match="dp_mask excludes every pixel"):
        read_detector_arrays({"dp_mask": np.zeros((4, 4))})
    with pytest.raises(MetadataError, match=r"bad_pixel_mask \(3, 4\) pixels"):
        read_detector_arrays({"dp_mask": counts, "bad_pixel_mask": bad[:3]})


def test_a_mask_is_all_that_is_not_0():
    mask = read_detector_arrays({"bad_pixel_mask": IMAGE})["bad_pixel_mask"]
    assert mask.dtype == bool
    assert mask.sum() == 63


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("dark_reference", IMAGE[0], "shape"),
        ("dark_reference", np.zeros((0, 4)), "shape"),
        ("dark_reference", np.zeros((9000, 1)), "shape"),
        ("dark_reference", IMAGE * 1j, "not numbers"),
        ("vacuum_pattern", IMAGE * np.nan, "not numbers"),
        ("gain_reference", IMAGE * 0.0, "no value above 0"),
        ("gain_reference", np.full((8, 8), np.nan), "no value above 0"),
        ("dark_reference", np.full((8, 8), 1e39), "not numbers"),
        ("dark_reference", [1, 2], "not a file"),
        ("dark_reference", list(range(10_000)), "not a file"),
        ("vacuum_pattern", 5, "not a file"),
        ("dark_reference", True, "not a file"),
    ],
)
def test_what_is_no_image_is_refused(name, array, words):
    with pytest.raises(MetadataError, match=words) as error:
        read_detector_arrays({name: array})
    assert name in str(error.value)
    assert len(str(error.value)) < 200


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    for file in (tmp_path / "absent.npy", tmp_path / "absent.h5", tmp_path / "text.npy", Path("~nobody_here/x.npy")):
        with pytest.raises(InputFileError, match=file.name):
            read_detector_arrays({"dark_reference": str(file)})
    header = make_header()
    empty = stored_recording(tmp_path, header, make_frames(header))
    with h5py.File(empty, "r+") as file:
        file["metadata"].pop("received", None)
        file["metadata/received"] = np.zeros(header.frames, dtype=bool)
    with pytest.raises(InputFileError, match="no frame"):
        read_detector_arrays({"dark_reference": empty})


def test_a_scan_gets_what_fits_its_detector():
    header = make_header()
    got = with_arrays(header, {"dark_reference": IMAGE})
    np.testing.assert_array_equal(got.readout.dark, IMAGE)
    assert with_arrays(header, {}) is header
    with pytest.raises(MetadataError, match="dark_reference is 8 x 4, a frame 8 x 8 pixels"):
        with_arrays(header, {"dark_reference": IMAGE[:, :4]})
    compressed = replace(header, basis=Basis(kind="data", n_bright=3))
    with pytest.raises(MetadataError, match="dark_reference: the scan holds coefficients"):
        with_arrays(compressed, {"dark_reference": IMAGE})


@pytest.mark.parametrize("given", [99.5, "99.5", np.float32(99.5)])
def test_the_same_offset_in_all_pixels_is_a_number(given):
    header = make_header()
    got = with_arrays(header, read_detector_arrays({"dark_reference": given}))
    np.testing.assert_array_equal(got.readout.dark, np.full(header.detector_shape, 99.5))


@pytest.mark.parametrize("given", ["nan", "1e13", "99.5.npy"])
def test_other_words_name_a_file(given):
    with pytest.raises(InputFileError, match=f"dark_reference: {given}"):
        read_detector_arrays({"dark_reference": given})


def test_an_opened_scan_has_them_and_keeps_them(tmp_path):
    header = make_header()
    frames = make_frames(header)
    mask = np.eye(8) > 0
    path = stored_recording(tmp_path, replace(header, arrays={"bad_pixel_mask": mask}), frames)
    file = saved(tmp_path, IMAGE)
    values = {"detector.dark_reference": str(file), "bad_pixel_mask": IMAGE > 60, "energy_eV": 60e3}
    with open_source(path, values) as source:
        got = source.header
        np.testing.assert_array_equal(source.frames(np.arange(3)), frames[:3])
    assert got.optics.energy_eV == 60e3
    np.testing.assert_array_equal(got.arrays["bad_pixel_mask"], mask | (IMAGE > 60))
    again = stored_recording(tmp_path, replace(got, uid="again"), frames)
    with open_source(again, {}) as source:
        np.testing.assert_array_equal(source.header.arrays["dark_reference"], IMAGE)
    with open_array(frames.reshape(6, 7, 8, 8), {"gain_reference": np.full((8, 8), 2.0)}) as source:
        np.testing.assert_array_equal(source.header.readout.counts(frames)[0], 2.0 * frames)


def test_a_file_with_an_impossible_reference_is_refused(tmp_path):
    header = make_header()
    path = stored_recording(tmp_path, replace(header, arrays={"dark_reference": IMAGE}), make_frames(header))
    with h5py.File(path, "r+") as file:
        del file["metadata/dark_reference"]
        file["metadata/dark_reference"] = np.full((8, 8), np.nan)
    with (
        pytest.raises(InputFileError, match="/metadata/dark_reference holds values that are not numbers"),
        open_source(path),
    ):
        pass
