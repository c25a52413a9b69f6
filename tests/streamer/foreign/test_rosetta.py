"""What RosettaSciIO's readers report about a scan: units, guesses that are mentioned, headers next to files."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign import rosetta
from ptylive.streamer.source import open_source

dask_array = pytest.importorskip("dask.array", reason="the extra `import` is not installed")


@pytest.fixture
def told(monkeypatch):
    """A reader that returns n signals of a shape, with metadata."""

    def says(shape=(4, 5, 6, 6), axes=(), signals=1, **found):
        given = {"data": dask_array.zeros(shape, dtype="u2"), "axes": list(axes), **found}
        monkeypatch.setattr(rosetta, "import_module", lambda _name: Reader(given, signals))

    return says


class Reader:
    def __init__(self, given, signals):
        self._given, self._signals = given, signals

    def file_reader(self, _name, *, lazy):
        assert lazy
        return [self._given] * self._signals


def opened(function, path):
    path.touch()
    path.with_suffix(".mib").touch()
    with function(path) as file:
        return file


def axis(scale, units):
    return {"scale": scale, "units": units}


HSPY = {"Acquisition_instrument": {"TEM": {"beam_energy": 200.0, "convergence_angle": 21.0}}}


def test_hyperspy_says_step_pixel_energy_and_angle(told, tmp_path):
    axes = [axis(0.5, "Å")] * 2 + [axis(2.0, "mrad")] * 2
    told(axes=axes, metadata=HSPY)
    found = opened(rosetta.open_hspy, tmp_path / "a.hspy")
    wanted = {"scan_step_A": [0.5, 0.5], "detector_pixel_mrad": 2.0, "energy_eV": 200e3}
    assert found.metadata == {**wanted, "convergence_semiangle_mrad": 21.0}
    told((20, 6, 6), axes=axes[1:])
    assert opened(rosetta.open_hspy, tmp_path / "a.hspy").metadata == {k: wanted[k] for k in list(wanted)[:2]}


def test_whatever_a_decoder_raises_is_damage(tmp_path):
    """numcodecs raises RuntimeError, zlib its own error: neither is one of ours, and both mean damaged bytes."""

    def decode(_block):
        raise RuntimeError("error during blosc decompression: -1")

    array = dask_array.zeros((4, 5, 6, 6), dtype="u2").map_blocks(decode, dtype="u2", meta=np.zeros((), "u2"))
    with pytest.raises(OSError, match="blosc decompression"):
        rosetta.LazyFrames(array)[0, slice(0, 2)]


def test_unequal_pixels_are_told_of(told, tmp_path):
    told(axes=[axis(0.5, "Å")] * 2 + [axis(2.0, "mrad"), axis(3.0, "mrad")])
    found = opened(rosetta.open_hspy, tmp_path / "a.hspy")
    assert found.metadata == {"scan_step_A": [0.5, 0.5]}
    assert ["2 by 3 mrad" in note for note in found.notes] == [True]


@pytest.mark.parametrize(
    "axes",
    [
        [axis(0.1, "nm"), axis(0.1, "nm"), axis(10.0, "eV")],
        [axis(1.0, "") | {"navigate": navigate} for navigate in (True, True, False)],
    ],
    ids=["energies", "one axis of a signal"],
)
def test_spectra_are_no_patterns(told, tmp_path, axes):
    """A spectrum image (rows, columns, energies) has as many axes as a list of patterns."""
    told((4, 5, 100), axes=axes)
    with pytest.raises(InputFileError, match=r"a\.hspy holds spectra, not diffraction patterns"):
        opened(rosetta.open_hspy, tmp_path / "a.hspy")


@pytest.mark.parametrize("metadata", [{}, {"Acquisition_instrument": 7}, {"Acquisition_instrument": {"TEM": {}}}])
def test_what_is_not_there_is_not_told(told, tmp_path, metadata):
    told(axes=[axis(None, None)] * 4, metadata=metadata)
    assert opened(rosetta.open_hspy, tmp_path / "a.hspy").metadata == {}


def test_names_with_dots_are_found(told, tmp_path):
    told(metadata={"Acquisition_instrument.TEM": {"beam_energy": 80.0}, "Acquisition_instrument": {"TEM": {}}})
    assert opened(rosetta.open_hspy, tmp_path / "a.hspy").metadata == {"energy_eV": 80e3}


@pytest.mark.parametrize(
    ("shape", "scan_shape"), [((4, 5, 6, 6), [4, 5]), ((1, 20, 6, 6), None), ((20, 6, 6), None)], ids=str
)
def test_a_merlin_files_shape_is_a_guess_that_is_said(told, tmp_path, shape, scan_shape):
    told(shape, metadata={"Acquisition_instrument": {"dwell_time": 1e-3}})
    found = opened(rosetta.open_mib, tmp_path / "a.hdr")
    assert found.frames.shape == (20, 6, 6)
    assert found.metadata.get("scan_shape") == scan_shape
    assert found.metadata["dwell_time_us"] == pytest.approx(1000.0)
    assert any("is guessed" in note for note in found.notes) is (scan_shape is not None)
    told(shape)
    assert "dwell_time_us" not in opened(rosetta.open_mib, tmp_path / "a.mib").metadata


@pytest.mark.parametrize(("volts", "metadata"), [(2e5, {"energy_eV": 2e5}), (0, {}), (None, {})])
def test_a_blockfile_says_its_energy_where_it_knows_it(told, tmp_path, volts, metadata):
    header = {} if volts is None else {"Beam_energy": volts}
    told(axes=[axis(1.0, "pixels")] * 4, original_metadata={"blockfile_header": header})
    assert opened(rosetta.open_blo, tmp_path / "a.blo").metadata == metadata


@pytest.mark.parametrize("signals", [0, 2])
def test_one_signal_is_asked_for(told, tmp_path, signals):
    told(signals=signals)
    with pytest.raises(InputFileError, match=f"holds {signals} signals"):
        opened(rosetta.open_blo, tmp_path / "a.blo")


def test_the_header_of_an_empad_file_is_the_one_that_names_it(told, tmp_path):
    told(original_metadata={"root": {"iom_measurements": {"source.get_voltage": 3e5}}})
    (tmp_path / "a.xml").mkdir()
    with pytest.raises(InputFileError, match=r"no \.xml file next to it names it"):
        opened(rosetta.open_empad, tmp_path / "scan.raw")
    (tmp_path / "b.xml").write_text('<raw_file filename="other.raw"/>')
    (tmp_path / "c.xml").write_text('<raw_file filename="scan.raw"/>')
    assert rosetta._empad_header(tmp_path / "scan.raw") == tmp_path / "c.xml"
    assert opened(rosetta.open_empad, tmp_path / "scan.raw").metadata == {"energy_eV": 3e5}


def test_a_reader_that_lacks_something_when_it_is_called(monkeypatch, tmp_path):
    class Lacking:
        def file_reader(self, *_args, **_given):
            raise ImportError("No module named 'sparse'")

    monkeypatch.setattr(rosetta, "import_module", lambda _name: Lacking())
    with pytest.raises(InputFileError, match="needs RosettaSciIO"):
        opened(rosetta.open_blo, tmp_path / "a.blo")


def test_dead_pixels_of_an_empad_are_no_counts(told, tmp_path, monkeypatch):
    told()
    data = np.ones((2, 3, 4, 4), np.float32)
    data[0, 0, 1, 1] = np.nan
    monkeypatch.setattr(rosetta, "_read", lambda *_: {"data": dask_array.from_array(data), "axes": []})
    found = opened(rosetta.open_empad, tmp_path / "a.xml")
    assert np.asarray(found.frames[0, 0:1])[0, 1, 1] == 0


def test_a_transposed_signal_of_hyperspy_is_turned(tmp_path, monkeypatch):
    """Images over the detector, as ``signal.T`` has them: recognised by their units."""
    patterns = np.arange(4 * 5 * 6 * 7, dtype="u2").reshape(4, 5, 6, 7)
    stored = dask_array.from_array(patterns.transpose(2, 3, 0, 1))
    given = {"data": stored, "axes": [axis(0.02, "1/Å")] * 2 + [axis(0.5, "Å"), axis(0.4, "Å")]}
    monkeypatch.setattr(rosetta, "import_module", lambda _name: Reader(given, 1))
    found = opened(rosetta.open_hspy, tmp_path / "a.hspy")
    assert found.frames.shape == (4, 5, 6, 7)
    assert np.array_equal(found.frames[1:3, 2], patterns[1:3, 2])
    assert found.metadata == {"scan_step_A": [0.5, 0.4], "detector_pixel_invA": 0.02}
    assert any("slow to read" in note for note in found.notes)


def mib(numbers, pauses=(), cut=0):
    """A Merlin file of one chip of 8 x 8 pixels, each frame filled with its number; extra time passes at ``pauses``."""
    parts, at = [], 0
    for place, number in enumerate(numbers):
        at += 5 if place in pauses else 1
        text = f"MQ1,{number:06d},00384,01,0008,0008,U16,   1x1,01,2026-01-01 12:00:00,0.001,0,0,0,4.0E+1,5.1E+2,"
        text += f"MQ1A,2026-01-01T12:00:00.{at:06d}000Z,1000000ns,12,"
        parts.append(text.encode().ljust(384) + np.full(64, place, ">u2").tobytes())
    data = b"".join(parts)
    return data[: len(data) - cut]


@pytest.mark.parametrize(
    ("data", "frames", "said"),
    [
        (mib(range(1, 17)), 16, ""),
        (mib(range(16)), 16, ""),
        (mib(range(1, 17), pauses=(5,)), 16, ""),
        (mib([*range(1, 6), *range(7, 18)], pauses=(5,)), 16, "frames numbered 1 to 17: 1 missing (6)"),
        (mib([1, 2, 3, 3, 5, 6, 7, 8]), 8, "numbered 1 to 8: 1 missing (4) and 1 more than once (3); they are read"),
        (mib([1, 2, 2, 3, 4]), 5, "1 more than once (2)"),
        (mib([1, 2, 3, 30, 31]), 5, "26 missing (4, 5, 6, 7, 8, …)"),
        (mib([1, 2, 4, 3, 5]), 5, "some out of order"),
        (mib(range(1, 17), cut=100), 15, "the file ends within a frame"),
    ],
)
def test_a_mib_has_all_of_its_frames_and_says_which_it_lacks(tmp_path, data, frames, said):
    """RosettaSciIO guesses lines from a pause and omits frames that do not complete a line."""
    pytest.importorskip("rsciio", reason="the extra `import` is not installed")
    (tmp_path / "a.mib").write_bytes(data)
    with rosetta.open_mib(tmp_path / "a.mib") as file:
        found = file.frames[:]
        notes = [note for note in file.notes if "numbered" in note or "ends within" in note]
    np.testing.assert_array_equal(found[:, 0, 0], np.arange(frames))
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)


@pytest.mark.parametrize("name", ["a.MIB", "a.HDR"])
def test_a_mib_in_capitals_is_to_be_renamed(tmp_path, name):
    """RosettaSciIO replaces .mib by .hdr in the name, and took the file itself for its header."""
    (tmp_path / "a.MIB").write_bytes(mib(range(4)))
    (tmp_path / "a.HDR").touch()
    with pytest.raises(InputFileError, match=r"a\.MIB: RosettaSciIO opens only \.mib") as caught:
        opened_as_it_is(tmp_path / name)
    assert "rename it to a.mib" in caught.value.hint


def opened_as_it_is(path):
    with rosetta.open_mib(path) as file:
        return file


@pytest.mark.parametrize(
    "header", ["", "hello", "Frames per Trigger (Number):\t0\nFrames in Acquisition (Number):\t4\n"]
)
def test_a_header_that_is_none_is_named(tmp_path, header):
    pytest.importorskip("rsciio", reason="the extra `import` is not installed")
    (tmp_path / "a.mib").write_bytes(mib(range(4)))
    (tmp_path / "a.hdr").write_text(header)
    with pytest.raises(InputFileError, match=r"a\.mib: RosettaSciIO cannot read it") as caught:
        opened_as_it_is(tmp_path / "a.mib")
    assert "and a.hdr its header?" in caught.value.hint
    (tmp_path / "a.hdr").unlink()
    assert opened_as_it_is(tmp_path / "a.mib").frames.shape == (4, 8, 8)


@pytest.mark.parametrize("name", ["a.blo", "a.xml", "a.raw", "a.hspy", "a.zspy", "a.dm4", "a.mib", "a_000.tvips"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name, make):
    make(tmp_path / name)
    if (name, make) != ("a.zspy", Path.mkdir):  # that is what such scans are
        with pytest.raises(InputFileError, match=f"{name} is not a file"), open_source(tmp_path / name):
            pass


@pytest.mark.parametrize(("name", "companion"), [("a.mib", "a.hdr"), ("a.raw", "a.xml")])
def test_a_companion_that_is_a_pipe_is_not_waited_for(tmp_path, name, companion):
    (tmp_path / name).write_bytes(mib(range(4)))
    os.mkfifo(tmp_path / companion)
    with (
        pytest.raises(InputFileError, match=r"a\.hdr is not a file|no \.xml file next to it"),
        open_source(tmp_path / name),
    ):
        pass


@pytest.mark.parametrize("chunks", [(1, 2, 6, 5), (3, 4, 2, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1)])
def test_patterns_of_hyperspy_are_read_from_their_data_set(tmp_path, monkeypatch, chunks, order):
    """Regression: dask decoded all chunks of a pattern anew for each, 20 s for 63 patterns in 480 chunks."""
    wanted = np.arange(3 * 4 * 6 * 5, dtype=">u2").reshape(3, 4, 6, 5)
    units = [("Å", 0.5), ("Å", 0.4), ("1/Å", 0.02), ("1/Å", 0.02)]
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        signal = file.create_group("Experiments/scan")
        stored = tuple(chunks[at] for at in order)
        signal.create_dataset("data", data=wanted.transpose(order), chunks=stored, compression="gzip")
        for name in ("metadata/General", "metadata/Signal", "original_metadata", "learning_results"):
            signal.create_group(name)
        for n, at in enumerate(order):
            unit, scale = units[at]
            told = {"size": wanted.shape[at], "navigate": n < 2, "scale": scale, "units": unit, "offset": 0.0}
            signal.create_group(f"axis-{n}").attrs.update(told)
    monkeypatch.setattr(rosetta.LazyFrames, "__getitem__", None)
    with open_source(tmp_path / "a.hspy") as source:
        np.testing.assert_array_equal(source.frames(np.arange(12)).reshape(wanted.shape), wanted)
        assert source.header.scan.step_A == pytest.approx((0.5, 0.4))


def test_patterns_of_hyperspy_that_lie_in_another_file_are_refused(tmp_path):
    """Regression: the name that they have there was looked up here: an AttributeError, or other numbers."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other.create_dataset("d", data=np.zeros((4, 5, 6, 6), np.uint16), chunks=(1, 1, 6, 6))
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        file.create_dataset("d", data=np.ones((4, 5, 6, 6), np.uint16))
        signal = file.create_group("Experiments/scan")
        signal["data"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/d")
        for name in ("metadata/General", "metadata/Signal", "original_metadata", "learning_results"):
            signal.create_group(name)
        for n, size in enumerate((4, 5, 6, 6)):
            signal.create_group(f"axis-{n}").attrs.update({"size": size, "navigate": n < 2})
    with pytest.raises(InputFileError, match=r"its patterns lie in .*other\.h5"), open_source(tmp_path / "a.hspy"):
        pass


def test_a_hyperspy_file_without_chunks(tmp_path):
    """Regression: the message was dask's advice to a programmer."""
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        signal = file.create_group("Experiments/scan")
        signal["data"] = np.zeros((4, 5, 6, 6), np.uint16)
        for name in ("metadata/General", "metadata/Signal", "original_metadata", "learning_results"):
            signal.create_group(name)
        for n in range(4):
            signal.create_group(f"axis-{n}").attrs.update({"size": signal["data"].shape[n], "navigate": n < 2})
    words = r"a\.hspy: its patterns are stored in one piece, not in chunks"
    with pytest.raises(InputFileError, match=words) as caught, open_source(tmp_path / "a.hspy"):
        pass
    assert "hs.load" in caught.value.hint


@pytest.mark.parametrize(
    ("nbytes", "words"),
    [
        (None, r"/a\.raw, which a\.xml names, is missing"),
        (12 * 66560 - 1, r"/a\.raw is cut short: it has 798719 bytes, the 12 patterns of a\.xml need 798720"),
        (12 * 66560, ""),
    ],
)
def test_the_raw_file_of_an_empad_is_there_and_whole(tmp_path, nbytes, words):
    """Regression: the scan was described as if all was well, and its patterns were called damaged when read."""
    header = '<root><raw_file filename="a.raw"/><pix_x>4</pix_x><pix_y>3</pix_y></root>'
    (tmp_path / "a.xml").write_text(header)
    if nbytes is not None:
        (tmp_path / "a.raw").write_bytes(bytes(nbytes))
    if not words:
        with open_source(tmp_path / "a.xml") as source:
            assert not source.frames(np.arange(12)).any()
        return
    with pytest.raises(InputFileError, match=words), open_source(tmp_path / "a.xml"):
        pass
