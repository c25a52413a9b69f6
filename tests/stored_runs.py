"""A small made-up refinement as a results file holds it."""

from pathlib import Path

import h5py
import numpy as np

from ptylive.engine.stored_run import StoredRun
from ptylive.schema.preset import Preset

PIXEL_A, WINDOW, ORIGIN_A = 0.25, 8, (-1.5, -2.0)


def write_results(
    path: Path, *, slices: int = 3, object_modes: int = 2, probe_modes: int = 2, deviation: bool = False
) -> StoredRun:
    """Random complex arrays on a tilted grid of positions, as ``/refinements/run1``."""
    rng = np.random.default_rng(1)
    transmission = np.exp(1j * rng.uniform(-0.5, 0.5, (object_modes, slices, 20, 24))).astype(np.complex64)
    probe = (rng.normal(size=(1, probe_modes, WINDOW, WINDOW)) + 1j).astype(np.complex64)
    rows, cols = np.divmod(np.arange(12), 4)
    with h5py.File(path, "w") as file:
        group = file.create_group("refinements/run1")
        group["object"], group["probe"] = transmission, probe
        group["object"].attrs.update(
            sampling_A=[PIXEL_A, PIXEL_A], slice_thickness_A=[10.0] * slices, origin_A=np.asarray(ORIGIN_A)
        )
        if deviation:
            told = np.full((20, 24), 0.01, np.float32)
            told[0] = np.nan
            group["phase_deviation"] = told
            group["phase_deviation"].attrs.update(
                units="rad", median=0.01, sampling_A=[PIXEL_A, PIXEL_A], origin_A=np.asarray(ORIGIN_A)
            )
        group["positions_A"] = np.stack([rows * 1.2 + 0.01 * cols, cols * 1.1 - 0.02 * rows], axis=1)
        group["loss"], group["seconds"] = np.array([3.0, 2.0, 1.5]), np.ones(3)
        group["beam_current"], group["background"] = np.full(12, 1.21), np.full((WINDOW, WINDOW), 0.25)
        group["tilts"] = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
        group.attrs.update(preset=Preset().model_dump_json(), state="done")
        file["refinement"] = h5py.SoftLink("/refinements/run1")
        values = {"energy_eV": 80e3, "rotation_deg": 5.0, "convergence_semiangle_mrad": 20.0, "C10": -50.0}
        for name, value in values.items():
            file.require_group("calibration").attrs.update({name: value, f"{name}_origin": "given"})
    return StoredRun.read(path)
