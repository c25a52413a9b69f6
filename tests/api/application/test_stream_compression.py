"""How the server compresses a stream: masks from the first patterns or a file, and figures that hold."""

import threading
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from quick_first import quick_first
from running import last_json, ptylive_here
from scan_parts import part_of
from shared_data import shared_data
from stream_tools import LOOPBACK

from ptylive.application.conversion import convert_file
from ptylive.application.stream_compression import StreamCompression
from ptylive.engine.bases.choice import BasisChoice, parse_basis
from ptylive.engine.bases.compressor import LINEAR_EXTRAS
from ptylive.engine.preparation import Preparation
from ptylive.schema.metadata import overlay
from ptylive.schema.pattern.distortion import numbers_of
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.source import FileSource, open_source
from ptylive.streamer.storage.vectors import stored_bytes
from ptylive.streamer.tracking.names import compatible_headers


def recorded(
    folder: Path, source: Path, choice: BasisChoice, distortion: tuple[float, ...] | None = None
) -> tuple[Path, list[str]]:
    """The recording that a compressing receiver makes of a replayed file, and its messages."""
    said: list[str] = []
    compression = StreamCompression(choice, lambda header: header, lambda level, text: said.append(text))
    settings = ReceiverSettings(LOOPBACK, folder, compression=compression, distortion=distortion)
    receiver = Receiver(settings, on_event=lambda event: None)
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
    """Coefficients and linear extras; perp_bright and perp_dark are left out, as small differences of large numbers."""
    words, vectors = source.header.basis, source.frames(np.arange(source.frame_count))
    count = words.n_bright + words.n_dark
    return np.concatenate([vectors[:, :count], words.columns(vectors, LINEAR_EXTRAS)], axis=1)


@pytest.mark.data
@pytest.mark.parametrize("basis", quick_first(["zernike:45+1", "data:15+1", "pca:15+1", "binning:45+1:sqrt"]))
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


@pytest.mark.slow
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


def scan_with_references(path: Path) -> Path:
    """Part of a bundled scan whose pixels differ in gain, with one hot pixel that is listed as bad."""
    rng = np.random.default_rng(3)
    part_of("mos2_svac_80kV_focus", 36, path)
    with h5py.File(path, "r+") as file:
        counts = file["data"][()]
        counts[..., 25, 36] = 900
        file["data"][...] = counts
        file["metadata/bad_pixel_mask"] = np.arange(64 * 64).reshape(64, 64) == 25 * 64 + 36
        file["metadata/gain_reference"] = rng.uniform(0.9, 1.1, (64, 64)).astype(np.float32)
    return path


DISTORTION = numbers_of(np.random.default_rng(2).uniform(-0.01, 0.01, (9, 2)).round(6))


@pytest.mark.slow
def test_patterns_are_put_in_place_before_they_are_compressed(tmp_path: Path) -> None:
    """Same result as ``convert``, which corrects counts in place; the header says so, and a resumed scan keeps it."""
    source = scan_with_references(tmp_path / "scan.h5")
    path, _ = recorded(tmp_path / "recordings", source, parse_basis("zernike:21+1"), DISTORTION)
    convert_file(
        source, tmp_path / "again.h5", BasisChoice("file", file=path), Preparation(), {"distortion": DISTORTION}
    )
    with open_source(path) as made, open_source(tmp_path / "again.h5") as again:
        np.testing.assert_allclose(exact(made), exact(again), rtol=1e-4, atol=1e-2)
        assert made.header.detector.distortion == pytest.approx(DISTORTION)
        assert made.header.detector.beam_center_px == pytest.approx(again.header.detector.beam_center_px)
        bad = [one.header.arrays["bad_pixel_mask"] for one in (made, again)]
        np.testing.assert_array_equal(*bad)
        stored, vectors = made.header, made.frames(np.arange(made.frame_count))
    compression = StreamCompression(parse_basis("zernike:21+1"), lambda header: header, lambda level, text: None)
    later = compression.resume(stored)
    with open_source(source) as file:
        index = np.arange(file.frame_count)
        resumed = later.vectors(index, file.frames(index))
        plain = compression.learn(overlay(file.header, {"distortion": DISTORTION}), index, file.frames(index))
    assert later.header == stored, "it goes on as it began"
    first = slice(0, stored.basis.n_bright + stored.basis.n_dark)
    np.testing.assert_allclose(resumed[:, first], vectors[:, first], rtol=1e-4, atol=1e-2)
    straight = StreamCompression(parse_basis("zernike:21+1"), lambda header: header, lambda level, text: None)
    with open_source(source) as file:
        not_told = straight.learn(file.header, index, file.frames(index)).vectors(index, file.frames(index))
    assert np.abs(not_told[:, first] - vectors[:, first]).max() > 10, "the distortion is seen in coefficients"
    with open_source(source) as file:
        sent = replace(overlay(file.header, {"distortion": DISTORTION}), basis=plain.header.basis)
    assert compatible_headers(plain.header, sent), "the same scan, sent again"


def disc_scan(path: Path, side: int, pixels: int) -> Path:
    """A large scan of uncompressed float32 patterns: a disc with a little noise."""
    grid = np.hypot(*(np.indices((pixels, pixels)) - (pixels - 1) / 2))
    disc = np.where(grid < pixels / 4, 20.0, 0.2).astype(np.float32)
    counts = np.random.default_rng(5).poisson(disc, (side, side, pixels, pixels)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["data"] = counts
    return path


@pytest.mark.slow
def test_the_compression_said_is_the_ratio_of_the_files(tmp_path: Path) -> None:
    """C is the ratio of how many numbers are stored: that of the file sizes if both hold numbers of four bytes."""
    source = disc_scan(tmp_path / "raw.h5", side=96, pixels=32)
    path, said = recorded(tmp_path / "recordings", source, parse_basis("zernike:45+1"))
    ratio = float(said[0].partition("compression ")[2].partition(",")[0])
    assert ratio == pytest.approx(32 * 32 / (46 + 8), rel=0.03)
    with h5py.File(path) as file:
        stored = file["coefficients"].nbytes + file["extra"].nbytes  # chunks of such a small file are partly empty
    with h5py.File(source) as file:
        assert ratio == pytest.approx(file["data"].nbytes / stored, rel=0.01)
    assert stored_bytes(path) <= path.stat().st_size
    assert last_json(ptylive_here("inspect", path, "--json"))["compression"] == pytest.approx(
        32 * 32 / (46 + 8), rel=0.03
    )
