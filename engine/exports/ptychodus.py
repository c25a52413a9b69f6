"""A ptychodus product file (HDF5, SI units), the bridge to pty-chi and others.

ptychodus is written for photons: its energy is that of a photon with the electrons' wavelength, and all other
quantities follow from it. Its grids are centred between pixels, ours on pixel P // 2, so positions shift by half a
pixel if the probe's size is even.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.stored_run import StoredRun
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5

PLANCK_TIMES_LIGHT_EV_A = 12398.419843320026
DETECTOR_DISTANCE_M = 1.0
"""Nominal value, meaningless without lenses; pixel sizes follow from the object's."""
M_PER_A = 1e-10
_COMMENTS = "electrons; photon_energy_eV is that of a photon of their wavelength"


def write_ptychodus(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write one file: probe (probes, modes, P, P), the mean of the object's modes (layers, Y, X), positions, loss."""
    import h5py

    path = folder / f"{run.name}_ptychodus.h5"
    pixel_m, shape = run.pixel_A * M_PER_A, np.asarray(run.object.shape[2:])
    centre = (np.asarray(run.origin_A) + (shape - 1) / 2 * run.pixel_A) * M_PER_A
    to_middle = (run.window // 2 - (run.window - 1) / 2) * run.pixel_A
    positions = (run.positions_A - to_middle) * M_PER_A
    pixel = {"pixel_height_m": pixel_m, "pixel_width_m": pixel_m}
    with replacing(path) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        file.attrs.update(
            name=run.name,
            comments=_COMMENTS,
            detector_object_distance_m=DETECTOR_DISTANCE_M,
            photon_energy_eV=PLANCK_TIMES_LIGHT_EV_A / run.wavelength_A,
            probe_photon_count=float((np.abs(run.probe[0]) ** 2).sum()),
            exposure_time_s=float(run.calibration.get("dwell_time_us") or 0.0) * 1e-6,
            far_field=True,
        )
        file["probe_position_indexes"] = np.arange(len(positions))
        file["probe_position_y_m"], file["probe_position_x_m"] = positions[:, 0], positions[:, 1]
        file["probe"] = run.probe
        file["probe"].attrs.update(pixel)
        file["object"] = run.object.mean(axis=0)
        file["object"].attrs.update(pixel, center_y_m=centre[0], center_x_m=centre[1])
        file["object_layer_spacing_m"] = np.diff(run.depths_A()) * M_PER_A
        file["loss_epochs"], file["loss_values"] = np.arange(len(run.loss)), run.loss
    yield path


def is_own(file: Any) -> bool:
    """Whether an open HDF5 file was made by :func:`write_ptychodus`."""
    return bool(file.attrs.get("comments") == _COMMENTS)
