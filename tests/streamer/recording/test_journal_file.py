"""The file of a journal: complete writes or none, one owner, a unique name."""

import errno
import os
import time
from pathlib import Path

import pytest

from ptylive.streamer.recording import journal_file
from ptylive.streamer.recording.journal_file import JournalFile, new_journal


def views(*texts):
    return [memoryview(text) for text in texts]


def handles():
    """Open files of this process, where the system reports them."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_what_the_system_writes_in_part_is_written_on(tmp_path, monkeypatch):
    """A write may stop anywhere: within a buffer, between two, or before the first."""
    file = JournalFile(tmp_path / "a.journal", 0)
    whole = os.writev
    monkeypatch.setattr(journal_file, "_MAX_IOV", 3)
    monkeypatch.setattr(os, "writev", lambda fd, buffers: whole(fd, [memoryview(b"".join(buffers))[:4]]))
    texts = [b"one", b"", b"three", b"four", b"", b"sixth"]
    file.write(views(*texts))
    file.write(views(b"more"))
    file.sync()
    file.close()
    assert (tmp_path / "a.journal").read_bytes() == b"".join(texts) + b"more"


def test_a_disk_that_fills_up_leaves_the_last_whole_write(tmp_path, monkeypatch):
    file = JournalFile(tmp_path / "a.journal", 0)
    file.write(views(b"whole"))
    written = []

    def full(fd, buffers):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(os.write(fd, bytes(buffers[0])[:2]))
        return written[0]

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        with pytest.raises(OSError, match="No space"):
            file.write(views(b"half"))
    assert (tmp_path / "a.journal").read_bytes() == b"whole"
    file.write(views(b" again"))
    file.close()
    assert (tmp_path / "a.journal").read_bytes() == b"whole again"


def test_only_one_process_writes_it_and_a_second_one_changes_nothing(tmp_path):
    path = tmp_path / "a.journal"
    file = JournalFile(path, 0)
    file.write(views(b"mine"))
    before = handles()
    with pytest.raises(BlockingIOError):
        JournalFile(path, 0)
    assert handles() == before
    assert path.read_bytes() == b"mine"
    file.close()
    taken = JournalFile(path, 2)
    assert (taken.end, path.read_bytes()) == (2, b"mi")
    taken.discard()
    assert not path.exists()


def test_two_scans_of_a_second_get_two_names_and_never_that_of_a_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _format: "20261121-093000")
    folder = tmp_path / "new" / "folder"
    first, second = new_journal(folder, "gold"), new_journal(folder, "gold")
    assert [path.name for path in (first, second)] == [
        "20261121-093000_gold.journal",
        "20261121-093000_gold-2.journal",
    ]
    second.with_suffix(".h5").touch()
    second.unlink()  # recorded: the journal is gone, the name is not
    assert new_journal(folder, "gold").name == "20261121-093000_gold-3.journal"


@pytest.mark.parametrize(
    ("series", "name"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("", "scan"),
        ("...", "scan"),
        ("a/b c\n", "a_b_c"),
        ("x" * 58, "x" * 58),
        ("x" * 500 + " of grain 3, run 12", "x" * 38 + "--xx_of_grain_3_run_12"),  # the number is not lost
    ],
)
def test_what_a_sender_calls_its_series_leads_nowhere_else(tmp_path, monkeypatch, series, name):
    monkeypatch.setattr(time, "strftime", lambda _format: "now")
    made = new_journal(tmp_path, series)
    assert (made.parent, made.name) == (tmp_path, f"now_{name}.journal")
