"""Compressed scans on the disk: in the documented layout, exact, and read as such."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from stream_tools import make_header, messages_of

from ptylive.schema import Basis, InputFileError, ScanHeader, WireError
from ptylive.schema.model import Array
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.source import open_source
from ptylive.streamer.wire import ArmMessage, decode, encode

EXTRA = ("sum", "k_row", "k_col")


def compressed_header(**scan: object) -> ScanHeader:
    basis = Basis(kind="zernike", n_bright=3, n_dark=1, extra=EXTRA, center_px=(3.5, 3.25), radius_px=2.0)
    masks = np.random.default_rng(2).normal(size=(4, 8, 8)).astype(np.float32)
    return replace(make_header(**scan), basis=basis, arrays={"masks": masks})


def vectors_of(header: ScanHeader) -> Array:
    return np.random.default_rng(3).normal(size=(header.frames, 4 + len(header.basis.extra))).astype(np.float32)


def recorded(tmp_path: Path, header: ScanHeader, vectors: Array, messages: slice = slice(None)) -> Path:
    journal = Journal(tmp_path / "a.journal", header)
    for message in messages_of(header, vectors)[messages]:
        journal.append(message)
    journal.close()
    record(tmp_path / "a.journal", tmp_path / "a.h5")
    return tmp_path / "a.h5"


@pytest.mark.parametrize("flyback", [0, 2])
def test_the_layout_of_the_contract(tmp_path: Path, flyback: int) -> None:
    header = compressed_header(flyback_frames=flyback)
    vectors = vectors_of(header)
    target = recorded(tmp_path, header, vectors)
    with h5py.File(target) as file:
        assert "data" not in file
        assert file["coefficients"].shape == (6, 7 + flyback, 4)
        np.testing.assert_array_equal(file["coefficients"][()].reshape(-1, 4), vectors[:, :4])
        np.testing.assert_array_equal(file["extra"][()].reshape(-1, 3), vectors[:, 4:])
        assert list(file["extra"].attrs["names"]) == list(EXTRA)
        np.testing.assert_array_equal(file["basis/masks"][()], header.arrays["masks"])
        said = dict(file["basis"].attrs)
        assert (said["kind"], said["n_bright"], said["n_dark"], said["of"]) == ("zernike", 3, 1, "intensity")
        assert file["view/frames/data"] == file["coefficients"]
    with open_source(target) as source:
        assert source.header.basis == header.basis
        assert source.header.scan == header.scan
        assert source.header.detector_shape == (8, 8)
        assert not source.stores_bslz4
        np.testing.assert_array_equal(source.header.arrays["masks"], header.arrays["masks"])
        np.testing.assert_array_equal(source.frames(np.array([5, 3, 4, 40])), vectors[[5, 3, 4, 40]])
        assert sum(len(batch.index) for batch in source.batches(10)) == header.frames


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    header = compressed_header()
    target = recorded(tmp_path, header, vectors_of(header))
    with h5py.File(target) as file:
        stored = file["coefficients"].id.get_chunk_info_by_coord((1, 0, 0))
    content = bytearray(target.read_bytes())
    content[stored.byte_offset + 5] ^= 1
    target.write_bytes(content)
    with open_source(target) as source, pytest.raises(InputFileError, match="its bytes are damaged"):
        source.frames(np.arange(header.frames))


def test_what_did_not_arrive_is_known(tmp_path: Path) -> None:
    header = compressed_header()
    target = recorded(tmp_path, header, vectors_of(header), slice(1, None))
    with open_source(target) as source:
        assert 0 < source.received.sum() < header.frames
        assert not source.received[0]


def test_vectors_without_extras_read_back(tmp_path: Path) -> None:
    header = compressed_header()
    header = replace(header, basis=header.basis.model_copy(update={"extra": ()}))
    vectors = vectors_of(header)
    with open_source(recorded(tmp_path, header, vectors)) as source:
        assert source.header.basis.extra == ()
        np.testing.assert_array_equal(source.frames(np.arange(header.frames)), vectors)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: f.pop("basis"), "no masks"),
        (lambda f: f["basis"].attrs.__setitem__("n_dark", 5), "not n_bright"),
        (lambda f: f["basis"].attrs.__setitem__("of", "cubes"), "impossible"),
        (lambda f: f["extra"].attrs.__setitem__("names", ["sum"]), "but 1 names"),
        (lambda f: (f.pop("extra"), f.create_dataset("extra", data=np.zeros((2, 2)))), "/extra is"),
        (lambda f: (f.pop("coefficients"), f.create_dataset("coefficients", data=np.zeros(3))), "floating-point"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage, said: str) -> None:
    header = compressed_header()
    target = recorded(tmp_path, header, vectors_of(header))
    with h5py.File(target, "r+") as file:
        damage(file)
    with pytest.raises(InputFileError, match=said), open_source(target):
        pass


def test_masks_that_are_no_numbers_are_refused() -> None:
    header = compressed_header()
    masks = header.arrays["masks"].copy()
    masks[0, 0, 0] = np.inf
    with pytest.raises(WireError, match="needs the part masks") as caught:
        decode(encode(ArmMessage(replace(header, arrays={"masks": masks}))))
    assert caught.value.reason == "missing_part"
