"""DigitalMicrograph's files, made tag by tag (RosettaSciIO has no writer): order of the axes, units, damage."""

import os

import numpy as np
import pytest
from foreign_files import dm_bytes, dm_image

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

pytest.importorskip("rsciio", reason="the extra `import` is not installed")
DATA = np.arange(4 * 5 * 6 * 7, dtype="<u2").reshape(4, 5, 6, 7)
SCAN, DETECTOR = ((0.1, "nm"), (0.1, "nm")), ((0.4, "1/nm"), (0.4, "1/nm"))
TAGS = {
    "Microscope Info": {"Voltage": 200e3},
    "SI": {"Acquisition": {"Pixel time (s)": 2e-3}},
    "EELS": {"Experimental Conditions": {"Convergence semi-angle (mrad)": 21.0}},
}


def written(path, data=DATA, axes=(*SCAN, *DETECTOR), tags=None, beside=()):
    scales, units = zip(*axes, strict=True)
    image = dm_image(np.ascontiguousarray(data), units, scales, TAGS if tags is None else tags)
    path.write_bytes(dm_bytes({"ImageList": [*beside, image]}, int(path.suffix[-1])))
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize("name", ["a.dm3", "a.dm4"])
def test_what_the_tags_say(tmp_path, name):
    frames, header, notes = read(written(tmp_path / name))
    np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 7))
    assert (header.scan.shape, header.scan.step_A) == ((4, 5), pytest.approx((1.0, 1.0)))
    assert header.detector.pixel_invA == pytest.approx(0.04)
    assert (header.optics.energy_eV, header.optics.convergence_semiangle_mrad) == (200e3, 21.0)
    assert header.scan.dwell_time_us == pytest.approx(2000)
    assert "detector axes are the last two, by their units" in notes


def test_scan_axes_that_are_stored_last_are_turned(tmp_path):
    """In RosettaSciIO's own order the maps of single pixels would become patterns."""
    frames, header, notes = read(written(tmp_path / "a.dm4", DATA.transpose(2, 3, 0, 1), (*DETECTOR, *SCAN)))
    np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 7))
    assert (header.scan.shape, header.detector_shape) == ((4, 5), (6, 7))
    assert header.scan.step_A == pytest.approx((1.0, 1.0))
    assert header.detector.pixel_invA == pytest.approx(0.04)
    assert notes[0].startswith("by their units its axes are Qy, Qx, Ry, Rx: slow to read")


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (2, 0, 3, 1)], ids=["Ry, Qy, Rx, Qx", "Qy, Ry, Qx, Rx"])
def test_interleaved_axes_are_put_in_order(tmp_path, order):
    """Regression: only the halves of the axes were looked at, and the tag decided although the units tell."""
    axes = [(*SCAN, *DETECTOR)[axis] for axis in order]
    frames, header, notes = read(written(tmp_path / "a.dm4", DATA.transpose(order), axes))
    np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 7))
    assert header.scan.step_A == pytest.approx((1.0, 1.0))
    assert notes[0].startswith("by their units its axes are ")


def test_patterns_along_a_line_are_put_in_order(tmp_path):
    line, axes = DATA[0], (*DETECTOR, SCAN[0])
    frames, header, notes = read(written(tmp_path / "a.dm4", line.transpose(1, 2, 0), axes))
    np.testing.assert_array_equal(frames, line)
    assert (header.scan.step_A, header.detector_shape) == (pytest.approx((1.0, 1.0)), (6, 7))
    assert any(note.startswith("scan_step_A 1 is the step along the only axis") for note in notes)


@pytest.mark.parametrize("last", [False, True], ids=["detector", "scan"])
def test_a_file_that_is_cut_short_while_it_is_read_is_damaged(tmp_path, last):
    """Regression: the process ended with a bus error where the axes of the scan are stored last."""
    patterns = np.ones((8, 8, 32, 32), np.uint16)
    stored, axes = (patterns.transpose(2, 3, 0, 1), (*DETECTOR, *SCAN)) if last else (patterns, (*SCAN, *DETECTOR))
    path = written(tmp_path / "a.dm4", stored, axes)
    with open_source(path) as source:
        assert source.frames(np.arange(3)).all()
        os.truncate(path, 60_000)
        with pytest.raises(InputFileError, match=r"a\.dm4: frame 62, 63 cannot be read"):
            source.frames(np.array([62, 63]))


@pytest.mark.parametrize(
    ("meta", "scan", "said"),
    [
        ({"Data Order Swapped": True}, (4, 5), "(1)"),
        ({"Data Order Swapped": False}, (6, 7), "(0)"),
        ({}, (6, 7), "absent"),
    ],
)
def test_without_units_the_tag_decides(tmp_path, meta, scan, said):
    _, header, notes = read(written(tmp_path / "a.dm4", axes=[(1.0, "")] * 4, tags={"Meta Data": meta}))
    assert header.scan.shape == scan
    assert said in notes[0]
    assert notes[0].endswith(": check it") == (not meta)  # an old file, or one by another program
    assert (header.scan.step_A, header.optics.energy_eV) == (None, None)


def test_a_series_of_patterns_has_its_exposure(tmp_path):
    tags = {"Acquisition": {"Parameters": {"High Level": {"Exposure (s)": 0.5}}}}
    path = written(tmp_path / "a.dm4", DATA[0], ((1.0, "s"), *DETECTOR), tags)
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames, DATA[0])
    assert header.scan.shape is None
    assert header.scan.dwell_time_us == pytest.approx(5e5)


def test_images_beside_the_scan_are_left_alone(tmp_path):
    survey = dm_image(np.zeros((8, 8), "<f4"), ["nm", "nm"], [1, 1])
    path = tmp_path / "a.dm4"
    image = dm_image(DATA, *zip(*((unit, scale) for scale, unit in (*SCAN, *DETECTOR)), strict=True), TAGS)
    path.write_bytes(dm_bytes({"ImageList": [survey, image]}))
    np.testing.assert_array_equal(read(path)[0], DATA.reshape(20, 6, 7))


def two_scans(path):
    image = dm_image(DATA, ["nm"] * 4, [1] * 4)
    path.write_bytes(dm_bytes({"ImageList": [image, image]}))


def cut(path):
    path.write_bytes(written(path).read_bytes()[:-3000])


def spectra(path):
    """A spectrum image (energies, rows, columns)."""
    return written(path, DATA[:, 0], ((0.5, "eV"), *SCAN))


def an_image(path):
    path.write_bytes(dm_bytes({"ImageList": [dm_image(np.zeros((8, 8), "<f4"), ["nm", "nm"], [1, 1])]}))


def more_than_there_is(path):
    """Dimensions larger than the file, which is otherwise intact."""
    image = dm_image(DATA, ["nm"] * 4, [1] * 4)
    image["ImageData"]["Dimensions"] = [2**30, 2**30, 2**20, 2**20]
    path.write_bytes(dm_bytes({"ImageList": [image]}))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (two_scans, "2 data sets of 4 axes"),
        (spectra, "holds spectra, not diffraction patterns"),
        (an_image, "no data set of three or four axes"),
        (cut, "RosettaSciIO cannot read it"),
        (more_than_there_is, "a.dm4"),
        (lambda path: path.write_bytes(bytes(100)), "RosettaSciIO cannot read it"),
    ],
)
def test_a_faulty_file_is_one_line(tmp_path, make, says):
    make(tmp_path / "a.dm4")
    with pytest.raises(InputFileError) as caught:
        read(tmp_path / "a.dm4")
    assert says in caught.value.line()
    assert "\n" not in caught.value.line()
