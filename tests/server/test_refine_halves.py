"""Real data: two halves of the rotavirus scan, each with its own map and refinement, and with shuffled frames."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from shared_data import shared_data

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.refine import refine
from ptylive.engine.refine.validation import ring_correlation
from ptylive.schema.preset import Preset
from ptylive.schema.scan import rotation_matrix
from ptylive.server.offline import reconstruct_file, refinable, start_guess
from ptylive.streamer.storage.source import open_source

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(600)]
PERIODS_A = (90, 63, 43, 33)
STEP_A = 31.25


def half_file(path: Path, source: Path, parity: int, order) -> Path:
    """Every other frame of the chessboard, the others not received; frames in another order for the null test."""
    with h5py.File(source) as given, h5py.File(path, "w") as file:
        frames = given["data"][()]
        rows, columns = frames.shape[:2]
        flat = frames.reshape(-1, *frames.shape[2:])
        file["data"] = flat[order(len(flat))].reshape(frames.shape)
        file.create_group("metadata").attrs.update(given["metadata"].attrs)
        file["metadata/received"] = np.add.outer(np.arange(rows), np.arange(columns)) % 2 == parity
    return path


def on_scan_axes(result, rotation_deg: float, shape: tuple[int, int]):
    from scipy.ndimage import map_coordinates

    pixel = result.object_sampling_A[0]
    counts = [int((n - 1) * STEP_A / pixel) for n in shape]
    y, x = np.meshgrid(*(np.arange(n) * pixel for n in counts), indexing="ij")
    where = (np.stack([y, x], -1) @ rotation_matrix(rotation_deg).T - np.asarray(result.origin_A)) / pixel
    phase = np.angle(result.object[0]).sum(0).astype(float)
    return map_coordinates(phase, np.moveaxis(where, -1, 0), order=3, mode="nearest"), pixel


def rings(pictures, pixel_A: float) -> list[float]:
    frequencies, correlation, _ = ring_correlation(*pictures, pixel_A)
    return [float(correlation[np.argmin(np.abs(frequencies - 1 / period))]) for period in PERIODS_A]


def halves(folder: Path, source: Path, values: dict, order) -> tuple[list[float], list[float]]:
    """Ring correlation of the maps and of the refined phases of two halves."""
    maps, phases, pixel = [], [], 1.0
    for parity in (0, 1):
        path = half_file(folder / f"half{parity}.h5", source, parity, order)
        made = reconstruct_file(path, values, ("obf",))
        maps.append(made.rendering.maps[0])
        with open_source(path, values) as opened:
            dataset = refinable(opened, made.calibration)
            start = start_guess(maps[-1], made.calibration)
            result = refine(dataset, Preset(scan_defocus=False), start=start, backend="cpu")
        phase, pixel = on_scan_axes(result, values["rotation_deg"], dataset.scan_shape)
        phases.append(phase)
    return rings([one.data for one in maps], maps[0].sampling_A[0]), rings(phases, pixel)


def test_refining_loses_nothing_that_halves_agree_on_and_invents_nothing(tmp_path):
    use_persistent_cache()
    source = shared_data("rotavirus_300kV_cryo_west")
    calibration = reconstruct_file(source, {}, ("obf",)).calibration
    values = {"defocus_A": -calibration.aberrations["C10"], "rotation_deg": calibration.rotation_deg}
    of_map, refined = halves(tmp_path, source, values, np.arange)
    for before, after in zip(of_map, refined, strict=True):
        assert after >= before - 0.05
    assert refined[0] >= 0.95
    assert refined[-1] >= 0.22
    _, nothing = halves(tmp_path, source, values, np.random.default_rng(0).permutation)
    assert max(nothing) < 0.15
