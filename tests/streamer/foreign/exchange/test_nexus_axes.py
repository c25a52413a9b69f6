"""Axes of NeXus groups: step and pixel by their units, the order by which of them are lengths."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.arange(3 * 4 * 6 * 5, dtype="<u2").reshape(3, 4, 6, 5)
AXES = {"y": (0.05, "nm"), "x": (0.04, b"nm"), "ky": (1.5, "mrad"), "kx": (1.5, "mrad")}


def nexus(path, names=("y", "x", "ky", "kx"), group="entry/scan", name="patterns", **changed):
    """A group NXdata; ``names``: order of its axes. ``changed``: vectors in place of those that fit."""
    order = [list(AXES).index(axis) for axis in names]
    with h5py.File(path, "w") as file:
        found = file.create_group(group)
        found.attrs.update({"NX_class": "NXdata", "signal": name, "axes": np.array(names, dtype="S")})
        found[name] = DATA.transpose(order)
        for axis, length in zip(names, found[name].shape, strict=True):
            step, unit = AXES[axis]
            found[axis] = changed.get(axis, 7 + step * np.arange(length))
            found[axis].attrs["units"] = unit
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize("place", [{}, {"group": "entry/data", "name": "data"}], ids=["HyperSpy", "entry/data/data"])
@pytest.mark.parametrize("names", [("y", "x", "ky", "kx"), ("ky", "kx", "y", "x")])
def test_axes_give_order_step_and_pixel(tmp_path, names, place):
    frames, header, notes = read(nexus(tmp_path / "a.nxs", names, **place))
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert header.scan.step_A == pytest.approx((0.5, 0.4))
    assert header.detector.pixel_mrad == pytest.approx(1.5)
    assert any("its axes are Qy, Qx, Ry, Rx" in note for note in notes) == (names[0] == "ky")


LINE = DATA[0]


def line(path, names=("x", "ky", "kx"), group="entry/data", name="data", **units):
    """A group NXdata of patterns along a line; ``units``: those that replace the usual ones."""
    order = [list(AXES).index(axis) - 1 for axis in names]
    with h5py.File(path, "w") as file:
        found = file.create_group(group)
        found.attrs.update({"NX_class": "NXdata", "signal": name, "axes": np.array(names, dtype="S")})
        found[name] = LINE.transpose(order)
        for axis, length in zip(names, found[name].shape, strict=True):
            found[axis] = AXES[axis][0] * np.arange(length)
            found[axis].attrs["units"] = units.get(axis, AXES[axis][1])
    return path


@pytest.mark.parametrize("place", [{}, {"group": "entry/scan", "name": "patterns"}], ids=["data", "patterns"])
@pytest.mark.parametrize("names", [("x", "ky", "kx"), ("ky", "kx", "x")])
def test_patterns_along_a_line(tmp_path, names, place):
    """Regression: read as frames of a DECTRIS detector, without step and pixel, and in the order of the file."""
    frames, header, notes = read(line(tmp_path / "a.nxs", names, **place))
    np.testing.assert_array_equal(frames, LINE)
    assert header.scan.step_A == pytest.approx((0.4, 0.4))
    assert header.detector.pixel_mrad == pytest.approx(1.5)
    assert any("scan_step_A 0.4 is the step along the only axis of the scan: check it" in note for note in notes)
    assert any("its axes are Qy, Qx, N" in note for note in notes) == (names[0] == "ky")


@pytest.mark.parametrize("place", [{}, {"group": "entry/scan", "name": "patterns"}], ids=["data", "patterns"])
def test_images_and_spectra_are_no_line_of_patterns(tmp_path, place):
    """Regression: spectra of an energy axis were read as patterns where DECTRIS has them."""
    spectra = line(tmp_path / "spectra.nxs", x="eV", ky="nm", kx="nm", **place)
    with pytest.raises(InputFileError, match="spectra, not diffraction patterns" if not place else "no data set /data"):
        read(spectra)
    images = line(tmp_path / "images.nxs", x="s", ky="nm", kx="nm", group="entry/scan", name="images")
    with pytest.raises(InputFileError, match=r"no data set /data, but /entry/scan/images \(4 x 6 x 5\)"):
        read(images)


@pytest.mark.parametrize("odd", [np.zeros(2), np.array(["a", "b", "c"], "S1"), np.zeros(())], ids=str)
def test_axes_that_do_not_fit_say_nothing(tmp_path, odd):
    _, header, _ = read(nexus(tmp_path / "a.h5", y=odd))
    assert header.scan.step_A is None
    assert header.detector.pixel_mrad == pytest.approx(1.5)


@pytest.mark.parametrize(("values", "step"), [([0.0, 0.043, 0.098], 0.49), ([0.0, 0.01, 0.1], None)])
def test_the_step_is_the_mean_of_steps_that_are_nearly_equal(tmp_path, values, step):
    """Regression: the first two values decided, for encoders that jitter as for an axis of squares."""
    _, header, _ = read(nexus(tmp_path / "a.nxs", y=np.array(values)))
    assert header.scan.step_A == (None if step is None else pytest.approx((step, 0.4)))


@pytest.mark.parametrize("stated", ["ky:kx:y:x", "ky,kx,y,x", "[ky, kx, y, x]"])
def test_axes_that_the_data_set_names(tmp_path, stated):
    """Regression: as NeXus had it until 2014; the axes of the detector were taken for those of the scan."""
    path = nexus(tmp_path / "a.nxs", ("ky", "kx", "y", "x"))
    with h5py.File(path, "a") as file:
        del file["entry/scan"].attrs["axes"]
        file["entry/scan/patterns"].attrs.update({"signal": 1, "axes": stated})
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert header.scan.step_A == pytest.approx((0.5, 0.4))


def test_a_point_stands_for_an_axis_without_values(tmp_path):
    """Regression: such files were refused as damaged."""
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        file["entry/scan"].attrs["axes"] = ["y", "x", ".", "."]
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert header.scan.step_A == pytest.approx((0.5, 0.4))
    assert header.detector.pixel_mrad is None


@pytest.mark.parametrize("names", [("y", "x", "ky", "kx"), ("ky", "kx", "y", "x"), ("y", "ky", "x", "kx")])
def test_dimension_scales_are_as_good(tmp_path, names):
    """Regression: those of netCDF and h5py were not looked at, and the axes of the detector taken for the scan's."""
    path = nexus(tmp_path / "a.h5", names)
    with h5py.File(path, "a") as file:
        del file["entry/scan"].attrs["axes"]
        for number, axis in enumerate(names):
            file[f"entry/scan/{axis}"].make_scale(axis)
            file["entry/scan/patterns"].dims[number].attach_scale(file[f"entry/scan/{axis}"])
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert header.scan.step_A == pytest.approx((0.5, 0.4))
    assert header.detector.pixel_mrad == pytest.approx(1.5)


def test_scales_that_are_gone_say_nothing(tmp_path):
    path = nexus(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["entry/scan"].attrs["axes"]
        file["entry/scan/y"].make_scale("y")
        file["entry/scan/patterns"].dims[0].attach_scale(file["entry/scan/y"])
        del file["entry/scan/y"]
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert (header.scan.step_A, header.detector.pixel_mrad) == (None, None)


def test_axes_whose_names_lead_nowhere_say_nothing(tmp_path):
    """Regression: a RuntimeError of HDF5, which names neither file nor field."""
    path = nexus(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["entry/scan/circle"] = h5py.SoftLink("/entry/scan/circle")
        file["entry/scan"].attrs["axes"] = ["..", "/", "circle", "kx"]
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert (header.scan.step_A, header.detector.pixel_mrad) == (None, None)


def test_names_of_axes_may_be_padded(tmp_path):
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        file["entry/scan"].attrs["axes"] = np.array([b"y ", b"x ", b" ky", b"kx"], "S3")
    _, header, _ = read(path)
    assert header.scan.step_A == pytest.approx((0.5, 0.4))
    assert header.detector.pixel_mrad == pytest.approx(1.5)


def test_an_axis_that_cannot_be_read_here_is_noted(tmp_path):
    """Regression: the scan was refused, with a remedy that was meant for patterns in another file."""
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        for axis in ("y", "kx"):
            del file["entry/scan"][axis]
        file["entry/scan/y"] = h5py.ExternalLink("motors.h5", "/y")
        file["entry/scan/kx"] = h5py.Empty("f4")
    frames, header, notes = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert (header.scan.step_A, header.detector.pixel_mrad) == (None, None)
    unread = [note for note in notes if "not used as an axis; give scan_step_A or detector_pixel_mrad" in note]
    assert len(unread) == 2
    assert any("a.nxs: y is an external link" in note for note in unread)
    assert any("a.nxs: /entry/scan/kx holds nothing" in note for note in unread)


def test_a_damaged_axis_is_named(tmp_path):
    """Regression: an OSError of HDF5, which names neither file nor field."""
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        del file["entry/scan/kx"]
        found = file.create_dataset("entry/scan/kx", data=1.5 * np.arange(5), chunks=(5,), compression="gzip")
        found.attrs["units"] = "mrad"
        chunk = found.id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(raw)
    with pytest.raises(InputFileError, match=r"a\.nxs: the axis /entry/scan/kx is damaged") as caught:
        read(path)
    assert 'del file["/entry/scan/kx"]' in caught.value.line()


@pytest.mark.parametrize("axes", ["y", np.array(["y", "x"], "S"), 7])
def test_axes_that_are_not_all_named_say_nothing(tmp_path, axes):
    path = nexus(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["entry/scan"].attrs["axes"] = axes
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert (header.scan.step_A, header.detector.pixel_mrad) == (None, None)
