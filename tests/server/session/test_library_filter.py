"""Filtering many scans: by words, by day, refined or not; also with ten thousand scans."""

import os
import time
from datetime import date, datetime
from pathlib import Path

import pytest

from ptylive.schema import CommandError
from ptylive.server.session.library import Library, note_path, write_note
from ptylive.server.session.library_filter import RefinedScans, Wanted


class Files:
    """A file worker that knows which results hold refinements, and counts requests."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self, task, path: Path, *_: object, **__: object) -> dict[str, object]:
        if task.__name__ == "read_runs":
            self.asked += 1
            return {"run1": {}} if path.read_text() == "refined" else {}
        return {"thumbnail": None, "calibration": {}, "runs": {}}


def folder_of(folder: Path, number: int, refined: range | tuple[int, ...] = ()) -> Path:
    """Recordings scan00000 …, a day apart, the first being the oldest."""
    for i in range(number):
        path = folder / f"scan{i:05d}.h5"
        path.touch()
        os.utime(path, (1.7e9 + 86400 * i,) * 2)
        if i in refined:
            results = folder / f"scan{i:05d}_results.h5"
            results.write_text("refined" if i % 2 else "maps")
    return folder


def found(library: Library, wanted: Wanted, **more: int) -> list[str]:
    return [scan["recording"] for scan in library.history(100, wanted=wanted, **more)["scans"]]


def test_words_are_looked_for_in_names_and_notes(tmp_path: Path) -> None:
    library = Library(folder_of(tmp_path, 5), Files())
    write_note(tmp_path / "scan00002.h5", "A thin Grain #gold", author="anna")
    write_note(tmp_path / "scan00003.h5", "#gold thick")
    wanted = lambda match: Wanted.of(match, "", "", refined=False)  # noqa: E731
    assert found(library, wanted("#GOLD")) == ["scan00003.h5", "scan00002.h5"]
    assert found(library, wanted("#gold grain")) == ["scan00002.h5"]
    assert found(library, wanted("00004")) == ["scan00004.h5"]
    told = library.history(wanted=wanted("#gold grain"))
    assert (told["count"], told["total"]) == (1, 5)
    write_note(tmp_path / "scan00003.h5", None, sample="  SrTiO3   lamella 7 ")
    kept = library.history(wanted=wanted("lamella thick"))["scans"]
    assert [(one["recording"], one["sample"], one["note"]) for one in kept] == [
        ("scan00003.h5", "SrTiO3 lamella 7", "#gold thick")
    ]
    write_note(tmp_path / "scan00003.h5", "")
    assert found(library, wanted("lamella")) == ["scan00003.h5"], "the sample stays when the note goes"
    write_note(tmp_path / "scan00003.h5", None, sample="")
    assert not note_path(tmp_path / "scan00003.h5").exists()
    with pytest.raises(CommandError, match="at most 80"):
        write_note(tmp_path / "scan00003.h5", None, sample="x" * 81)
    assert told["scans"][0]["author"] == "anna"
    assert abs(told["scans"][0]["noted"] - time.time()) < 3600


def test_only_refined_scans_and_each_file_is_looked_into_once(tmp_path: Path) -> None:
    files = Files()
    library = Library(folder_of(tmp_path, 8, refined=range(6)), files)
    wanted = Wanted.of("", "", "", refined=True)
    assert found(library, wanted) == ["scan00005.h5", "scan00003.h5", "scan00001.h5"]
    asked = files.asked
    assert asked == 6
    found(library, wanted)
    assert files.asked == asked
    (tmp_path / "scan00004_results.h5").write_text("refined")
    os.utime(tmp_path / "scan00004_results.h5", (1, 1))
    assert "scan00004.h5" in found(library, wanted), "it has changed"


def test_what_there_was_no_time_for_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptylive.server.session.library_filter.PATIENCE_S", -1.0)
    folder_of(tmp_path, 3, refined=(1,))
    scans = RefinedScans(lambda _: True)
    assert scans.among([tmp_path / "scan00001_results.h5", tmp_path / "none"]) == (set(), 1)


def test_days_with_both_ends(tmp_path: Path) -> None:
    library = Library(folder_of(tmp_path, 6), Files())
    day = [datetime.fromtimestamp(1.7e9 + 86400 * i).date().isoformat() for i in range(6)]
    assert found(library, Wanted.of("", day[1], day[3], refined=False)) == [f"scan0000{i}.h5" for i in (3, 2, 1)]
    assert Wanted.of("", day[1], "", refined=False).since == date.fromisoformat(day[1])
    with pytest.raises(CommandError, match="since must be a date as"):
        Wanted.of("", "yesterday", "", refined=False)
    with pytest.raises(CommandError, match="at most"):
        Wanted.of("x" * 201, "", "", refined=False)


@pytest.mark.slow
def test_ten_thousand_scans_are_paged_and_searched(tmp_path: Path) -> None:
    library = Library(folder_of(tmp_path, 10_000), Files())
    told = library.history(24, 9_990)
    assert (len(told["scans"]), told["count"], told["total"]) == (10, 10_000, 10_000)
    assert told["scans"][-1]["recording"] == "scan00000.h5"
    assert found(library, Wanted.of("scan04321", "", "", refined=False)) == ["scan04321.h5"]


def test_what_belongs_to_a_scan_can_be_fetched(tmp_path: Path) -> None:
    folder_of(tmp_path, 2, refined=(1,))
    write_note(tmp_path / "scan00001.h5", "a note")
    (tmp_path / "scan00001_obf.png").touch()
    (tmp_path / "scan00001_link.png").symlink_to("/etc/passwd")
    names = [path.name for path in Library(tmp_path, Files()).files("scan00001.h5")]
    assert names == ["scan00001.h5", note_path(Path("scan00001.h5")).name, "scan00001_obf.png", "scan00001_results.h5"]
    with pytest.raises(CommandError, match="no recording"):
        Library(tmp_path, Files()).files("../x.h5")
