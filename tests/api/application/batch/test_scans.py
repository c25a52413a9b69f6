"""Which files a batch includes."""

from pathlib import Path

import pytest

from ptylive.application.batch.scans import find_scans
from ptylive.schema import InputFileError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A typical recording folder that also contains the folder of a batch."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.h5",
        "a.h5",
        "a_results.h5",
        "a_coefficients.h5",
        "alone_coefficients.h5",
        ".a.h5.tmp",
        "deep/c.h5",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "deep" / "out").mkdir()
    (tmp_path / "deep" / "out" / "c_other.h5").touch()
    return tmp_path


def test_a_pattern_takes_scans_in_order_and_nothing_else(folder):
    scans, left_out = find_scans(["*.h5"], folder / "deep" / "out")
    assert [str(path) for path in scans] == ["a.h5", "alone_coefficients.h5", "b.h5"]
    assert [str(path) for path in left_out] == ["a_coefficients.h5", "a_results.h5"]


def test_folders_below_each_file_once_and_not_the_batch_s_own(folder):
    scans, left_out = find_scans(["b.h5", "**/*.h5", "b.h5"], Path("deep/out"))
    assert [str(path) for path in scans] == ["b.h5", "a.h5", "alone_coefficients.h5", "deep/c.h5"]
    assert Path("deep/out/c_other.h5") in left_out


def test_a_name_with_brackets_is_a_name(folder):
    (folder / "x[1].h5").touch()
    assert find_scans(["x[1].h5"], folder / "out")[0] == [Path("x[1].h5")]


def test_folders_with_brackets_are_names_too(folder):
    """Regression: the pattern that the message for the folder itself gives matched nothing."""
    for name in ("[run 1]/x [2]", "r"):
        (folder / name).mkdir(parents=True)
        (folder / name / "s.h5").touch()
    inside = [Path("[run 1]/x [2]/s.h5")]
    assert find_scans(["[run 1]/x [2]/*.h5"], folder / "out")[0] == inside
    assert find_scans(["[run 1]/*/s.h5"], folder / "out")[0] == inside
    assert find_scans(["[r]/s.h5"], folder / "out")[0] == [Path("r/s.h5")]
    absolute = folder.resolve() / "[run 1]"
    assert find_scans([f"{absolute}/**/*.h5"], folder / "out")[0] == [absolute / "x [2]/s.h5"]


@pytest.mark.parametrize("name", ["a.zarr", "b.ZSPY"])
def test_a_folder_that_is_a_scan_is_one(folder, name):
    """Regression: its scans were to be named."""
    (folder / name).mkdir()
    assert find_scans([name], folder / "out")[0] == find_scans([f"{name[0]}.[zZ]*"], folder / "out")[0] == [Path(name)]


def test_circular_links_cost_their_own_line_only(folder):
    (folder / "round.h5").symlink_to("round.h5")
    assert Path("round.h5") in find_scans(["*.h5"], folder / "out")[0]


def test_a_file_that_is_missing_has_its_line_in_the_table(folder):
    assert find_scans(["gone.h5", "a.h5"], folder / "out")[0] == [Path("gone.h5"), Path("a.h5")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["deep"], r"deep is a folder"),
        (["*.tif"], r"no file matches '\*.tif'"),
        (["a_results.h5"], "none of the files is a scan"),
        ([], "no scan was named"),
        (["a\0b"], "cannot be looked up"),
    ],
)
def test_what_is_no_scan_is_refused_in_a_line(folder, given, said):
    with pytest.raises(InputFileError, match=said):
        find_scans(given, folder / "out")
