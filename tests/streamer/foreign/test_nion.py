"""Nion Swift's metadata: step, size and energy from wherever its versions store them, ignoring what is not a number."""

import json

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign import nion
from ptylive.streamer.foreign.nion import open_nion, read_described
from ptylive.streamer.source import open_source


def described(folder, content, shape=(4, 5, 6, 6)):
    path = folder / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_described(path, np.empty(shape))[1]


@pytest.mark.parametrize(
    "metadata",
    [
        {"hardware_source": {"high_tension_v": 60000}},
        {"hardware_source": {"autostem": {"high_tension_v": 60000}}},
        {"instrument": {"high_tension": 60000}},
        {"instrument": {"high_tension_v": 60000}},
        {"scan": {"scan_device_properties": {"EHT": 60000}}},
    ],
)
def test_the_energy_wherever_it_stands(tmp_path, metadata):
    assert described(tmp_path, {"metadata": metadata}) == {"energy_eV": 60e3}


def test_the_first_place_that_says_something_counts(tmp_path):
    given = {"hardware_source": {"high_tension_v": 60000}, "instrument": {"high_tension_v": 200000}}
    assert described(tmp_path, {"metadata": given})["energy_eV"] == 60e3


ODD = ["high", None, -1, 0, [60000], {"v": 60000}, 10**400]


@pytest.mark.parametrize("value", ODD, ids=["text", "nothing", "negative", "zero", "list", "table", "huge"])
def test_what_is_no_positive_number_is_not_taken(tmp_path, value):
    given = {"hardware_source": {"high_tension_v": value, "exposure": value, "convergence_angle_rad": value}}
    assert described(tmp_path, {"metadata": given}) == {}


@pytest.mark.parametrize(
    ("shape", "size", "step", "points"),
    [
        ((4, 5, 6, 6), None, 2.0, None),  # 10 Å over the longer side, 5 points
        ((20, 6, 6), [4, 5], 2.0, [4, 5]),
        ((20, 6, 6), [5, 5], 2.0, None),  # another scan's size: 25 points for 20 frames
        ((20, 6, 6), None, None, None),
        ((20, 6, 6), [4, 5, 1], None, None),
        ((20, 6, 6), [4, -5], None, None),
        ((20, 6, 6), "4 x 5", None, None),
    ],
)
def test_a_field_of_view_is_that_of_the_longer_side(tmp_path, shape, size, step, points):
    scan = {"fov_nm": 1.0} | ({} if size is None else {"scan_size": size})
    found = described(tmp_path, {"metadata": {"scan": scan}}, shape)
    assert found.get("scan_step_A") == (None if step is None else pytest.approx(step))
    assert found.get("scan_shape") == points


def test_axes_say_more_than_the_field_of_view(tmp_path):
    axes = [{"scale": 0.02, "units": "nm"}] * 2 + [{"scale": 1.5, "units": "mrad"}] * 2
    content = {"spatial_calibrations": axes, "metadata": {"scan": {"fov_nm": 1.0}}}
    assert described(tmp_path, content) == {"scan_step_A": pytest.approx([0.2, 0.2]), "detector_pixel_mrad": 1.5}
    line = described(tmp_path, {"spatial_calibrations": axes[1:]}, (20, 6, 6))
    assert line == {"scan_step_A": pytest.approx([0.2, 0.2]), "detector_pixel_mrad": 1.5}
    assert described(tmp_path, {"spatial_calibrations": axes}, (20, 6, 6)) == {}, "axes of another array"
    assert described(tmp_path, {"spatial_calibrations": [1, 2, 3, 4], "metadata": 7}) == {}


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[1]", "7", '{"a": "\xff"'])
def test_what_is_no_metadata_is_refused_by_name(tmp_path, content):
    with pytest.raises(InputFileError, match=r"a\.json is n"):
        described(tmp_path, content)


def test_files_too_large_for_metadata_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(nion, "MAX_JSON_BYTES", 10)
    with pytest.raises(InputFileError, match="too large to be a metadata file"):
        described(tmp_path, {"metadata": {"scan": {}}})


def test_metadata_alone_say_what_is_missing(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputFileError, match=r"has no frames next to it"), open_nion(tmp_path / "a.json"):
        pass
    np.save(tmp_path / "a.npy", np.zeros((20, 6, 6), np.uint16))
    with open_nion(tmp_path / "a.json") as file:
        assert file.notes == ("metadata of a.json: none of the needed values",)


def test_a_mark_of_an_editor_is_no_fault(tmp_path):
    assert described(tmp_path, "\ufeff" + json.dumps({"metadata": {"instrument": {"high_tension": 8e4}}})) == {
        "energy_eV": 80e3
    }


@pytest.mark.parametrize("content", ["[1, 2]", "hello"])
def test_a_file_that_only_has_the_name_is_to_be_renamed(tmp_path, content):
    """It may be anything that lies next to the frames, which the user did name."""
    with pytest.raises(InputFileError, match=r"a\.json is not") as caught:
        described(tmp_path, content)
    assert "rename the file if it does not describe" in caught.value.hint


def test_axes_of_the_detector_that_come_first_are_recognised_by_their_units(tmp_path):
    """Regression: the detector's axes were taken for those of the scan, as they lay in the file."""
    patterns = np.arange(3 * 4 * 6 * 5, dtype="<f4").reshape(3, 4, 6, 5)
    axes = [{"scale": 1.5, "units": "mrad"}] * 2 + [{"scale": 0.2, "units": "nm"}, {"scale": 0.3, "units": "nm"}]
    (tmp_path / "a.json").write_text(json.dumps({"spatial_calibrations": axes}))
    np.save(tmp_path / "a.npy", patterns.transpose(2, 3, 0, 1))
    np.savez(tmp_path / "a.npz", patterns.transpose(2, 3, 0, 1))
    for name in ("a.json", "a.npy", "a.npz"):
        with open_source(tmp_path / name) as source:
            np.testing.assert_array_equal(source.frames(np.arange(12)).reshape(patterns.shape), patterns)
            assert source.header.scan.step_A == pytest.approx((2.0, 3.0))
            assert source.header.detector.pixel_mrad == pytest.approx(1.5)
            assert any("its axes are Qy, Qx, Ry, Rx" in note for note in source.notes)


def test_spectra_are_no_patterns(tmp_path):
    """A spectrum image (rows, columns, energies) has as many axes as a list of patterns."""
    axes = [{"scale": 0.1, "units": "nm"}, {"scale": 0.1, "units": "nm"}, {"scale": 0.5, "units": "eV"}]
    with pytest.raises(InputFileError, match=r"a\.json describes spectra, not diffraction patterns"):
        described(tmp_path, {"spatial_calibrations": axes}, (4, 5, 100))
