"""The server's part of compressing a stream: masks from the first patterns or a file, and figures that hold."""

import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here
from shared_data import shared_data
from stream_tools import LOOPBACK

from ptylive.application.conversion import convert_file
from ptylive.application.stream_compression import StreamCompression
from ptylive.engine.bases.choice import BasisChoice, parse_basis
from ptylive.engine.bases.compressor import LINEAR_EXTRAS
from ptylive.engine.preparation import Preparation
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.source import FileSource, open_source
from ptylive.streamer.storage.vectors import stored_bytes


def recorded(folder: Path, source: Path, choice: BasisChoice) -> tuple[Path, list[str]]:
    """The recording of a replayed file by a receiver that compresses, and what it said."""
    said: list[str] = []
    compression = StreamCompression(choice, lambda header: header, lambda level, text: said.append(text))
    receiver = Receiver(ReceiverSettings(LOOPBACK, folder, compression=compression), on_event=lambda event: None)
    reading = threading.Thread(target=lambda reader: [None for _ in reader], args=(receiver.ring.reader(),))
    reading.start()
    receiver.start()
    replay(source, ReplaySettings(to=receiver.address))
    while receiver.status().state != "complete":
        threading.Event().wait(0.02)
    path = Path(receiver.status().recording)
    receiver.stop()
    reading.join()
    return path, said


def exact(source: FileSource) -> np.ndarray:
    """Coefficients and linear extras: perp_bright and perp_dark are small differences of large numbers."""
    words, vectors = source.header.basis, source.frames(np.arange(source.frame_count))
    count = words.n_bright + words.n_dark
    return np.concatenate([vectors[:, :count], words.columns(vectors, LINEAR_EXTRAS)], axis=1)


@pytest.mark.data
@pytest.mark.parametrize("basis", ["zernike:45+1", "data:15+1", "pca:15+1", "binning:45+1:sqrt"])
def test_the_recording_is_what_convert_makes_with_its_masks(tmp_path: Path, basis: str) -> None:
    source = shared_data("tiny_mos2_80kV_focus")
    path, said = recorded(tmp_path / "recordings", source, parse_basis(basis))
    with open_source(path) as made:
        kind, root = basis.partition(":")[0], basis.endswith("sqrt")
        assert (made.header.basis.kind, made.header.basis.of == "sqrt_intensity") == (kind, root)
        vectors = exact(made)
    convert_file(source, tmp_path / "again.h5", BasisChoice("file", file=path), Preparation(), {})
    with open_source(tmp_path / "again.h5") as again:
        np.testing.assert_allclose(exact(again), vectors, rtol=1e-4, atol=1e-2)
    assert "intact-information angles" in said[0]


@pytest.mark.data
def test_a_basis_of_an_earlier_scan_serves_the_next_from_its_first_frame(tmp_path: Path) -> None:
    source = shared_data("tiny_mos2_80kV_focus")
    first, _ = recorded(tmp_path / "one", source, parse_basis("data:9+1"))
    saved = StreamCompression(parse_basis(str(first)), lambda header: header, lambda level, text: None)
    with open_source(source) as scan:
        assert saved.sample_frames(scan.header) == 0
    second, _ = recorded(tmp_path / "two", source, parse_basis(str(first)))
    with open_source(first) as one, open_source(second) as two:
        np.testing.assert_array_equal(one.header.arrays["masks"], two.header.arrays["masks"])
        np.testing.assert_allclose(exact(one), exact(two), rtol=1e-4, atol=1e-2)


def disc_scan(path: Path, side: int, pixels: int) -> Path:
    """A large scan of float32 patterns, stored as they are: a disc with a little noise."""
    grid = np.hypot(*(np.indices((pixels, pixels)) - (pixels - 1) / 2))
    disc = np.where(grid < pixels / 4, 20.0, 0.2).astype(np.float32)
    counts = np.random.default_rng(5).poisson(disc, (side, side, pixels, pixels)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["data"] = counts
    return path


def test_the_compression_said_is_the_ratio_of_the_files(tmp_path: Path) -> None:
    """C counts numbers: it is the ratio of the files where both hold numbers of four bytes."""
    source = disc_scan(tmp_path / "raw.h5", side=96, pixels=32)
    path, said = recorded(tmp_path / "recordings", source, parse_basis("zernike:45+1"))
    ratio = float(said[0].partition("compression ")[2].partition(",")[0])
    assert ratio == pytest.approx(32 * 32 / (46 + 8), rel=0.03)
    with h5py.File(path) as file:
        stored = file["coefficients"].nbytes + file["extra"].nbytes  # chunks of so small a file are partly empty
    with h5py.File(source) as file:
        assert ratio == pytest.approx(file["data"].nbytes / stored, rel=0.01)
    assert stored_bytes(path) <= path.stat().st_size
    assert last_json(ptylive_here("inspect", path, "--json"))["compression"] == pytest.approx(
        32 * 32 / (46 + 8), rel=0.03
    )
