"""Rewritten scans: a given descan is removed before patterns become coefficients."""

import numpy as np
import pytest
from stream_tools import stored_recording
from synthetic import WeakPhaseScan, correlation

from ptylive.application.conversion import convert_file
from ptylive.application.offline import MapRequest, reconstruct_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.descan import moved
from ptylive.engine.preparation import Preparation
from ptylive.schema import InputFileError
from ptylive.schema.detector import Descan
from ptylive.streamer.source import open_source

BOW = Descan.of([1.5, -0.5, 0.2, 0.4, 0.0, 0.3, -2.0, 0.0, 0.2, 0.5])
MAPS = ("idpc", "obf", "tcbf", "wdd_phase")
BASIS = parse_basis("zernike:45+1")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Files of a scan without and with descan."""
    folder = tmp_path_factory.mktemp("descan")
    scan = WeakPhaseScan.make({"C10": -60.0}, strength=0.05)
    places = BOW.at_points(np.arange(scan.n**2), (scan.n, scan.n))
    header = scan.header()
    files = []
    for name, frames in (("still", scan.patterns), ("wandering", moved(scan.patterns, -places))):
        files.append(stored_recording(folder, header.renamed(name, name), frames.astype(np.float32)))
    return files


def maps_of(file, values=None, request=None, names=MAPS):
    made = reconstruct_file(file, values or {}, names, request or MapRequest())
    return {one.name: one.data for one in made.rendering.maps if one.name in names}


def agreement(found, wanted, names=MAPS):
    assert set(found) == set(names)
    return min(correlation(found[name], wanted[name]) for name in names)


def test_a_given_descan_is_taken_out_before_patterns_become_coefficients(scans, tmp_path):
    """As the slow test below, with only the map that depends most on where the patterns lie."""
    (still, wandering), name = scans, ("idpc",)
    wanted = maps_of(still, request=MapRequest(BASIS), names=name)
    convert_file(wandering, tmp_path / "out.h5", BASIS, Preparation(), {"descan_px": BOW.numbers})
    with open_source(tmp_path / "out.h5") as source:
        assert not Descan.of(source.header.detector.descan_px).moves
    assert agreement(maps_of(tmp_path / "out.h5", names=name), wanted, name) > 0.99
    convert_file(wandering, tmp_path / "as_it_is.h5", BASIS, Preparation(), {"descan_px": (0,)})
    assert agreement(maps_of(tmp_path / "as_it_is.h5", names=name), wanted, name) < 0.9


@pytest.mark.slow
def test_maps_of_coefficients_are_those_of_patterns_that_lie_still(scans, tmp_path):
    still, wandering = scans
    wanted = maps_of(still, request=MapRequest(BASIS))
    given = {"descan_px": BOW.numbers}
    convert_file(wandering, tmp_path / "out.h5", BASIS, Preparation(), given)
    with open_source(tmp_path / "out.h5") as source:
        assert not Descan.of(source.header.detector.descan_px).moves
    # Pixels read from outside the detector are 0, and masks follow the disc as it is found: measured 0.999.
    assert agreement(maps_of(tmp_path / "out.h5"), wanted) > 0.99
    assert agreement(maps_of(wandering, given, MapRequest(BASIS)), wanted) > 0.99
    assert agreement(maps_of(wandering, {"descan_px": (0,)}, MapRequest(BASIS)), wanted) < 0.9
    assert agreement(maps_of(wandering, {}, MapRequest(BASIS)), wanted) > 0.99, "nobody gave it, and it is found"


def test_pixels_that_binning_leaves_out_are_among_the_doubts(tmp_path):
    np.save(tmp_path / "scan.npy", np.ones((4, 4, 8, 8), np.uint16))
    done = convert_file(tmp_path / "scan.npy", tmp_path / "out.h5", parse_basis("pixels"), Preparation(bin=3), {})
    assert any("--bin 3 leaves out the last 2 rows" in line for line in done.doubts)


@pytest.mark.parametrize("basis", ["pixels", "binning:3+1"])
def test_counts_that_are_clipped_are_among_the_doubts(tmp_path, basis):
    np.save(tmp_path / "scan.npy", np.full((4, 4, 8, 8), 200, np.uint16))
    narrow = convert_file(tmp_path / "scan.npy", tmp_path / "out.h5", parse_basis(basis), Preparation(dtype="|i1"), {})
    assert any("100 % of the numbers lie above the range of int8" in line for line in narrow.doubts)
    wide = convert_file(tmp_path / "scan.npy", tmp_path / "wide.h5", parse_basis(basis), Preparation(dtype="<u2"), {})
    assert wide.doubts == ()


@pytest.mark.parametrize("basis", ["pixels", "binning:3+1"])
def test_counts_lost_by_rounding_are_those_of_the_scan_once(tmp_path, basis):
    """Patterns that were read to choose a basis were counted twice."""
    np.save(tmp_path / "scan.npy", np.full((4, 4, 8, 8), 0.25, np.float32))
    done = convert_file(tmp_path / "scan.npy", tmp_path / "out.h5", parse_basis(basis), Preparation(dtype="<u2"), {})
    assert any("from 256 to 0" in line for line in done.doubts)


def test_only_a_copy_of_the_same_patterns_is_replaced(tmp_path):
    """Regression: of two files of one name and length from different folders, the second copy replaced the first."""
    target, binned = tmp_path / "copy.h5", Preparation(bin=2)
    for seed, folder in enumerate(("monday", "tuesday")):
        (tmp_path / folder).mkdir()
        patterns = np.random.default_rng(seed).poisson(5, (4, 4, 8, 8)).astype(np.uint16)
        np.save(tmp_path / folder / "scan.npy", patterns)
    for preparation in (Preparation(), binned):  # in whatever form, it is the same scan
        convert_file(tmp_path / "monday/scan.npy", target, parse_basis("pixels"), preparation, {})
    before = target.read_bytes()
    with pytest.raises(InputFileError, match=r"copy\.h5 holds another scan"):
        convert_file(tmp_path / "tuesday/scan.npy", target, parse_basis("pixels"), Preparation(), {})
    assert target.read_bytes() == before


def test_a_file_that_another_process_writes_meanwhile_is_not_replaced(tmp_path):
    scan, target = tmp_path / "scan.npy", tmp_path / "out.h5"
    np.save(scan, np.ones((2, 3, 8, 8), np.uint16))

    def another(_done, _total):
        np.save(tmp_path / "other.npy", np.full((2, 3, 8, 8), 7, np.uint16))
        convert_file(tmp_path / "other.npy", target, parse_basis("pixels"), Preparation(), {})

    with pytest.raises(InputFileError, match="holds another scan"):
        convert_file(scan, target, parse_basis("pixels"), Preparation(), {}, another)
    with open_source(target) as source:
        assert (source.frames(np.arange(6)) == 7).all()
    assert {path.name for path in tmp_path.iterdir()} == {"scan.npy", "other.npy", "out.h5"}
