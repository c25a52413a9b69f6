"""The index of a folder's content: used in the receive thread, so a look-up opens nothing and never fails."""

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from odd_files import fill_with_odd_things, put_loop
from stream_tools import make_frames, make_header, stored_recording

from ptylive.schema import InputFileError
from ptylive.streamer.recording import catalogue as module
from ptylive.streamer.recording.catalogue import Catalogue
from ptylive.streamer.recording.recovery import journals

PATIENCE_S = 120.0


@pytest.fixture
def catalogue(tmp_path):
    said = []
    made = Catalogue(tmp_path, said.append)
    made.said = said
    yield made
    made.close()


@pytest.mark.slow
def test_a_damaged_file_costs_that_file(tmp_path, catalogue):
    header = make_header()
    frames = make_frames(header)
    path = stored_recording(tmp_path, header, frames, missing=slice(2, 5))
    fill_with_odd_things(tmp_path)
    put_loop(tmp_path)
    assert catalogue.refresh(PATIENCE_S)
    found = catalogue.find(header.uid)
    assert found.path == path
    assert found.header == header
    assert np.flatnonzero(~found.received).tolist() == [2, 3, 4]
    (said,) = catalogue.said
    assert "not a readable recording" in said
    assert "and 3 more" in said, "loop, empty, sparse and text; the others are no files"


def test_asking_opens_nothing(tmp_path, catalogue):
    header = make_header()
    stored_recording(tmp_path, header, make_frames(header))
    assert catalogue.find(header.uid) is None, "nobody has read the folder yet"


def test_what_the_program_records_is_known_without_being_opened(tmp_path, catalogue):
    catalogue.refresh(PATIENCE_S)
    header = make_header()
    path = tmp_path / "own.h5"
    path.write_text("not opened")
    catalogue.add(path, header, np.ones(header.frames, bool))
    assert catalogue.find(header.uid).path == path


def test_the_newest_recording_of_a_scan_wins(tmp_path, catalogue):
    header = make_header()
    paths = [tmp_path / name for name in ("b.h5", "a.h5")]
    for path in paths:
        path.touch()
        catalogue.add(path, replace(header, series=path.stem), np.ones(header.frames, bool))
    assert catalogue.find(header.uid).path == paths[1]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    catalogue = Catalogue(tmp_path / "none")
    assert catalogue.refresh(PATIENCE_S)
    assert catalogue.find("x") is None
    catalogue.close()


def test_odd_things_are_no_journals(tmp_path):
    names = fill_with_odd_things(tmp_path, ".journal")
    found = {path.name for path in journals(tmp_path)}
    assert found == {name for name in names if name.startswith(("empty", "sparse", "text"))}


def test_only_the_newest_are_kept(tmp_path, catalogue, monkeypatch):
    monkeypatch.setattr(module, "NEWEST", 2)
    arms = [make_header() for _ in range(3)]
    for n, header in enumerate(arms):
        path = tmp_path / f"{n}.h5"
        path.touch()
        os.utime(path, ns=(n * 10**9, n * 10**9))
        catalogue.add(path, header, np.ones(header.frames, bool))
    assert [catalogue.find(header.uid) is not None for header in arms] == [False, True, True]


def test_what_has_gone_is_forgotten(tmp_path, catalogue):
    header = make_header()
    (tmp_path / "a.h5").touch()
    catalogue.add(tmp_path / "a.h5", header, np.ones(header.frames, bool))
    (tmp_path / "a.h5").unlink()
    catalogue._read_folder()
    assert catalogue.find(header.uid) is None
    catalogue.add(tmp_path / "a.h5", header, np.ones(header.frames, bool))
    assert catalogue.find(header.uid) is None, "it was gone before it was told of"


def test_arrays_of_all_scans_are_kept_once_and_have_a_bound(catalogue, monkeypatch):
    monkeypatch.setattr(module, "MOST_ARRAY_BYTES", 100)
    mask = {"bad_pixel_mask": np.eye(8, dtype=bool)}
    one, other = (
        catalogue._shared("a.h5", replace(make_header(), arrays={k: v.copy() for k, v in mask.items()})) for _ in "ab"
    )
    assert one["bad_pixel_mask"] is other["bad_pixel_mask"]
    with pytest.raises(InputFileError, match=r"b\.h5 has arrays that are too large"):
        catalogue._shared("b.h5", replace(make_header(), arrays={"bad_pixel_mask": ~np.eye(8, dtype=bool)}))


def test_files_that_name_the_series_of_a_waiting_scan_are_read_first(tmp_path, catalogue, monkeypatch):
    for n, name in enumerate(("1_a b.h5", "2_gold.h5", "3_gold.h5", "4_c.h5")):
        (tmp_path / name.replace(" ", "_")).touch()
        os.utime(tmp_path / name.replace(" ", "_"), ns=(n * 10**9, n * 10**9))
    read, may_read = [], threading.Event()

    def note(name, stamp):
        assert may_read.wait(PATIENCE_S)
        read.append(name)
        return module._Entry(stamp)

    monkeypatch.setattr(catalogue, "_read", note)
    assert not catalogue.refresh(0.0)
    while catalogue._unread is None:
        time.sleep(0.005)
    assert catalogue.is_undecided("a b")
    assert not catalogue.is_undecided("silver")
    may_read.set()
    assert catalogue.refresh(PATIENCE_S)
    assert read in (["4_c.h5", "1_a_b.h5", "3_gold.h5", "2_gold.h5"], ["1_a_b.h5", "4_c.h5", "3_gold.h5", "2_gold.h5"])
    assert not catalogue.is_undecided("a b")


def test_a_long_series_may_be_in_a_file_that_an_earlier_version_named(tmp_path, catalogue, monkeypatch):
    (tmp_path / f"1_{'x' * 60}.h5").touch()
    may_read = threading.Event()
    monkeypatch.setattr(catalogue, "_read", lambda _name, stamp: may_read.wait(PATIENCE_S) and module._Entry(stamp))
    assert not catalogue.refresh(0.0)
    while catalogue._unread is None:
        time.sleep(0.005)
    assert catalogue.is_undecided("x" * 80 + " run 12")
    assert not catalogue.is_undecided("y" * 80)
    may_read.set()
    assert catalogue.refresh(PATIENCE_S)


def test_once_closed_nothing_is_read(tmp_path):
    closed = Catalogue(tmp_path, lambda _text: None)
    closed.close()
    assert not closed.refresh(0.0)
