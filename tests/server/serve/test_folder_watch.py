"""The thread that has finished files sent: each once, with a reason for each that is not sent."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from ptylive.server.serve import watched_folder
from ptylive.server.serve.folder_watch import MOST_TRIES, FileSender, FolderWatch
from ptylive.server.serve.send_file import Sent
from ptylive.server.serve.watched_folder import WatchedFile, WatchedFolder

SETTLE_S = 5.0


class Sender:
    """Sends nothing, and gives prepared answers."""

    def __init__(self, answers: dict[str, Sent]) -> None:
        self.answers, self.sent, self.closed = answers, [], False
        self.meanwhile = lambda: None

    def __call__(self, file: WatchedFile) -> Sent:
        self.sent.append(file.name)
        self.meanwhile()
        return self.answers.get(file.name, Sent(frames=4))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


class Clock:
    """Stands still until it is advanced."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def watching(folder: Path, **answers: Sent) -> tuple[FolderWatch, Sender, list[tuple[str, str]]]:
    sender, said = Sender({f"{name}.h5": answer for name, answer in answers.items()}), []
    CLOCK.now = 0.0
    watch = FolderWatch(WatchedFolder(folder, SETTLE_S), sender, lambda level, text: said.append((level, text)), CLOCK)
    watch.look()
    return watch, sender, said


def looks(watch: FolderWatch, folder: Path, *names: str) -> None:
    """Files appear, and then time passes."""
    for name in names:
        (folder / name).write_bytes(b"x")
    for now in range(1, 60, 6):
        CLOCK.now = float(now)
        watch.look()


def test_each_is_sent_once_and_told_of(folder: Path) -> None:
    watch, sender, said = watching(folder, bad=Sent(error="bad.h5 is no scan", of_file=True))
    looks(watch, folder, "bad.h5", "good.h5")
    assert sorted(sender.sent) == ["bad.h5", "good.h5"]
    assert sorted(said) == [
        ("info", "good.h5: 4 frames loaded"),
        ("warning", "bad.h5 is not loaded: bad.h5 is no scan"),
    ]


def test_what_the_server_lacks_is_tried_again_a_few_times(folder: Path) -> None:
    watch, sender, said = watching(folder, one=Sent(error="the disk is full"))
    looks(watch, folder, "one.h5")
    assert sender.sent == ["one.h5"] * MOST_TRIES
    assert said == [("warning", "one.h5 is not loaded: the disk is full")]


def test_what_the_server_lacked_for_a_while_is_taken_up_later(folder: Path) -> None:
    watch, sender, said = watching(folder, one=Sent(error="not now"))
    (folder / "one.h5").write_bytes(b"x")
    CLOCK.now = 1.0
    watch.look()
    CLOCK.now = 6.0
    watch.look()
    sender.answers = {}
    CLOCK.now = 12.0
    watch.look()
    assert sender.sent == ["one.h5"] * 2
    assert said == [("info", "one.h5: 4 frames loaded")]


def test_a_file_that_changes_while_another_is_sent_waits(folder: Path) -> None:
    watch, sender, _ = watching(folder)
    (folder / "a.h5").write_bytes(b"x")
    (folder / "b.h5").write_bytes(b"x")
    sender.meanwhile = lambda: (folder / "b.h5").write_bytes(b"is being written again")
    CLOCK.now = 1.0
    watch.look()
    CLOCK.now = 6.0
    watch.look()
    assert sender.sent == ["a.h5"]
    sender.meanwhile = lambda: None
    CLOCK.now = 11.0
    watch.look()
    assert sender.sent == ["a.h5", "b.h5"]


def test_a_file_that_went_away_with_its_folder_is_taken_up_when_it_is_back(folder: Path) -> None:
    watch, sender, said = watching(folder, one=Sent(error="no such file", of_file=True))
    (folder / "one.h5").write_bytes(b"x")
    away = folder.parent / "away"
    sender.meanwhile = lambda: folder.rename(away) and None
    for CLOCK.now in (1.0, 6.0):
        with suppress(FileNotFoundError):
            watch.look()
    assert said == [("warning", "one.h5 is not loaded: it has disappeared")]
    away.rename(folder)
    sender.meanwhile, sender.answers = lambda: None, {}
    CLOCK.now = 7.0
    watch.look()
    assert sender.sent == ["one.h5"]
    CLOCK.now = 12.0
    watch.look()
    assert sender.sent == ["one.h5"] * 2
    assert said[1:] == [("info", "one.h5: 4 frames loaded")]


def test_files_that_were_there_are_counted_once(folder: Path) -> None:
    (folder / "old.h5").write_bytes(b"x")
    watch, sender, said = watching(folder)
    looks(watch, folder)
    assert sender.sent == []
    assert said == [("info", f"1 scan was in {folder} before the start: not loaded")]


def test_what_is_not_seen_is_told_of_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_folder, "MOST_FILES", 1)
    watch, _, said = watching(folder)
    looks(watch, folder, "a.h5", "b.h5")
    why = "it holds more than 1 files that may be scans: move the oldest ones elsewhere"
    assert said.count(("warning", f"{folder}: not every file is seen: {why}")) == 1
    (folder / "b.h5").unlink()
    looks(watch, folder)
    looks(watch, folder, "b.h5")
    assert said.count(("warning", f"{folder}: not every file is seen: {why}")) == 2, "it is so again"


def test_a_file_that_was_being_sent_when_the_server_ended_counts_as_not_sent(folder: Path) -> None:
    watch, sender, said = watching(folder)
    watch.stop()
    assert sender.closed
    looks(watch, folder, "one.h5")
    assert sender.sent[0] == "one.h5"
    assert said == []


def test_a_folder_that_goes_away_is_told_of_once_and_watched_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptylive.server.serve.folder_watch.POLL_S", 0.01)
    said: list[tuple[str, str]] = []
    watch = FolderWatch(WatchedFolder(folder, 0.01), Sender({}), lambda level, text: said.append((level, text)))
    watch.start()
    away = folder.rename(folder.parent / "away")
    until(lambda: said != [])
    away.rename(folder)
    time.sleep(0.1)
    (folder / "new.h5").write_bytes(b"x")
    until(lambda: len(said) > 1)
    watch.stop()
    assert said[0][0] == "warning"
    assert "cannot be watched at the moment: No such file" in said[0][1]
    assert said[-1] in (
        ("info", "new.h5: 4 frames loaded"),
        ("info", f"1 scan was in {folder} before the start: not loaded"),
    )


def until(what: object, patience_s: float = 30.0) -> None:
    give_up = time.monotonic() + patience_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def file_of(path: Path) -> WatchedFile:
    return WatchedFile(path, path.name, (1, 1), ((path.name, 1, 1, 1),))


def test_a_file_is_looked_through_in_a_process_of_its_own(folder: Path) -> None:
    send = FileSender("tcp://127.0.0.1:9", "tcp://127.0.0.1:9", recorded=lambda: False)
    (folder / "text.h5").write_text("this is no scan")
    refused = send(file_of(folder / "text.h5"))
    assert refused.of_file
    assert "text.h5" in refused.error
    send.close()
    assert send(file_of(folder / "text.h5")).error == "the server is stopping"


def test_a_reader_that_dies_is_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    send = FileSender("tcp://127.0.0.1:9", "tcp://127.0.0.1:9", recorded=lambda: False)
    assert send(file_of(folder / "scan.h5")) == Sent(error="its reader ended with status 1")
