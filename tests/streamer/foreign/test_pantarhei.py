"""Panta Rhei's archives: as saved by its versions since 24.03, and by RosettaSciIO's writer, which pickles."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign import pantarhei, rosetta
from ptylive.streamer.source import open_source

prz = pytest.importorskip("rsciio.pantarhei", reason="the extra `import` is not installed")
DATA = np.arange(2 * 3 * 4 * 5, dtype="<u2").reshape(2, 3, 4, 5)
METADATA = {
    "type": "4D",
    "content.types": ["CameraX", "CameraY", "ScanX", "ScanY"],
    "device.calib": [
        {"unit": unit, "value": value, "offset": 0.0} for unit, value in [("rad", 1e-3)] * 2 + [("m", 5e-11)] * 2
    ],
    "electron_gun.voltage": 60e3,
    "condenser.convergence_semi_angle": 0.033,
}


def written(path, data=DATA, save=np.savez, **changed):
    with path.open("wb") as file:
        save(file, data=data, meta_data_json=json.dumps([METADATA | changed]), file_format_version=3)
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_the_metadata_say(tmp_path, save):
    """RosettaSciIO maps a compressed array as if it were uncompressed, so the array is unpacked instead."""
    frames, header, notes = read(written(tmp_path / "a.prz", save=save))
    np.testing.assert_array_equal(frames, DATA.reshape(6, 4, 5))
    assert (header.scan.shape, header.scan.step_A) == ((2, 3), pytest.approx((0.5, 0.5)))
    assert header.detector.pixel_mrad == pytest.approx(1.0)
    assert (header.optics.energy_eV, header.optics.convergence_semiangle_mrad) == (60e3, pytest.approx(33.0))
    assert not any("pickled" in note for note in notes)


def test_scan_axes_that_lie_last_are_turned(tmp_path):
    kinds = ["ScanX", "ScanY", "CameraX", "CameraY"]
    path = written(
        tmp_path / "a.prz",
        DATA.transpose(2, 3, 0, 1),
        **{"content.types": kinds, "device.calib": METADATA["device.calib"][::-1]},
    )
    frames, header, _ = read(path)
    np.testing.assert_array_equal(frames, DATA.reshape(6, 4, 5))
    assert header.scan.step_A == pytest.approx((0.5, 0.5))


def test_pickled_metadata_are_not_read(tmp_path):
    """An archive from RosettaSciIO's writer."""
    axes = [
        {"name": name, "size": n, "navigate": nav, "scale": 1.0, "offset": 0.0, "units": "m"}
        for name, n, nav in zip("yxvu", DATA.shape, [True, True, False, False], strict=True)
    ]
    beam = {"General": {}, "Signal": {}, "Acquisition_instrument": {"TEM": {"beam_energy": 60}}}
    signal = {"data": DATA, "axes": axes, "metadata": beam, "original_metadata": {}}
    prz.file_writer(str(tmp_path / "a.prz"), signal)
    frames, header, notes = read(tmp_path / "a.prz")
    np.testing.assert_array_equal(frames, DATA.reshape(6, 4, 5))
    assert header.optics.energy_eV is None
    assert "its metadata are pickled and are not read" in notes[0]
    assert notes[0].endswith(": check it")  # shown before computations too: the scan may lie last


def test_a_rosettasciio_that_would_unpickle_is_not_asked(tmp_path, monkeypatch):
    path = written(tmp_path / "a.prz")
    monkeypatch.setattr(
        rosetta, "import_module", lambda _: SimpleNamespace(file_reader=lambda filename, lazy=False: [])
    )
    with pytest.raises(InputFileError, match="would unpickle") as caught:
        read(path)
    assert "upgrade" in caught.value.hint


def too_much_json(path):
    written(path, note="x" * 5000)


def without_data(path):
    np.savez(path.open("wb"), other=DATA)


def objects(path):
    written(path, np.array([[[{"a": 1}]]], dtype=object))


def cut(path):
    path.write_bytes(written(path).read_bytes()[:-30])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (too_much_json, "metadata are too large"),
        (without_data, "no array named data"),
        (objects, "Python objects"),
        (cut, "not a complete archive"),
        (lambda path: written(path, **{"content.types": "none"}), "RosettaSciIO cannot read it"),
        (lambda path: written(path, DATA[0, 0]), "the array is 4 x 5"),
    ],
)
def test_a_faulty_file_is_one_line(tmp_path, monkeypatch, make, says):
    monkeypatch.setattr(pantarhei, "_MOST_JSON_BYTES", 4096)
    make(tmp_path / "a.prz")
    with pytest.raises(InputFileError, match=says) as caught:
        read(tmp_path / "a.prz")
    assert "\n" not in caught.value.line()


def test_pieces_are_whole_patterns(tmp_path):
    written(tmp_path / "a.prz", np.zeros((3, 7, 64, 64), "<u2"), **{"content.types": METADATA["content.types"]})
    data, _ = pantarhei._checked(tmp_path / "a.prz")
    assert pantarhei._chunks(data) == (1, 7, 64, 64)
