"""Small files: anything else is reported in one line, without waiting for it and without reading all of it."""

import os

import pytest

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import check_is_file, read_bytes, read_text, real_path

KIB = 1024


def odd(folder, kind):
    """Something in place of a file."""
    path = folder / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "in a file":
        path.write_text("x")
        return path / "it"
    elif kind == "zero byte":
        return folder / "a\0b"
    elif kind == "long":
        return folder / ("x" * 5000)
    return path


ODD = {
    "nothing": "no such file",
    "folder": "is not a file",
    "pipe": "is not a file",
    "circle": "symbolic links",
    "in a file": "o",  # "no such file" of one function, "Not a directory" of the other
    "zero byte": "null",
    "long": "too long",
}


@pytest.mark.parametrize(("kind", "words"), ODD.items(), ids=ODD)
@pytest.mark.parametrize("read", [check_is_file, lambda path: read_bytes(path, KIB), lambda path: read_text(path, KIB)])
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path, kind, words, read):
    with pytest.raises(InputFileError, match=words) as caught:
        read(odd(tmp_path, kind))
    assert "\n" not in caught.value.line()


def test_a_file_that_may_not_be_read_is_said_to_be_forbidden(tmp_path, monkeypatch):
    """Root may read everything: the answer of the system is replaced."""
    path = tmp_path / "it"
    path.write_text("x")
    monkeypatch.setattr(os, "access", lambda asked, mode: (asked, mode) != (path, os.R_OK))
    with pytest.raises(InputFileError, match="it cannot be read: permission denied"):
        check_is_file(path)


def test_the_largest_that_is_allowed_is_read_and_one_byte_more_is_not(tmp_path):
    path = tmp_path / "notes"
    path.write_bytes(b"x" * KIB)
    check_is_file(path)
    assert read_bytes(path, KIB) == b"x" * KIB
    assert read_text(path, KIB) == "x" * KIB
    path.write_bytes(b"x" * (KIB + 1))
    with pytest.raises(InputFileError, match=r"larger than 0\.000977 MiB"):
        read_bytes(path, KIB)


def test_a_file_without_end_is_not_read_to_it():
    with pytest.raises(InputFileError, match="is not a file"):
        read_bytes(os.devnull, KIB)


def test_bytes_that_are_no_text_are_said_to_be_none(tmp_path):
    path = tmp_path / "preset.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputFileError, match="is not text") as caught:
        read_text(path, KIB)
    assert "save it as UTF-8" in caught.value.line()


def test_a_real_path_need_not_be_there_but_must_lead_somewhere(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert real_path(tmp_path / "link" / "new.h5") == tmp_path.resolve() / "there" / "new.h5"
    (tmp_path / "round").symlink_to(tmp_path / "round")
    for name in ("round", "round/out.h5", "x" * 300):
        with pytest.raises(OSError, match=r"symbolic links|too long"):
            real_path(tmp_path / name)
