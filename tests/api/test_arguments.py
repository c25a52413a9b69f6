"""Invalid arguments of public functions: each is refused by name before any work begins."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from told_messages import is_on_the_page

import ptylive
from ptylive import arguments
from ptylive.schema import PtyliveError
from ptylive.server.batch import coordinator
from ptylive.server.tune import run

OPTICS = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "scan_step_A": 0.4}


@pytest.fixture(scope="module")
def scan() -> ptylive.Scan:
    return ptylive.open_scan(np.ones((3, 3, 8, 8), np.uint16), **OPTICS)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Everything that was begun; refused calls add nothing."""
    found: list[object] = []
    monkeypatch.setattr(run, "tune_scan", lambda *given: found.append(given))
    monkeypatch.setattr(coordinator.Batch, "run", lambda self, *given: found.append(self))
    return found


def said(call, words: str) -> None:
    with pytest.raises(PtyliveError) as refused:
        call()
    assert words in refused.value.line()
    assert is_on_the_page(f"ptylive: {refused.value.line()}"), "python tools/write_tables.py"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threads": 0}, "threads = 0 is impossible: give a whole number from 1 to 256"),
        ({"threads": 10**6}, "threads = 1000000 is impossible"),
        ({"threads": "2"}, "threads = '2' is impossible"),
        ({"threads": 1.5}, "threads = 1.5 is impossible"),
        ({"threads": True}, "threads = True is impossible"),
        ({"history": 5}, "history = 5 is not a path"),
        ({"history": "h", "history_epochs": "x"}, "history_epochs = 'x' is impossible: give a whole number from 1 on"),
        ({"preset": "some.toml"}, "some.toml: no such file: check the path"),
        ({"backend": "tpu"}, "unknown backend 'tpu': use auto, cpu or gpu"),
        ({"preset": {3: 4}}, "preset = {3: 4} is not a table"),
        ({"beside": 5}, "beside contains 5"),
        ({"beside": ["other.h5"]}, "beside contains 'other.h5'"),
    ],
)
def test_a_refinement_is_not_begun(scan, given, words) -> None:
    said(lambda: scan.refine(**given), words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"methods": None}, "methods = None is not a list of names"),
        ({"methods": [None]}, "methods = [None] is not a list of names"),
        ({"methods": b"com"}, "methods = b'com' is not a list of names"),
        ({"methods": "com,opf"}, "unknown method 'opf'"),
        ({"settings": "wdd.epsilon=1"}, "settings = 'wdd.epsilon=1' is not a table"),
        ({"settings": {3: 1}}, "settings = {3: 1} is not a table"),
        ({"detectors": ["a=disc:3"]}, "detectors = ['a=disc:3'] is not a table"),
    ],
)
def test_no_map_is_made(scan, given, words) -> None:
    said(lambda: scan.reconstruct(**given), words)


def test_methods_may_be_typed_as_on_the_command_line(scan) -> None:
    made = scan.reconstruct("bf, com")
    assert {*made, *made.missing} == {"bf", "com"}


@pytest.mark.parametrize("names", [["bf"], 3])
def test_pictures_have_names(scan, names) -> None:
    said(lambda: scan.reconstruct("bf").show(names), "no map ")


@pytest.mark.parametrize("source", [None, 5, b"scan.h5", object()])
def test_a_scan_is_a_path_or_an_array(source) -> None:
    said(lambda: ptylive.open_scan(source), "is neither a path nor an array")
    said(lambda: ptylive.plan(5), "source = 5 is not a path")


def test_a_group_of_arrays_is_none(tmp_path: Path) -> None:
    """Regression: the names in an open HDF5 file were taken for an array of the wrong shape."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((2, 2, 4, 4), np.uint8)
        said(lambda: ptylive.open_scan(file), "source is a group of arrays: give one of them, such as source['data']")
        ptylive.open_scan(file["data"])
    said(lambda: ptylive.open_scan({"data": np.zeros((2, 2, 4, 4))}), "source is a group of arrays")


@pytest.mark.parametrize("energy", [80, np.int8(80), 80.0, "80"])
def test_people_are_asked_about_odd_metadata(energy, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = np.ones((3, 3, 8, 8), np.uint16)
    for source in (tmp_path / "scan.h5", np.ones((3, 3, 8, 8), np.uint16)):
        said(lambda source=source: ptylive.open_scan(source, energy_eV=energy), "did you mean 80 keV")
        assert "energy_eV 80," in repr(
            ptylive.open_scan(source, energy_eV="80 eV", convergence_semiangle_mrad=25)
        ).replace(";", ",")
    mask = np.zeros((8, 8), bool)
    assert ptylive.open_scan(tmp_path / "scan.h5", bad_pixel_mask=mask, **OPTICS).values["bad_pixel_mask"] is mask


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"file": 5}, "file = 5 is not a path"),
        ({"out": 5}, "out = 5 is not a path"),
        ({"over": 5}, "over = 5 is not a list of names"),
        ({"trials": 0}, "trials = 0 is impossible: give a whole number from 1 to 100000"),
        ({"trials": "x"}, "trials = 'x' is impossible"),
        ({"patterns": 63}, "patterns = 63 is impossible: give a whole number from 64 on"),
        ({"sweeps": 0}, "sweeps = 0 is impossible"),
        ({"seed": -1}, "seed = -1 is impossible"),
        ({"workers": 0}, "workers = 0 is impossible"),
        ({"cluster": 5}, "cluster = 5 is not text"),
        ({"threads": 0}, "threads = 0 is impossible"),
        ({"backend": "tpu"}, "unknown backend 'tpu': use auto, cpu or gpu"),
        ({"metadata": 5}, "metadata = 5 is not a table"),
        ({"metadata": {"energy_eV": 80}}, "did you mean 80 keV"),
        ({"preset": 5}, "preset = 5 is not a table"),
    ],
)
def test_no_trial_is_made(given, words, begun, tmp_path: Path) -> None:
    said(lambda: ptylive.tune(**{"file": "s.h5", "over": "defocus", "out": tmp_path, **given}), words)
    assert begun == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"files": 5}, "files = 5 is not a path"),
        ({"files": [None]}, "files = None is not a path"),
        ({"out": 5}, "out = 5 is not a path"),
        ({"workers": "x"}, "workers = 'x' is impossible"),
        ({"cluster": 5}, "cluster = 5 is not text"),
        ({"threads": -5}, "threads = -5 is impossible"),
        ({"backend": "tpu"}, "unknown backend 'tpu': use auto, cpu or gpu"),
        ({"metadata": {"energy_eV": 80}}, "did you mean 80 keV"),
        ({"preset": 5}, "preset = 5 is not a table"),
    ],
)
def test_no_batch_is_begun(given, words, begun, tmp_path: Path) -> None:
    said(lambda: ptylive.batch(**{"files": "s.h5", "out": tmp_path, **given}), words)
    assert begun == []


def test_no_simulation_is_begun(tmp_path: Path) -> None:
    said(lambda: ptylive.simulate(5), "path = 5 is not a path")
    said(lambda: ptylive.simulate(tmp_path / "x.h5", settings=5), "settings = 5 is not a table")


def test_no_server_is_waited_for_without_end() -> None:
    said(lambda: ptylive.connect("tcp://127.0.0.1:1", timeout_s=-1), "timeout_s = -1 is impossible: give seconds")
    said(lambda: ptylive.connect("tcp://127.0.0.1:1", timeout_s="x"), "timeout_s = 'x' is impossible")
    said(lambda: ptylive.connect("tcp://127.0.0.1:1", timeout_s=float("nan")), "timeout_s = nan is impossible")
    said(lambda: ptylive.Sender(5), "5 is not an address to send to")
    said(lambda: ptylive.connect(5), "cannot connect to 5")
    said(lambda: ptylive.connect("tcp://127.0.0.1:1", keys=5), "keys = 5 is not a path")


def test_what_is_right_is_taken() -> None:
    assert arguments.whole("n", np.int64(256), 1, 256) == 256
    assert arguments.texts("m", (one for one in ("a", "b"))) == ("a", "b")
    assert arguments.place("p", os.fsencode("ä").decode()) == Path("ä")
    assert arguments.places("f", "a*.h5") == [Path("a*.h5")]
    assert arguments.places("f", ["a", Path("b")]) == [Path("a"), Path("b")]
    assert arguments.seconds("t", 0.0) == 0.0


def test_masks_that_are_no_bad_pixels_are_refused() -> None:
    counts, some = np.ones((3, 3, 8, 8), np.uint16), np.zeros((3, 3, 8, 8), dtype=bool)
    some[0, 0, 1] = True
    said(lambda: ptylive.open_scan(np.ma.masked_array(counts, some)), "not the same in every pattern: fill it")
    some[:, :, 1] = True
    twice = {"detector.bad_pixel_mask": np.zeros((8, 8), dtype=bool)}
    said(lambda: ptylive.open_scan(np.ma.masked_array(counts, some), **twice), "the array has a mask")
    said(lambda: ptylive.open_scan([np.ones((3, 8, 8)), np.ones((2, 8, 8))]), "source is not an array: ")


def test_a_path_may_begin_in_a_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "scan.npy", np.ones((3, 3, 8, 8), np.uint16))
    assert "3 x 3 points" in repr(ptylive.open_scan("~/scan.npy"))
    assert arguments.places("files", ["~/scan.npy", "scans/*.h5"]) == [tmp_path / "scan.npy", Path("scans/*.h5")]
    said(lambda: ptylive.open_scan("~nobody-of-this-name/scan.npy"), "write the full path")


@pytest.mark.parametrize(
    ("twice", "words"),
    [
        ({"defocus_A": 100, "C10": 50}, "defocus_A and C10 have the same meaning: give one of them"),
        ({"astigmatism_A": 10, "optics.C12b": 5}, "astigmatism_A and C12b have the same meaning"),
        ({"energy_eV": 80e3, "optics.energy_eV": 60e3}, "energy_eV is given twice: give energy_eV or optics.energy_eV"),
    ],
)
def test_one_thing_is_given_once(twice: dict[str, object], words: str) -> None:
    said(lambda: ptylive.open_scan(np.ones((3, 3, 8, 8), np.uint16), **twice), words)
    ptylive.open_scan(np.ones((3, 3, 8, 8), np.uint16), **{**twice, min(twice, key=len): None})


def test_attributes_of_a_file_that_say_a_pixel_twice_may_be_given() -> None:
    pixel = {"detector_pixel_mrad": 1.0, "detector_pixel_invA": 0.0239, "energy_eV": 80e3}
    assert "8 x 8 pixels" in repr(ptylive.open_scan(np.ones((3, 3, 8, 8), np.uint16), **pixel))
