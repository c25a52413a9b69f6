"""Files of a watched folder: which of them represent a scan, when they are finished, and that each is used once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptylive.server.serve import watched_folder
from ptylive.server.serve.watched_folder import HELD_S, WATCHED_LIST, WatchedFolder, paths_being_written

SETTLE_S = 5.0


def put(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def watched(tmp_path: Path, kept: bool = True) -> WatchedFolder:
    """A folder that was empty when watching began."""
    folder = tmp_path / "seen"
    folder.mkdir(exist_ok=True)
    one = WatchedFolder(folder, SETTLE_S, tmp_path / "kept" / WATCHED_LIST if kept else None)
    assert list(one.finished(0.0)) == []
    return one


def names(folder: WatchedFolder, now: float) -> list[str]:
    return [file.name for file in folder.finished(now)]


def test_a_file_is_finished_when_it_has_not_changed_for_some_seconds(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    path = put(folder.folder / "day1" / "scan.h5")
    assert names(folder, 1.0) == []
    put(path, 20)
    assert names(folder, 4.0) == []
    assert names(folder, 8.9) == []
    assert names(folder, 9.0) == ["day1/scan.h5"]
    (file,) = folder.finished(10.0)
    folder.take(file)
    assert names(folder, 100.0) == []
    put(path, 30)
    names(folder, 101.0)
    (changed,) = folder.finished(107.0)
    assert changed.uid != file.uid


def test_a_file_that_is_held_open_for_writing_waits(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    path = folder.folder / "scan.h5"
    with path.open("wb") as held:
        held.write(b"x")
        held.flush()
        assert str(path) in paths_being_written()
        names(folder, 1.0)
        assert names(folder, 2 * SETTLE_S) == []
        assert names(folder, 1.0 + HELD_S) == ["scan.h5"], "unchanged for a minute: whoever holds it has finished"
    assert str(path) not in paths_being_written()
    assert names(folder, 2 * SETTLE_S) == ["scan.h5"]
    with path.open("rb"):
        assert names(folder, 2 * SETTLE_S) == ["scan.h5"], "others may read it"


@pytest.mark.parametrize(
    ("files", "stand"),
    [
        (["a.mib", "a.hdr"], ["a.mib"]),
        (["a_000.tvips", "a_001.tvips", "b_000.tvips"], ["a_000.tvips", "b_000.tvips"]),
        (["a.dm4", "a.npz", "b.prz", "c.emd"], ["a.dm4", "a.npz", "b.prz", "c.emd"]),
        (["a.hdr"], []),
        (["a.raw", "a.xml"], ["a.xml"]),
        (["a.raw"], ["a.raw"]),
        (["a.xml"], []),
        (["a.npy", "a.json"], ["a.json"]),
        (["a.h5", "a.json"], ["a.json"]),
        (["a.npy", "settings.json"], ["a.npy"]),
        (["a_master.h5", "a_data_000001.h5", "a_data_000002.h5"], ["a_master.h5"]),
        (["a_data_000001.h5"], ["a_data_000001.h5"]),
        (["a.h5", "a_results.h5", "b_coefficients.h5", ".hidden.h5", "notes.txt"], ["a.h5"]),
        (["1/2/3/4/a.h5", "1/2/3/4/5/b.h5"], ["1/2/3/4/a.h5"]),
    ],
)
def test_one_file_stands_for_a_scan(tmp_path: Path, files: list[str], stand: list[str]) -> None:
    folder = watched(tmp_path)
    for name in files:
        put(folder.folder / name)
    assert sorted(file.name for file in folder.files()) == stand


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    os.mkfifo(folder.folder / "pipe.h5")
    (folder.folder / "nowhere.h5").symlink_to(folder.folder / "gone.h5")
    (folder.folder / "around").symlink_to(folder.folder)
    (folder.folder / "folder.h5").mkdir()
    assert list(folder.files()) == []


def test_companions_are_waited_for(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    put(folder.folder / "a_master.h5")
    names(folder, 1.0)
    put(folder.folder / "a_data_000001.h5")
    assert names(folder, 6.0) == [], "a part came"
    assert names(folder, 11.0) == ["a_master.h5"]


def test_the_parts_of_a_stream_are_waited_for(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    put(folder.folder / "a_000.tvips")
    names(folder, 1.0)
    put(folder.folder / "a_001.tvips")
    names(folder, 5.0)
    assert names(folder, 9.9) == []
    assert names(folder, 10.0) == ["a_000.tvips"]


def test_a_file_that_cannot_be_read_is_tried_again_when_it_or_its_companion_changes(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    put(folder.folder / "a.xml")
    raw = put(folder.folder / "a.raw")
    names(folder, 1.0)
    (file,) = folder.finished(6.0)
    folder.refuse(file)
    assert names(folder, 100.0) == []
    put(raw, 1000)
    names(folder, 101.0)
    assert names(folder, 106.0) == ["a.xml"]


def test_a_file_whose_permissions_change_is_tried_again(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    path = put(folder.folder / "scan.h5")
    names(folder, 1.0)
    (file,) = folder.finished(7.0)
    folder.refuse(file)
    assert names(folder, 100.0) == []
    path.chmod(0o640)
    assert names(folder, 200.0) == []
    (again,) = folder.finished(206.0)
    assert again.uid == file.uid, "it is the same scan"
    folder.take(again)
    path.chmod(0o644)
    names(folder, 300.0)
    assert names(folder, 400.0) == [], "what was sent is not sent again"


def test_what_is_not_seen_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = watched(tmp_path)
    for number in range(4):
        put(folder.folder / f"{number}.h5")
    monkeypatch.setattr(watched_folder, "MOST_FILES", 4)
    assert len(list(folder.files())) == 4
    assert not folder.unseen
    put(folder.folder / "5.h5")
    assert len(list(folder.files())) == 4
    assert folder.unseen == {"it holds more than 4 files that may be scans: move the oldest ones elsewhere"}
    (folder.folder / "5.h5").unlink()
    (folder.folder / "closed").mkdir()
    scandir = os.scandir

    def refusing(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert len(list(folder.files())) == 4
    assert folder.unseen == {"closed: Permission denied"}


def test_names_that_are_no_unicode_are_reported_and_stop_nothing(tmp_path: Path) -> None:
    """Regression: the thread that watches ended with the first of them."""
    folder = watched(tmp_path)
    for name in (b"M\xfcller.h5", b"M\xfcller.txt", b"\xfc/scan.h5"):
        put(folder.folder / os.fsdecode(name))
    put(folder.folder / "scan.h5")
    names(folder, 1.0)
    (file,) = folder.finished(1.0 + SETTLE_S)
    assert (file.name, len(file.uid)) == ("scan.h5", 36)
    assert folder.unseen == {f"{name}: its name is not UTF-8: rename it" for name in ("M\\udcfcller.h5", "\\udcfc")}


def test_what_could_not_be_sent_waits_as_long_again(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    put(folder.folder / "a.h5")
    names(folder, 1.0)
    (file,) = folder.finished(6.0)
    folder.postpone(file, 6.0)
    assert names(folder, 10.9) == []
    assert names(folder, 11.0) == ["a.h5"]


def test_what_was_there_is_left_alone_and_what_was_taken_is_known_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    put(tmp_path / "seen" / "old.h5")
    first = watched(tmp_path)
    assert first.left_alone == 1
    put(first.folder / "new.h5")
    names(first, 1.0)
    (file,) = first.finished(6.0)
    first.take(file)
    put(first.folder / "while the server was away.h5")
    with (tmp_path / "kept" / WATCHED_LIST).open("a") as lines:
        lines.write('{"file": "half a li')
    second = watched(tmp_path)
    assert second.left_alone == 0
    assert names(second, 6.0) == ["while the server was away.h5"]
    without_list = watched(tmp_path, kept=False)
    assert without_list.left_alone == 3


def test_the_list_of_another_folder_does_not_count(tmp_path: Path) -> None:
    watched(tmp_path)
    other = tmp_path / "other"
    put(other / "old.h5")
    folder = WatchedFolder(other, SETTLE_S, tmp_path / "kept" / WATCHED_LIST)
    assert names(folder, 0.0) == names(folder, 6.0) == []
    assert folder.left_alone == 1


def test_a_folder_that_is_away_is_an_error_and_nothing_is_forgotten(tmp_path: Path) -> None:
    folder = watched(tmp_path)
    put(folder.folder / "a.h5")
    names(folder, 1.0)
    (file,) = folder.finished(6.0)
    folder.take(file)
    folder.folder.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        names(folder, 7.0)
    (tmp_path / "away").rename(folder.folder)
    names(folder, 8.0)
    assert names(folder, 20.0) == []
