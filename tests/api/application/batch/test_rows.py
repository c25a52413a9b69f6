"""What a batch remembers of its scans from one call to the next."""

import os
from pathlib import Path

import pytest

from ptylive.application.batch.rows import STATE_FILE, Row, State, digest, read_rows, rows_of, write_rows
from ptylive.schema import InputFileError


def scan(folder: Path, name: str = "a.h5", content: bytes = b"frames") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def in_state(folder: Path, state: State, **values) -> list[Row]:
    (row,) = rows_of([scan(folder)], [], "s", retry=False)
    return [row.having(state=state, run="run1", **values)]


def test_rows_come_back_as_they_were(tmp_path):
    rows = in_state(tmp_path, State.DONE, loss=1.25, remarks=("odd",), seconds=3.5, information_limit_A=0.8)
    write_rows(tmp_path, rows)
    assert read_rows(tmp_path) == rows
    assert rows[0].results(tmp_path) == tmp_path / "a_results.h5"


def test_a_loss_that_is_no_number_can_be_kept(tmp_path):
    rows = in_state(tmp_path, State.FAILED, loss=float("nan"), information_limit_A=float("inf"))
    write_rows(tmp_path, rows)
    (row,) = read_rows(tmp_path)
    assert (row.loss, row.information_limit_A) == (None, None)


def test_a_name_need_not_be_unicode(tmp_path):
    rows = rows_of([scan(tmp_path, os.fsdecode(b"s\xff.h5"))], [], "s", retry=False)
    write_rows(tmp_path, rows)
    assert read_rows(tmp_path) == rows


@pytest.mark.parametrize(
    ("state", "retry", "becomes"),
    [
        (State.DONE, False, State.DONE),
        (State.DONE, True, State.DONE),
        (State.FAILED, False, State.FAILED),
        (State.FAILED, True, State.WAITING),
        (State.RUNNING, False, State.WAITING),
        (State.STOPPED, False, State.WAITING),
    ],
)
def test_a_second_call_goes_on_with_what_was_not_done(tmp_path, state, retry, becomes):
    earlier = in_state(tmp_path, state)
    (row,) = rows_of([tmp_path / "a.h5"], earlier, "s", retry=retry)
    assert (row.state, row.run) == (becomes, "run1")


def test_a_scan_that_has_changed_and_other_settings_begin_anew(tmp_path):
    earlier = in_state(tmp_path, State.DONE, loss=1.0)
    (other,) = rows_of([tmp_path / "a.h5"], earlier, "t", retry=False)
    assert (other.state, other.run, other.loss) == (State.WAITING, "", None)
    os.utime(tmp_path / "a.h5", ns=(1, 1))
    (changed,) = rows_of([tmp_path / "a.h5"], earlier, "s", retry=False)
    assert (changed.state, changed.run) == (State.WAITING, "")


def test_scans_of_one_name_have_files_of_their_own(tmp_path):
    scans = [scan(folder, "s.h5") for folder in (tmp_path / "one", tmp_path / "two", tmp_path / "deep" / "two")]
    rows = rows_of(scans, [], "s", retry=False)
    assert [row.name for row in rows] == ["s", "two_s", "s_2"]
    assert [row.name for row in rows_of(scans[::-1], rows, "s", retry=False)] == ["s_2", "two_s", "s"]


def test_a_file_that_is_gone_has_a_row(tmp_path):
    (row,) = rows_of([tmp_path / "gone.h5"], [], "s", retry=False)
    assert (row.file_bytes, row.state) == (-1, State.WAITING)


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": 9}', '{"format": 1, "scans": [{"scan": 3}]}', "[]", "\0", "[" * 5000]
)
def test_a_file_that_is_damaged_or_another_s_is_refused_in_a_line(tmp_path, text):
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(InputFileError, match=r"batch\.json is damaged or written by another program"):
        read_rows(tmp_path)


def test_the_digest_of_settings_does_not_depend_on_their_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
