"""A scan as PyPty reads it: its ``.h5`` of patterns, and the script with the preset that opens it.

PyPty's frequency 0 is pixel P // 2 of square patterns, and it supports neither bad pixels nor missing frames: patterns
are turned into the detector frame and shifted by whole pixels, and bad pixels are replaced by the mean of their good
neighbours. Positions are in the file too, so that scans of any kind can be opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.schema import MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.schema.optics import ABERRATION_NAMES, KRIVANEK_ORDERS

BATCH = 256
_SETTINGS = {"algorithm": "lsq_sqrt", "epoch_max": 100, "update_probe": 1, "update_obj": 1}
_CHUNK = 64
_BEGINNING = '"""A scan written by ptylive for PyPty'
SCRIPT = (
    _BEGINNING
    + ''' 2.2: python {script}

Paths are those of the folder of this file. Change the dictionaries, or load them into a notebook.
"""

experimental_params = {{
{experimental}
}}
pypty_params = {{
{pypty}
}}

if __name__ == "__main__":
    import os

    import h5py
    import pypty.initialize
    import pypty.iterative

    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    with h5py.File(experimental_params["data_path"], "r") as file:
        experimental_params["special_postions_A"] = file["positions_A"][()]
    pypty_params = pypty.initialize.append_exp_params(experimental_params, pypty_params)
    pypty.iterative.run(pypty_params)
'''
)


@dataclass(frozen=True)
class PyptyScan:
    """Summary of what was written: number of patterns, pixels along a side, bad pixels filled from neighbours."""

    patterns: int
    size: int
    filled: int
    off_px: tuple[float, float]
    """Offset of the beam from pixel P // 2, (row, column): below half a pixel, which PyPty does not represent."""


def write_pypty_dataset(
    dataset: Dataset,
    data: Path,
    script: Path,
    scan: Mapping[str, str] = MappingProxyType({}),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    permitted: Callable[[], object] | None = None,
) -> PyptyScan:
    """Write the patterns of a data set to ``data`` (HDF5) and the preset to ``script``; each whole or not at all.

    ``scan``: ``uid`` and ``series``, which identify it when it is written again. ``permitted``: see `replacing`; called
    before either file is replaced. Raises MetadataError if the scan holds coefficients, or if energy, detector pixel or
    semi-angle are unknown.
    """
    import h5py

    if dataset.masks is not None:
        raise MetadataError("the scan holds coefficients, not patterns", "write the frames they were made from")
    text = SCRIPT.format(
        script=script.name, experimental=_lines(_experiment(dataset, data.name)), pypty=_lines(_SETTINGS)
    )
    rows, columns = dataset.patterns.shape[1:]
    size, count = max(rows, columns), len(dataset.patterns)
    middle = np.asarray(dataset.beam_center_px, dtype=float)
    whole = np.floor(middle + 0.5).astype(int)
    near = neighbours(dataset.bad_pixels)
    with replacing(data, permitted) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        chunks = (min(_CHUNK, count), size, size)
        stored = file.create_dataset("data", (count, size, size), "<f4", chunks=chunks, compression="gzip")
        stored.attrs["long_name"] = "counts; pixel (size // 2, size // 2) has frequency 0"
        file.create_group("metadata").attrs.update(scan)
        file["positions_A"] = np.asarray(dataset.positions_A, dtype=np.float64)
        file["positions_A"].attrs["axes"] = "(row, column) of the detector"
        for first in range(0, count, BATCH):
            counts = np.asarray(dataset.patterns[first : first + BATCH], dtype=np.float32)
            stored[first : first + len(counts)] = centred(filled(counts, dataset.bad_pixels, near), whole, size)
            stream.check()
            on_progress(min(first + BATCH, count), count)
    with replacing(script, permitted) as temporary:
        temporary.write_text(text, encoding="utf-8")
    offset = middle - whole
    return PyptyScan(count, size, int(dataset.bad_pixels.sum()), (float(offset[0]), float(offset[1])))


def centred(counts: Array, middle: IndexArray, size: int) -> Array:
    """Patterns (n, size, size) with pixel ``middle`` on (size // 2, size // 2); 0 where nothing was recorded."""
    out = np.zeros((len(counts), size, size), dtype=counts.dtype)
    (to_row, from_row), (to_column, from_column) = (
        _overlap(length, size, size // 2 - int(place)) for length, place in zip(counts.shape[1:], middle, strict=True)
    )
    out[:, to_row, to_column] = counts[:, from_row, from_column]
    return out


def _overlap(length: int, size: int, shift: int) -> tuple[slice, slice]:
    """Coinciding slices of a side of ``size`` pixels and of a row of ``length`` pixels that is moved by ``shift``."""
    first, last = max(0, shift), min(size, length + shift)
    return slice(first, max(first, last)), slice(first - shift, max(first, last) - shift)


def neighbours(bad: BoolArray) -> list[tuple[IndexArray, IndexArray]]:
    """For each bad pixel, row by row, its good neighbours (rows, columns); none if all are bad."""
    found = []
    for row, column in np.argwhere(bad):
        y, x = (axis.ravel() for axis in np.mgrid[row - 1 : row + 2, column - 1 : column + 2])
        inside = (y >= 0) & (x >= 0) & (y < bad.shape[0]) & (x < bad.shape[1])
        good = inside.copy()
        good[inside] = ~bad[y[inside], x[inside]]
        found.append((y[good], x[good]))
    return found


def filled(counts: Array, bad: BoolArray, near: list[tuple[IndexArray, IndexArray]]) -> Array:
    """Patterns with bad pixels replaced by the mean of good neighbours, or 0 if there are none."""
    for (row, column), (y, x) in zip(np.argwhere(bad), near, strict=True):
        counts[:, row, column] = counts[:, y, x].mean(axis=1) if len(y) else 0
    return counts


def pypty_aberrations(values: dict[str, float]) -> list[float]:
    """Our coefficients (angles from +row) in PyPty's order, angles from +col; the conversion is its own inverse."""
    found = dict.fromkeys(ABERRATION_NAMES, 0.0)
    for name, (_, m) in KRIVANEK_ORDERS.items():
        if m == 0:
            found[name] = float(values.get(name, 0.0))
            continue
        a, b = float(values.get(f"{name}a", 0.0)), float(values.get(f"{name}b", 0.0))
        cosine, sine = round(np.cos(m * np.pi / 2)), round(np.sin(m * np.pi / 2))
        found[f"{name}a"], found[f"{name}b"] = a * cosine + b * sine + 0.0, a * sine - b * cosine + 0.0
    return [found[name] for name in ABERRATION_NAMES]


def _experiment(dataset: Dataset, data: str) -> dict[str, Any]:
    calibration, whom = dataset.calibration, "a preset of PyPty"
    return {
        "data_path": data,
        "output_folder": "pypty_output",
        "acc_voltage": float(calibration.require("energy_eV", whom)) / 1e3,
        "rez_pixel_size_A": float(calibration.require("detector_pixel_invA", whom)),
        "conv_semiangle_mrad": float(calibration.require("convergence_semiangle_mrad", whom)),
        "scan_size": [int(points) for points in dataset.scan_shape],
        "PLRotation_deg": -float(calibration.rotation_deg) + 0.0,
        "aberrations": pypty_aberrations(dict(calibration.aberrations)),
        "defocus": 0.0,
        "total_thickness": 1.0,
        "num_slices": 1,
        "flip_ky": False,
    }


def _lines(values: dict[str, Any]) -> str:
    return "\n".join(f'    "{name}": {_literal(value)},' for name, value in values.items())


def _literal(value: Any) -> str:
    """A value as a Python literal, text in double quotes."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def script_of(data: Path) -> Path:
    """Path of the preset: next to the patterns, under their name."""
    return data.with_suffix(".py")


def is_own_script(text: str) -> bool:
    """Whether the text of a file is that of a preset written here, maybe changed further down."""
    return text.startswith(_BEGINNING)
