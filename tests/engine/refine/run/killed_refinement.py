"""A refinement in its own process, to be killed: python killed_refinement.py CHECKPOINT RESULT."""

import sys
from pathlib import Path

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.run import refinement
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset

GIVEN = {
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 25.0,
    "detector_pixel_invA": 0.1,
    "C10": -60.0,
    "rotation_deg": 0.0,
}


def dataset() -> Dataset:
    points = np.stack(np.meshgrid(np.arange(12), np.arange(12), indexing="ij"), -1).reshape(-1, 2)
    patterns = np.random.default_rng(0).poisson(4, (144, 24, 24)).astype(np.uint16)
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in GIVEN.items()})
    bad = np.zeros((24, 24), bool)
    return Dataset(patterns, np.arange(144), 0.8 * points, bad, np.array([12.0, 12.0]), (12, 12), calibration)


def main(checkpoint: Path, result: Path, epochs: int = 60) -> None:
    refinement.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every batch, so that most kills hit one being written
    preset = Preset(window_px=24, probe_modes=1, batch_size=24, sweeps=epochs // 2, epoch_max=epochs, anchor=0.1)
    refined = refine(dataset(), preset, backend="cpu", checkpoint=checkpoint, resume=True)
    with result.with_suffix(".part").open("wb") as file:
        np.savez(file, object=refined.object, loss=refined.loss)
    result.with_suffix(".part").replace(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
