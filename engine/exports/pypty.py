"""PyPty's arrays (``co.npy``, ``cp.npy``, ``cg.npy``, …) and its NeXus file.

PyPty scales the probe so that its unnormalised transform holds the counts, and averages over modes: its probe is ours
times sqrt(modes) / P. Axes come last: object (y, x, slices, modes), probe (y, x, modes[, probes]).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.stored_run import StoredRun
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5
from ptylive.schema.files.npy import write_npy
from ptylive.schema.model import Array, ComplexArray

PARAMETERS = "params.json"
_NAMES = ("acc_voltage", "pixel_size_x_A", "pixel_size_y_A", "num_slices", "slice_distances", "PLRotation_deg")
_ARRAYS = ("co", "cp", "cg", "cb", "cs", "ct")
_MOST_BYTES = 2**20
_UNITS = {
    "acc_voltage": "kV",
    "pixel_size_x_A": "angstrom",
    "pixel_size_y_A": "angstrom",
    "slice_distances": "angstrom",
    "PLRotation_deg": "degree",
}


def pypty_object(run: StoredRun) -> ComplexArray:
    """Object as (y, x, slices, modes)."""
    return np.ascontiguousarray(run.object.transpose(2, 3, 1, 0))


def pypty_probe(run: StoredRun) -> ComplexArray:
    """Probe as (y, x, modes), or (y, x, modes, probes) if there are several."""
    scaled = run.probe * np.float32(np.sqrt(run.probe.shape[1]) / run.window)
    probe = scaled.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(probe[..., 0] if probe.shape[-1] == 1 else probe)


def pypty_files(run: StoredRun) -> list[str]:
    """Names of the files that :func:`write_pypty` writes."""
    return [PARAMETERS, *(f"{name}.npy" for name in _arrays(run))]


def _arrays(run: StoredRun) -> dict[str, Array]:
    arrays: dict[str, Array] = {"co": pypty_object(run), "cp": pypty_probe(run), "cg": run.corners_px()}
    if "beam_current" in run.refined:
        arrays["cb"] = np.sqrt(run.refined["beam_current"])
    if "background" in run.refined:
        arrays["cs"] = np.sqrt(run.refined["background"])
    if "tilts" in run.refined:
        arrays["ct"] = 1e-3 * run.refined["tilts"] * (1, 1, -1, -1, 1, 1)  # inside tilts have the opposite sign there
    return arrays


def write_pypty(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write params.json, co, cp, cg (pixels, row and column), cb (amplitudes), cs (roots) and ct (rad).

    They replace the files of an earlier export only when all of them are written: a folder never mixes two runs.
    params.json is then the first, so that the arrays are recognised by it (:func:`is_own_parameters`) after an
    interruption too.
    """
    parameters, arrays = folder / PARAMETERS, _arrays(run)
    left = set(_ARRAYS) - set(arrays) if is_own_parameters(parameters) else set()
    with ExitStack() as files:  # renamed in the reverse order
        for name, array in reversed(arrays.items()):
            write_npy(files.enter_context(replacing(folder / f"{name}.npy")), array)
        text = json.dumps(_parameters(run), indent=2)
        files.enter_context(replacing(parameters)).write_text(text, encoding="utf-8")
    for name in left:
        (folder / f"{name}.npy").unlink(missing_ok=True)
    yield from (folder / name for name in pypty_files(run))


def is_own_parameters(path: Path) -> bool:
    """Whether :func:`write_pypty` made a params.json: PyPty's own have many more settings. Raises OSError."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(stored, dict) and list(stored) == list(_NAMES)


def write_nxs(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write the groups of PyPty's ``convert_to_nxs``: rows in reverse order, so that y points up; lengths in Å.

    Probe and positions are NXdata groups of the entry; links in PyPty's places refer to them. There is no
    ``definition``: no NeXus application definition covers reconstructions (NXem requires the time at which the specimen
    was made).
    """
    import h5py

    path = folder / f"{run.name}.nxs"
    with replacing(path) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        file.attrs.update(NX_class="NXroot", default="entry", creator="ptylive")
        entry = _group(file, "entry", "NXentry", default="object")
        entry["title"], entry["program_name"] = f"{run.name}, refined by ptylive", "ptylive"
        _group(entry, "sample", "NXsample")["name"] = run.name
        _write_object(entry, run)
        _write_probe(entry, run)
        _write_positions(entry, run)
        instrument = _group(entry, "instrument", "NXinstrument")
        for name, target in (("probe", "probe"), ("scan", "positions")):
            instrument[name] = h5py.SoftLink(f"/entry/{target}")
        process = _group(entry, "reconstruction", "NXprocess")
        process["program"] = "ptylive"
        if run.date:
            process["date"] = run.date
        parameters = _group(process, "reconstruction_parameters", "NXcollection")
        for name, value in _parameters(run).items():
            parameters[name] = "None" if value is None else value
            if value is not None and name in _UNITS:
                parameters[name].attrs["units"] = _UNITS[name]
    yield path


def is_own_nxs(file: Any) -> bool:
    """Whether an open HDF5 file was made by :func:`write_nxs`."""
    return file.attrs.get("creator") == "ptylive" and "entry/reconstruction/reconstruction_parameters" in file


def _write_object(entry: Any, run: StoredRun) -> None:
    transmission = pypty_object(run)[::-1].transpose(3, 2, 0, 1)
    picture = _group(entry, "object", "NXdata", signal="data", axes=["modes", "z", "y", "x"])
    picture["data"] = transmission
    picture["data"].attrs.update(units="1", long_name="transmission")
    steps = (1.0, run.spacing_A or 1.0, run.pixel_A, run.pixel_A)
    _axes(picture, ("modes", "z", "y", "x"), transmission.shape, steps)


def _write_probe(entry: Any, run: StoredRun) -> None:
    probe = np.moveaxis(pypty_probe(run)[::-1], (0, 1), (-2, -1))
    names = ("modes", "scenarios", "y", "x") if probe.ndim == 4 else ("modes", "y", "x")
    beam = _group(entry, "probe", "NXdata", signal="data", axes=list(names))
    beam["data"] = probe
    beam["data"].attrs.update(units="sqrt(counts)", long_name="probe")
    _axes(beam, names, probe.shape, (*(1.0,) * (len(names) - 2), run.pixel_A, run.pixel_A))


def _write_positions(entry: Any, run: StoredRun) -> None:
    """Write PyPty's ``positions``, and the same path of the beam as a curve y(x)."""
    corners_A = run.corners_px() * run.pixel_A
    scan = _group(entry, "positions", "NXdata", signal="y", axes=["x"])
    scan["positions"] = corners_A
    for name, values in (("y", corners_A[:, 0]), ("x", corners_A[:, 1])):
        scan[name] = values
        scan[name].attrs["long_name"] = f"{name} of the window's corner, Å"
    for name in ("positions", "y", "x"):
        scan[name].attrs["units"] = "angstrom"


def _group(parent: Any, name: str, kind: str, **attributes: Any) -> Any:
    group = parent.create_group(name)
    group.attrs.update(NX_class=kind, **attributes)
    return group


def _axes(group: Any, names: tuple[str, ...], shape: tuple[int, ...], steps: tuple[float, ...]) -> None:
    """Write a data set of coordinates for each axis."""
    for name, length, step in zip(names, shape, steps, strict=True):
        group[name] = np.arange(length) * step
        group[name].attrs["units"] = "angstrom" if name in "zyx" else "1"


def _parameters(run: StoredRun) -> dict[str, Any]:
    """Settings of the run as in a PyPty preset."""
    energy = run.calibration.get("energy_eV")
    values = (
        None if energy is None else float(energy) / 1e3,
        run.pixel_A,
        run.pixel_A,
        run.slices,
        list(run.slice_thickness_A[: max(run.slices - 1, 1)]),
        -run.calibration.rotation_deg + 0.0,
    )
    return dict(zip(_NAMES, values, strict=True))
