"""The table of a batch, as a file for programs and as a page."""

import csv

import pytest

from ptylive.application.batch.figures import MAP, thumbnail
from ptylive.application.batch.rows import Row, State
from ptylive.application.batch.table import (
    COLUMNS,
    CSV_FILE,
    PAGE_FILE,
    summary,
    to_html,
    write_standalone,
    write_table,
)
from ptylive.schema import InputFileError

DONE = Row(
    scan="/data/a b.h5",
    name="a b",
    state=State.DONE,
    run="run1",
    loss=352.125,
    epoch=6,
    epochs=6,
    seconds=12.34,
    information_limit_A=0.81949,
    map_shown="obf",
)
FAILED = Row(scan="/data/<script>.h5", name="<script>", state=State.FAILED, reason="it is damaged: <b>restore</b> it")
ROWS = [DONE, FAILED, Row(scan="/data/c.h5", name="c", state=State.RUNNING, doing="epoch 2 of 6")]


def lines(folder):
    with (folder / CSV_FILE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_line_for_each_scan(tmp_path):
    write_table(tmp_path, ROWS, ended=False)
    done, failed, running = lines(tmp_path)
    assert tuple(done) == COLUMNS
    assert (done["information_limit_A"], done["loss"], done["epochs"], done["seconds"]) == (
        "0.8195",
        "352.125",
        "6",
        "12.3",
    )
    assert (done["results"], failed["results"], failed["loss"]) == ("a b_results.h5", "", "")
    assert (failed["state"], failed["reason"]) == ("failed", FAILED.reason)
    assert running["state"] == "running"


def test_words_of_files_are_text_on_the_page_whatever_they_are(tmp_path):
    page = to_html(tmp_path, ROWS, ended=True)
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<b>restore" not in page
    assert "running</span>: epoch 2 of 6" in page
    assert "0.82 Å" in page and "352.12" in page


def test_a_page_reloads_itself_until_the_batch_has_ended(tmp_path):
    write_table(tmp_path, ROWS, ended=False)
    assert 'http-equiv="refresh"' in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")
    write_table(tmp_path, ROWS, ended=True)
    assert 'http-equiv="refresh"' not in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")


def test_thumbnails_are_named_relative_to_the_page(tmp_path):
    path = thumbnail(tmp_path, "a b", MAP)
    path.parent.mkdir()
    path.touch()
    assert 'src="thumbnails/a%20b-map.png"' in to_html(tmp_path, ROWS, ended=True)
    assert "a%20b-object.png" not in to_html(tmp_path, ROWS, ended=True)


def test_a_name_that_is_no_text_stops_nothing(tmp_path):
    write_table(tmp_path, [Row(scan="/data/x\n.h5", name="x\n")], ended=True)
    assert "x\\n.h5" in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")


def test_a_thumbnail_of_a_scan_whose_name_is_no_unicode_is_found(tmp_path):
    done = Row(scan="/data/bad\udcff.h5", name="bad\udcff", state=State.DONE)
    path = thumbnail(tmp_path, done.name, MAP)
    path.parent.mkdir()
    path.touch()
    write_table(tmp_path, [done], ended=True)
    assert 'src="thumbnails/bad%FF-map.png"' in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")


def test_the_summary_counts_states():
    assert summary(ROWS) == "3 scans: 1 running, 1 done, 1 failed"


def test_a_page_of_another_origin_is_not_replaced(tmp_path):
    made = write_standalone(tmp_path, ROWS)
    assert write_standalone(tmp_path, ROWS) == made
    made.write_text("<!doctype html> of somebody else")
    with pytest.raises(InputFileError, match="nothing in it says that ptylive wrote it"):
        write_standalone(tmp_path, ROWS)
    assert made.read_text() == "<!doctype html> of somebody else"
