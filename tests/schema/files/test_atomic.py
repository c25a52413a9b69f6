"""Temporary names: unique, and removed once their process is gone."""

import errno
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from ptylive.schema.files import atomic
from ptylive.schema.files.atomic import remove_abandoned, replacing
from ptylive.schema.files.processes import ProcessName


def test_two_threads_write_the_same_file_at_once(tmp_path):
    path, both = tmp_path / "a.json", threading.Barrier(2)
    problems = []

    def write(text: str) -> None:
        try:
            with replacing(path) as temporary:
                temporary.write_text(text)
                both.wait(10)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert path.read_text() in ("one", "two")
    assert list(tmp_path.iterdir()) == [path]


def test_the_disk_has_the_file_before_it_has_its_name_and_then_the_name(tmp_path, monkeypatch):
    happened, sync = [], os.fsync

    def note(handle: int) -> None:
        happened.append((os.fstat(handle).st_ino, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    path = tmp_path / "a.json"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert happened == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_what_was_not_finished_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(ValueError, match="half way"), replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("half way")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.h5", "ä" * 120, "a" * 250, "with spaces and.dots..h5"])
def test_any_name_can_be_written(tmp_path, name):
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("whole")
        assert remove_abandoned(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_names_are_written_where_only_ascii_is_one(tmp_path):
    """Regression: with LC_ALL=C and Python's UTF-8 mode switched off, ``ü.h5`` was an internal error."""
    code = "import pathlib, sys; from ptylive.schema.files.atomic import replacing\n"
    code += "with replacing(pathlib.Path(sys.argv[1])) as temporary: temporary.write_text('whole')"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "ü.h5"], check=True, env=environment)
    assert [p.name for p in tmp_path.iterdir()] == ["ü.h5"]


def leave_behind(path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        os._exit(1)


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    process = multiprocessing.get_context("fork").Process(target=leave_behind, args=(tmp_path / "a.h5",))
    process.start()
    process.join()
    dead = set(tmp_path.iterdir())
    own = ProcessName.own()
    reused = f".a.h5.{ProcessName(own.host, own.number, own.start + 1)}.00ff00ff.tmp"
    old_form = f".a.h5.{process.pid}.tmp"
    elsewhere = f".a.h5.{ProcessName('microscope', process.pid, 1)}.00ff00ff.tmp"
    living = f".a.h5.{own}.00ff00ff.tmp"
    strangers = [".a.h5.tmp", ".cache.tmp", "a.h5.123.tmp", f".old.{os.getpid()}.tmp"]
    for name in (reused, old_form, elsewhere, living, *strangers):
        (tmp_path / name).touch()
    gone = {*dead, tmp_path / reused, tmp_path / old_form}
    assert len(dead) == 1 and set(remove_abandoned(tmp_path)) == gone
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([elsewhere, living, *strangers])
    monkeypatch.setattr(atomic, "FORGOTTEN_S", 3600.0)
    assert remove_abandoned(tmp_path) == []
    long_ago = time.time() - 7200
    os.utime(tmp_path / elsewhere, (long_ago, long_ago))
    assert remove_abandoned(tmp_path) == [tmp_path / elsewhere]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    """The operating system's message about a failed write contains no file name."""
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "a.png")
    with pytest.raises(OSError, match="no name") as caught, replacing(tmp_path / "a.png"):
        raise OSError(errno.EIO, "no name")
    assert caught.value.filename is None
