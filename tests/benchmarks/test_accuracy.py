"""The accuracy benchmark: its tables, the scans it uses, and where it writes."""

import shutil
import sys
from pathlib import Path

import pytest
from zoo_scans import small_draw, written_scan

from benchmarks import accuracy
from benchmarks.zoo.map_score import MapTruth

ROWS = {
    "dev03_a": {
        "given": {"maps": {"idpc": 0.5, "obf": 0.9}},
        "blind": {"error": "no disc"},
        "py4dstem": {"maps": {"DPC": 0.4, "SSB": 0.8}, "failed": {"WDD": "too large"}},
        "ptychography40": {"skipped": True, "error": "not run"},
    },
    "dev05_b": {
        "given": {"maps": {"idpc": -0.2, "obf": 0.7}},
        "blind": {"maps": {"idpc": 0.6, "obf": 0.3}},
        "py4dstem": {"error": "crashed"},
        "ptychography40": {"skipped": True, "error": "not run"},
    },
}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ours_given_and_blind_with_the_best_of_each():
    lines = accuracy.tables(ROWS).splitlines()
    assert cells(lines[4]) == ["dev03_a", "0.500", "–", "–", "0.900", "–", "obf"]
    assert cells(lines[5]) == ["– blind", "–", "–", "–", "–", "–", "failed"]
    assert cells(lines[7])[-1] == "idpc"


def test_other_programs_beside_the_best_map_of_ours():
    lines = accuracy.tables(ROWS).splitlines()
    head = lines.index("", 2) + 1
    assert cells(lines[head])[1:6] == ["DPC", "SSB", "OBF", "WDD", "Parallax"]
    assert cells(lines[head + 2]) == ["dev03_a", "0.400", "0.800", "–", "–", "–", "0.800", "0.900", "–"]
    assert cells(lines[head + 3]) == ["dev05_b", *["–"] * 6, "0.700", "0.600"]
    assert len({line.count("|") for line in lines[head : head + 4]}) == 1


def test_what_failed_is_told_and_what_is_not_installed_once():
    lines = accuracy.tables(ROWS).splitlines()
    assert lines.count("- ptychography40: not run") == 1
    assert "- dev03_a, blind: no disc" in lines
    assert "- dev03_a, py4dstem, WDD: too large" in lines
    assert "- dev05_b, py4dstem: crashed" in lines


def test_without_other_programs_there_is_one_table():
    rows = {name: {**row, "py4dstem": {"skipped": True, "error": "not run"}} for name, row in ROWS.items()}
    assert "best peer" not in accuracy.tables(rows)


def asked(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["accuracy", *map(str, words)])
    return accuracy.arguments()


def test_draws_of_the_zoo_where_no_file_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, "simulated", lambda one, cache, python: cache / one.name)
    found = accuracy.scans(asked(monkeypatch, "--cache", tmp_path))
    assert len(found) == 5 and all(path == tmp_path / name for name, path in found.items())
    file = tmp_path / "mine.h5"
    file.touch()
    assert accuracy.scans(asked(monkeypatch, file)) == {"mine": file}
    assert list(accuracy.scans(asked(monkeypatch, file, "--draws", "3"))) == ["mine", "dev03_mos2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.h5"], "nowhere.h5: there is no such file"),
        (["--picture", "out.png"], "--picture takes one FILE"),
    ],
)
def test_what_cannot_be_is_refused(monkeypatch, capsys, words, said):
    with pytest.raises(SystemExit):
        asked(monkeypatch, *words)
    assert said in capsys.readouterr().err


def test_tables_are_put_between_the_markers(tmp_path):
    path = tmp_path / "document.md"
    path.write_text(f"before\n{accuracy.BEGIN}\nold\n{accuracy.END}\nafter\n")
    accuracy.replace_tables(path, "new")
    assert path.read_text() == f"before\n{accuracy.BEGIN}\nnew\n{accuracy.END}\nafter\n"


def test_a_document_without_markers_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    path = tmp_path / "document.md"
    path.write_text("nothing")
    for document in (path, tmp_path / "none.md"):
        with pytest.raises(SystemExit, match="for the tables to stand between"):
            asked(monkeypatch, "--write", document)
    assert path.read_text() == "nothing"


def test_the_product_s_document_has_the_markers():
    accuracy.replace_tables(Path(accuracy.__file__).parents[1] / "docs" / "accuracy.md", None)


def test_maps_are_judged_by_their_own_sampling(tmp_path, monkeypatch):
    import h5py

    path, scan = written_scan(tmp_path, small_draw(shape=(14, 18)))
    truth = MapTruth.read(path)
    seen = scan.slices.sum(0)[tuple((scan.positions.transpose(2, 0, 1) / 0.2).round().astype(int))]

    def made(given, out):
        with h5py.File(out, "w") as file:
            for name, values, pixel in (("obf", seen, 1.5), ("tcbf", seen.repeat(2, 0).repeat(2, 1), 0.75)):
                file[f"maps/{name}"] = values
                file[f"maps/{name}"].attrs["sampling_A"] = pixel

    monkeypatch.setattr(accuracy, "reconstruct", made)
    found = accuracy.scored(truth, path, tmp_path / "out.h5")["maps"]
    assert set(found) == {"obf", "tcbf"}
    # the spline through doubled pixels overshoots a little
    assert found["obf"] > 0.9 and found["tcbf"] == pytest.approx(found["obf"], abs=0.1)


def test_a_reconstruction_that_fails_is_told(tmp_path, monkeypatch):
    failing = shutil.which("false")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "ptylive").symlink_to(failing)
    assert accuracy.reconstruct(tmp_path / "scan.h5", tmp_path / "out.h5") == "no word"
