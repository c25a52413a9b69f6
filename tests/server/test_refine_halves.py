"""Real data: two halves of the rotavirus scan, each with its own map and refinement, and with shuffled frames."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from shared_data import shared_data

from ptylive.application.offline import reconstruct_file, refinable, start_guess
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.held_out import swept_parameters
from ptylive.engine.refine.validation.validation import ring_correlation
from ptylive.schema.preset import Preset
from ptylive.schema.scan import rotation_matrix
from ptylive.streamer.source import open_source

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(600)]
PERIODS_A = (90, 63, 43, 33)
STEP_A = 31.25
GIVEN = Preset(scan_defocus=False)


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


@dataclass
class Agreement:
    """Agreement of two pictures: ring correlation at PERIODS_A, that of the best ring below 120 Å, and plain."""

    rings: list[float]
    highest: float
    plain: float

    @classmethod
    def of(cls, pictures, pixel_A: float) -> "Agreement":
        frequencies, correlation, plain = ring_correlation(*pictures, pixel_A)
        at = [float(correlation[np.argmin(np.abs(frequencies - 1 / period))]) for period in PERIODS_A]
        return cls(at, float(correlation[frequencies > 1 / 120].max()), plain)


@dataclass
class Half:
    """Every other frame, the map made from them, and that map as a start."""

    dataset: object
    map: object
    start: object


def halves(folder: Path, source: Path, values: dict, order) -> list[Half]:
    made = []
    for parity in (0, 1):
        path = half_file(folder / f"half{parity}.h5", source, parity, order)
        reconstruction = reconstruct_file(path, values, ("obf",))
        picture, calibration = reconstruction.rendering.maps[0], reconstruction.calibration
        with open_source(path, values) as opened:
            made.append(Half(refinable(opened, calibration), picture, start_guess(picture, calibration)))
    return made


def agreements(pair: list[Half], preset: Preset, rotation_deg: float) -> tuple[Agreement, Agreement]:
    """Agreement of the maps of two halves, and of the objects refined from them."""
    phases, pixel = [], 1.0
    for half in pair:
        result = refine(half.dataset, preset, start=half.start, backend="cpu")
        phase, pixel = on_scan_axes(result, rotation_deg, half.dataset.scan_shape)
        phases.append(phase)
    maps = [half.map for half in pair]
    return Agreement.of([one.data for one in maps], maps[0].sampling_A[0]), Agreement.of(phases, pixel)


def held_out_loss(dataset, start, parity: int, sweeps: int) -> float:
    """Loss per pattern of one half of the chessboard after n sweeps over the other."""
    setup = prepare(dataset, GIVEN, start)
    row, column = np.divmod(dataset.point, dataset.scan_shape[1])
    mine, others = (np.flatnonzero(((row + column) % 2 == parity) == chosen) for chosen in (True, False))
    with closing(open_backend("cpu", setup.multislice)) as backend:
        vector = swept_parameters(setup, backend, GIVEN, mine, sweeps)
        return Objective(backend, setup.layout, setup.multislice.count).evaluate(vector, others).loss / len(others)


@pytest.fixture(scope="module")
def source() -> Path:
    use_persistent_cache()
    return shared_data("rotavirus_300kV_cryo_west")


@pytest.fixture(scope="module")
def values(source) -> dict:
    calibration = reconstruct_file(source, {}, ("obf",)).calibration
    return {"defocus_A": -calibration.aberrations["C10"], "rotation_deg": calibration.rotation_deg}


@pytest.fixture(scope="module")
def pair(source, values, tmp_path_factory) -> list[Half]:
    return halves(tmp_path_factory.mktemp("halves"), source, values, np.arange)


def test_refining_loses_nothing_that_halves_agree_on(pair, values):
    of_map, refined = agreements(pair, GIVEN, values["rotation_deg"])
    print("maps", of_map, "refined", refined)
    for before, after in zip(of_map.rings, refined.rings, strict=True):
        assert after >= before - 0.05
    assert refined.rings[0] >= 0.95
    assert refined.rings[-1] >= 0.22


def test_halves_refined_from_their_own_maps_correlate_after_five_sweeps(pair, values):
    preset = GIVEN.model_copy(update={"sweeps": 5, "epoch_max": 5})
    _, refined = agreements(pair, preset, values["rotation_deg"])
    print("five sweeps", refined)
    assert refined.plain >= 0.93


def test_shuffled_frames_agree_on_nothing(source, values, tmp_path):
    shuffled = halves(tmp_path, source, values, np.random.default_rng(0).permutation)
    of_map, nothing = agreements(shuffled, GIVEN, values["rotation_deg"])
    print("shuffled: maps", of_map, "refined", nothing)
    assert nothing.highest < 0.15


def test_held_out_patterns_are_better_predicted_from_a_map_and_not_worse_with_more_sweeps(source, values, pair):
    made = reconstruct_file(source, values, ())
    with open_source(source, values) as opened:
        dataset = refinable(opened, made.calibration)
    empty = held_out_loss(dataset, None, 0, 5)
    few, many = (held_out_loss(dataset, pair[0].start, 0, sweeps) for sweeps in (5, 10))
    print("held out: empty", empty, "from the map", few, many)
    assert few < empty
    assert many < 1.005 * few
