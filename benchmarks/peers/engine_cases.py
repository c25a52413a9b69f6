"""Problems on which engines are compared: one start, one set of patterns, in arrays that other programs accept.

All inputs are given (patterns, windows, probe, free space between slices), so that only the engine differs.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.batches import Batches
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.prepare import Problem, prepare
from ptylive.engine.refine.run.by_name import engine_of
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.scan import Scan


@dataclass(frozen=True)
class Case:
    """A recording, and the settings of both programs."""

    scan: str
    peer: str
    settings: dict[str, Any]
    """Settings of the preset, including the engine's; the peer's settings follow from them."""
    epochs: int


START_RAD = 0.05
THICK = {"num_slices": 4, "total_thickness_A": 100}
PHASE = {"phase_only_obj": True, "non_negative_phase": False}
GD = {"optimizer": "epie", "batch_size": 32, "sweep_step": 0.5, "probe_step": 0.5, **PHASE}
ADAM = {"optimizer": "adam", "batch_size": 32}
CASES = {
    "adam": Case("mos2_edge_80kV_defocus", "ptyrad", {**ADAM, "probe_modes": 1}, 20),
    "adam, phase only": Case("mos2_edge_80kV_defocus", "ptyrad", {**ADAM, **PHASE, "probe_modes": 1}, 20),
    "adam, 4 slices, 3 modes": Case("sto_10nm_200kV_defocus", "ptyrad", {**ADAM, **THICK, "probe_modes": 3}, 10),
    "gradient descent": Case("mos2_edge_80kV_defocus", "py4dstem", {**GD, "probe_modes": 1}, 20),
    "gradient descent, 4 slices": Case("sto_10nm_200kV_defocus", "py4dstem", {**GD, **THICK, "probe_modes": 1}, 10),
}


def read(path: Path) -> Dataset:
    """A recording of frames without flyback, with its metadata as calibration."""
    import h5py
    import hdf5plugin  # noqa: F401

    with h5py.File(path) as file:
        frames, values = file["data"][()], dict(file["metadata"].attrs)
    shape, rotation = frames.shape[:2], float(values["rotation_deg"])
    scan = Scan(shape=shape, step_A=values["scan_step_A"], pattern=values["scan_pattern"], rotation_deg=rotation)
    point = scan.point_of(np.arange(shape[0] * shape[1]))
    center = tuple(float(value) for value in values["beam_center_px"])
    given = {name: float(values[name]) for name in ("energy_eV", "convergence_semiangle_mrad", "detector_pixel_invA")}
    given |= {"rotation_deg": rotation, "C10": -float(values["defocus_A"]), "beam_center_px": center}
    given |= {"detector_transform": str(values["detector_transform"])}
    return Dataset(
        patterns=frames.reshape(-1, *frames.shape[2:]),
        point=point,
        positions_A=scan.positions_A(rotation)[point],
        bad_pixels=np.zeros(frames.shape[2:], bool),
        beam_center_px=np.asarray(center),
        scan_shape=shape,
        calibration=Calibration({name: Quantity(value, Origin.GIVEN) for name, value in given.items()}),
    )


def problem_of(case: Case, dataset: Dataset) -> tuple[Problem, Preset]:
    """Set up the problem as a refinement of the recording would, including the start."""
    preset = Preset(**case.settings, epoch_max=case.epochs, refine_drift=False)
    problem = prepare(dataset, preset, None)
    return replace(problem, start=problem.layout.start(start_phase(problem.layout.object_shape))), preset


def start_phase(shape: tuple[int, ...]) -> np.ndarray:
    """Phases of the start object (slices, Y, X), rad: weak noise.

    Behind an empty object the dark field contains only rounding errors, whose phase determines the result of a program
    that sets moduli.
    """
    return START_RAD * np.random.default_rng(21).standard_normal(shape)


def handed_over(problem: Problem) -> dict[str, Any]:
    """Arrays of a problem: patterns (N, P, P), frequency 0 at [0, 0]; windows; the start probe in real space."""
    given = problem.multislice
    probe = np.fft.ifft2(problem.layout.probe.start, norm="ortho")
    return {
        "patterns": np.asarray(given.patterns, np.float32),
        "corners": given.corners,
        "shifts_px": given.shifts_px,
        "object_shape": given.object_shape,
        "propagators": given.propagators,
        "probe": probe,
        "phase": start_phase(given.object_shape),
    }


def batches_of(problem: Problem, preset: Preset, epochs: int, seed: int) -> dict[str, np.ndarray]:
    """The patterns of our batches, one after the other, of every epoch (epochs, N); and the size of each batch."""
    settings = preset.model_copy(update={"seed": seed}).solver
    places = np.asarray(problem.multislice.corners, np.float64) + problem.multislice.shifts_px
    batches = Batches(settings.batch_choice, places, seed)
    each = [batches.of(epoch, problem.strategy.batch_size) for epoch in range(epochs)]
    sizes = np.array([len(batch) for batch in each[0]])
    return {
        f"order_{seed}": np.array([np.concatenate(batches_of_epoch) for batches_of_epoch in each]),
        f"sizes_{seed}": sizes,
    }


def our_curve(problem: Problem, preset: Preset, seed: int) -> list[float]:
    """Sum of (sqrt(I) - sqrt(D))^2 over sum of D in each epoch, evaluated while the parameters change."""
    settings = preset.model_copy(update={"seed": seed}).solver
    counts = float(np.asarray(problem.multislice.patterns, np.float64).sum())
    with closing(open_backend("cpu", problem.multislice, 1)) as backend:
        layout = on_device(problem.layout, backend.xp)
        scale = problem.strategy.curvature_scale
        objective = Objective(backend, layout, problem.multislice.count, curvature_scale=scale)
        engine = engine_of(problem, settings, objective)
        state = engine.init(problem.start)
        while not engine.finished(state):
            state = engine.step(state)
    return [loss * problem.multislice.count / counts for loss in state.losses]
