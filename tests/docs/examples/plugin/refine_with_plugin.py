"""A small refinement with the plug-in's regulariser and data term; runs in a process of its own, prints JSON."""

import json
import sys

import numpy as np

from ptylive.application.extensions import Preset
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import Calibration, MetadataError, Origin, Quantity
from ptylive.schema.preset.describe import json_schema, table, to_toml
from ptylive.schema.scan import Scan

SETTINGS = {
    "algorithm": "robust_amplitude",
    "smoothness_weight": "0.05 if epoch < 2 else 0.02",
    "epoch_max": 4,
    "sweeps": 2,
    "probe_modes": 1,
    "phase_only_obj": False,
}


def dataset() -> Dataset:
    """6 x 6 patterns of 16 x 16 pixels: a disc, with counting noise."""
    k = (np.arange(16) - 8) * 0.15
    disc = np.hypot(k[:, None], k[None, :]) < 0.6
    counts = np.random.default_rng(0).poisson(20 * disc + 0.1, (36, 16, 16)).astype(np.uint16)
    values = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "detector_pixel_invA": 0.15, "C10": -60.0}
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})
    positions = Scan(shape=(6, 6), step_A=0.8).positions_A(0.0)
    return Dataset(
        counts, np.arange(36), positions, np.zeros((16, 16), bool), np.array([8.0, 8.0]), (6, 6), calibration
    )


def gradient_error(data: Dataset, preset: Preset) -> float:
    """Relative error of the derivative along a random direction against central differences, in double precision."""
    setup = prepare(data, preset, None)
    backend = GeneralMultislice(setup.multislice, np, "complex128", "reference")
    objective = Objective(backend, setup.layout, setup.multislice.count, terms=setup.terms)
    rng = np.random.default_rng(1)
    at = setup.start.astype(float) + 0.01 * rng.normal(size=len(setup.start))
    along = rng.normal(size=len(at))
    gradient = objective.evaluate(at).gradient
    loss = [objective.evaluate(at + h * along).loss for h in (-2e-5, -1e-5, 1e-5, 2e-5)]
    expected = (loss[0] - 8 * loss[1] + 8 * loss[2] - loss[3]) / 12e-5
    return abs(float(gradient @ along) / expected - 1)


def refused(**values: object) -> str:
    try:
        Preset.from_mapping({**SETTINGS, **values})
    except MetadataError as error:
        return error.line()
    return ""


use_persistent_cache()
preset = Preset.from_mapping(SETTINGS)
data = dataset()
result = refine(data, preset, backend="cpu", threads=1)
json.dump(
    {
        "backend": result.backend,
        "algorithm": result.algorithm,
        "finite": bool(np.isfinite(result.loss).all()),
        "falls": bool(result.loss[-1] < result.loss[-2]),
        "gradient_error": gradient_error(data, preset),
        "back": Preset.from_mapping(preset.model_dump()) == preset,
        "toml": to_toml(Preset(), explained=True),
        "table": table(),
        "schema": json_schema()["properties"]["smoothness_weight"],
        "misspelt": refused(smothness_weight=1),
        "too_small": refused(smoothness_weight=-1),
        "epoch_3": preset.at(3).value("smoothness_weight"),
    },
    sys.stdout,
)
