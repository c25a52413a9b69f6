"""Whether two machines see the same file, and files sent in pieces."""

import os

import h5py
import numpy as np
from results_writers import refine, save

from ptylive.server.cluster import transfer
from ptylive.server.cluster.transfer import MAPS, FileIdentity, copy_maps, pieces


def test_a_file_is_known_by_size_time_and_content(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(np.random.default_rng(1).bytes(3 * 2**20))
    known = FileIdentity.of(path)
    assert known.is_of(path)
    assert FileIdentity.from_plain(known.to_plain()) == known
    stamp = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"other")
    os.utime(path, ns=(stamp, stamp))
    assert not known.is_of(path), "same size and time, other content"
    assert FileIdentity.of(path).name != known.name


def test_another_time_another_size_and_no_file_are_not_it(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"1234")
    known = FileIdentity.of(path)
    os.utime(path, ns=(5, 5))
    assert not known.is_of(path)
    assert not known.is_of(tmp_path / "gone.h5")
    assert not known.is_of(tmp_path)


def test_pieces_make_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE_BYTES", 7)
    (tmp_path / "a").write_bytes(bytes(range(30)))
    found = list(pieces(tmp_path / "a"))
    assert [start for start, _ in found] == [0, 7, 14, 21, 28]
    assert b"".join(piece for _, piece in found) == bytes(range(30))


def test_maps_are_put_beside_what_a_results_file_holds(tmp_path):
    source, target = tmp_path / "from_results.h5", tmp_path / "to_results.h5"
    save(source, 2.0)
    save(target, 1.0)
    refine(target, 7.0)
    copy_maps(source, target)
    with h5py.File(target) as file:
        assert float(file["maps/obf"][0, 0]) == 2.0
        assert list(file["refinements"]) == ["run1"]
        assert set(MAPS) & set(file) == {"maps", "coverage", "calibration"}


def test_maps_make_a_file_where_there_is_none(tmp_path):
    save(tmp_path / "from_results.h5", 2.0)
    refine(tmp_path / "from_results.h5", 7.0)
    copy_maps(tmp_path / "from_results.h5", tmp_path / "new_results.h5")
    with h5py.File(tmp_path / "new_results.h5") as file:
        assert "maps/obf" in file and "refinements" not in file
