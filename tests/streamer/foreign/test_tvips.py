"""TVIPS streams, written by RosettaSciIO: frames in order, high tension with its unit guessed correctly, parts."""

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

tvips = pytest.importorskip("rsciio.tvips", reason="the extra `import` is not installed")
DATA = np.arange(6 * 4 * 5, dtype="<u2").reshape(6, 4, 5)


def written(path, tension=200, most=None):
    axes = [
        {"name": name, "units": unit, "scale": scale, "offset": 0, "size": size, "navigate": name == "time"}
        for (name, unit, scale), size in zip(
            [("time", "s", 1), *[(n, "1/nm", 2) for n in ("dy", "dx")]], DATA.shape, strict=True
        )
    ]
    beam = {"Acquisition_instrument": {"TEM": {"beam_energy": tension}}}
    signal = {"data": DATA, "axes": axes, "metadata": beam, "attributes": {"_lazy": False}}
    tvips.file_writer(str(path), signal, max_file_size=most, show_progressbar=False)
    return path


def read(path, **values):
    with open_source(path, values) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize(("tension", "energy"), [(200, 200e3), (200_000, 200e3), (60, 60e3), (0, None)])
def test_frames_and_high_tension(tmp_path, tension, energy):
    frames, header, notes = read(written(tmp_path / "a_000.tvips", tension), scan_shape=(2, 2), skip_first=2)
    np.testing.assert_array_equal(frames, DATA)
    assert header.optics.energy_eV == energy
    assert (header.detector.pixel_invA, header.detector.pixel_mrad) == (None, None)
    assert any("skip_first" in note for note in notes)


def test_the_parts_are_read_with_the_first(tmp_path):
    written(tmp_path / "a_000.tvips", most=256 + 3 * 100)
    assert (tmp_path / "a_001.tvips").exists()
    np.testing.assert_array_equal(read(tmp_path / "a_000.tvips")[0], DATA)
    with pytest.raises(InputFileError, match="later part") as caught:
        read(tmp_path / "a_001.tvips")
    assert caught.value.hint == "open a_000.tvips"


def cut(path):
    written(path).write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    "make", [cut, lambda path: path.write_bytes(bytes(300)), lambda path: path.write_text("hello")]
)
def test_a_faulty_file_is_one_line(tmp_path, make):
    make(tmp_path / "a_000.tvips")
    with pytest.raises(InputFileError, match="RosettaSciIO cannot read it") as caught:
        read(tmp_path / "a_000.tvips")
    assert "\n" not in caught.value.line()


def test_a_name_that_no_recorder_gives(tmp_path):
    (tmp_path / "a.tvips").write_bytes(b"")
    with pytest.raises(InputFileError, match="valid tvips file"):
        read(tmp_path / "a.tvips")
