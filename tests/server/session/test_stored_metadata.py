"""Metadata sent with a scan are returned as plain text, within bounds, whatever the file holds."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from stream_tools import make_frames, make_header, stored_recording

from ptylive.schema import InputFileError
from ptylive.server.session import stored_metadata
from ptylive.server.session.stored_metadata import describe_metadata, plain
from ptylive.streamer.source import open_recording


def told(path):
    return {entry["name"]: entry["value"] for entry in describe_metadata(path)["entries"]}


def test_all_that_was_sent_is_told(tmp_path):
    header = replace(make_header(), sent={"acquisition header": "HDR,\nDwell: 1 ms"})
    path = stored_recording(tmp_path, header, make_frames(header))
    values = told(path)
    assert values["metadata/sent/acquisition header"] == "HDR,\nDwell: 1 ms"
    with open_recording(path) as source:
        assert source.header.sent == header.sent, "and goes along when the scan is sent again"
    assert values["metadata/uid"] == header.uid
    assert values["metadata/energy_eV"] == repr(float(header.optics.energy_eV))
    assert values["metadata/scan_shape"] == "[6, 7]"
    assert values["data"].startswith("6 × 7 × ")


def test_odd_values_are_words_without_control_characters(tmp_path):
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["empty"] = h5py.Empty("f4")
        file.attrs["bytes"] = b"caf\xe9"
        file.attrs["lines"] = "HDR,\r\nkey: \x1b[31mred <b>"
        file["few"], file["nothing"] = np.array([1.5, np.nan]), h5py.Empty("f8")
        file["text"], file["truth"] = "a note", np.eye(20)
        file["words"] = np.array(["a", "b"], dtype=object)
        file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/")
    values = told(path)
    assert values["bytes"] == "caf\ufffd"
    assert values["lines"] == "HDR,\nkey: \ufffd[31mred <b>"
    assert values["few"] == "[1.5, nan]"
    assert values["text"] == "a note"
    assert values["words"] == "[a, b]"
    assert values["truth"] == "20 × 20 float64, 0 to 1"
    assert "elsewhere" not in values, "no other file is opened"


def test_entries_and_lengths_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "many.h5"
    with h5py.File(path, "w", track_order=True) as file:
        for number in range(20):
            file.attrs[f"a{number:02}"] = "x" * 50
    monkeypatch.setattr(stored_metadata, "MOST_ENTRIES", 15)
    found = describe_metadata(path)
    assert (len(found["entries"]), found["left_out"]) == (15, 5)
    monkeypatch.setattr(stored_metadata, "MOST_CHARACTERS_TOGETHER", 200)
    found = describe_metadata(path)
    assert (len(found["entries"]), found["left_out"]) == (4, 16)
    monkeypatch.setattr(stored_metadata, "MOST_CHARACTERS", 20)
    assert describe_metadata(path)["entries"][0]["value"] == f"{'x' * 20} … (30 more characters)"
    assert plain("abcdef", 3) == "abc … (3 more characters)"


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path):
    path = tmp_path / "none.h5"
    path.write_text("none")
    with pytest.raises(InputFileError, match=r"none\.h5"):
        describe_metadata(path)
