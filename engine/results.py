"""The results file (contract, section 4): maps, coverage, calibration, refinements; written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.schema import Calibration, InputFileError, LiveMap
from ptylive.schema.atomic import replacing
from ptylive.schema.model import BoolArray
from ptylive.schema.preset import Preset

if TYPE_CHECKING:
    import h5py

    from ptylive.engine.refine.curve import Curve
    from ptylive.engine.refine.refined import Refined
    from ptylive.engine.refine.results import RefineResult
    from ptylive.engine.refine.ring_correlation import Validation

COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def write_maps(
    path: Path,
    maps: Sequence[LiveMap],
    coverage: BoolArray,
    calibration: Calibration,
    settings: Mapping[str, Any],
) -> None:
    """Write maps, coverage, calibration and settings; refinements already in the file are kept."""
    with _rewritten(path) as file:
        for name in ("maps", "coverage", "calibration", "snr"):
            if name in file:
                del file[name]
        for live_map in maps:
            _write_map(file, live_map)
        file.create_dataset("coverage", data=coverage)
        _write_calibration(file, calibration)
        _write_settings(file, settings)
        if "maps" in file:
            shown = next((n for n in ("obf", "idpc", "bf") if n in file["maps"]), next(iter(file["maps"])))
            file.attrs["default"] = "maps"
            file["maps"].attrs.update({"NX_class": "NXdata", "signal": shown})


@dataclass(frozen=True)
class Run:
    """A finished refinement with its name and the preset it was asked for."""

    name: str
    preset: Preset
    result: RefineResult


def add_refinement(path: Path, run: Run, calibration: Calibration, settings: Mapping[str, Any]) -> None:
    """Add ``/refinements/<run>`` and make ``/refinement`` point to it."""
    with _rewritten(path) as file:
        if "calibration" not in file:
            _write_calibration(file, calibration)
        _write_settings(file, settings)
        runs = file.require_group("refinements")
        if run.name in runs:
            del runs[run.name]
        _write_refinement(runs.create_group(run.name), run)
        if "refinement" in file:
            del file["refinement"]
        file["refinement"] = _soft_link(f"/refinements/{run.name}")


def read_runs(path: Path) -> dict[str, dict[str, Any]]:
    """Runs in a results file: {run: {state, loss, epochs}}; empty when there is no file."""
    import h5py

    if not path.exists():
        return {}
    with h5py.File(path, "r") as file:
        return {
            name: {
                "state": str(group.attrs.get("state", "")),
                "loss": float(group["loss"][-1]) if len(group["loss"]) else None,
                "epochs": len(group["loss"]),
            }
            for name, group in file.get("refinements", {}).items()
        }


def describe_run(command_line: str, backend: str) -> dict[str, str]:
    """Attributes of `/settings`: program version, command line, backend, date."""
    try:
        program = version("ptylive")
    except PackageNotFoundError:
        program = "unknown"
    return {
        "version": program,
        "command_line": command_line,
        "backend": backend,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


@contextmanager
def _rewritten(path: Path) -> Iterator[h5py.File]:
    """A copy of the file (or a new one) to change, renamed into place at the end."""
    import h5py

    with replacing(path) as temporary:
        if path.exists():
            if not h5py.is_hdf5(path):
                raise InputFileError(f"{path} exists and is not an HDF5 file", "choose another name")
            shutil.copyfile(path, temporary)
        with h5py.File(temporary, "a") as file:
            yield file


def _write_map(file: h5py.File, live_map: LiveMap) -> None:
    data = file.create_dataset(f"maps/{live_map.name}", data=live_map.data, **COMPRESSION)
    data.attrs.update(
        {
            "units": live_map.units,
            "frames": live_map.frames,
            "method": live_map.method,
            "settings": json.dumps(dict(live_map.settings)),
        }
    )
    if live_map.quality is not None:
        for name, values in {**vars(live_map.quality), "signal_to_noise": live_map.quality.signal_to_noise}.items():
            if values is not None:
                file[f"snr/{live_map.name}/{name}"] = values
        data.attrs["information_limit_A"] = 1.0 / live_map.quality.information_limit_invA
    if live_map.sampling_A is not None:
        data.attrs["sampling_A"] = np.asarray(live_map.sampling_A, dtype=float)


def _write_calibration(file: h5py.File, calibration: Calibration) -> None:
    group = file.require_group("calibration")
    for name, value in calibration.to_attributes().items():
        group.attrs[name] = value


def _write_settings(file: h5py.File, settings: Mapping[str, Any]) -> None:
    group = file.require_group("settings")
    for name, value in settings.items():
        group.attrs[name] = value


def _write_refinement(group: h5py.Group, run: Run) -> None:
    result = run.result
    pictures = {"object": result.object, "probe": result.probe}
    for name, array in pictures.items():
        group.create_dataset(name, data=array, **COMPRESSION)
    group["object"].attrs.update(
        {
            "sampling_A": np.asarray(result.object_sampling_A, dtype=float),
            "slice_thickness_A": np.asarray(result.slice_thickness_A, dtype=float),
            "origin_A": np.asarray(result.origin_A, dtype=float),
        }
    )
    group["probe"].attrs["sampling_A"] = np.asarray(result.object_sampling_A, dtype=float)
    group["positions_A"] = np.asarray(result.positions_A, dtype=np.float64)
    if result.refined is not None:
        _write_refined(group, result.refined)
    if result.drift is not None:
        group["positions_A"].attrs.update(
            {"drift_A": result.drift.drift_A, "drift_uncertainty_A": result.drift.uncertainty_A}
        )
    for number, curve in enumerate(result.curves, 1):
        _write_curve(group.create_group(f"scans/{number}_{curve.quantity}"), curve)
    if result.validation is not None:
        _write_validation(group.create_group("validation"), result.validation)
    if result.position_bound_A is not None:
        group["positions_A"].attrs["bound_A"] = result.position_bound_A
    group["loss"] = np.asarray(result.loss, dtype=np.float64)
    group["loss"].attrs["phase"] = [str(phase) for phase in result.phases]
    group["seconds"] = np.asarray(result.seconds, dtype=np.float64)
    group.attrs.update(
        {
            "preset": run.preset.model_dump_json(),
            "state": result.state,
            "algorithm": result.algorithm,
            "reason": result.reason,
            "message": result.message,
            "backend": result.backend,
        }
    )


def _write_refined(group: h5py.Group, refined: Refined) -> None:
    """Quantities refined besides object, probe and positions, where there are any."""
    optional = {
        "beam_current": refined.beam_current,
        "background": refined.background,
        "slice_distances_A": refined.slice_distances_A,
        "aberrations": refined.aberrations_A,
        "tilts": refined.tilts_mrad,
    }
    for name, values in optional.items():
        if values is not None:
            group[name] = np.asarray(values, dtype=np.float64)
    if refined.aberrations_A is not None:
        group["aberrations"].attrs["names"] = list(refined.aberration_names)
        group["aberrations"].attrs["meaning"] = "added to the calibration, Å"
    if refined.tilts_mrad is not None:
        group["tilts"].attrs["names"] = [
            f"{at}_{along}" for at in ("before", "inside", "after") for along in ("row", "col")
        ]
        group["tilts"].attrs["units"] = "mrad"


def _write_curve(group: h5py.Group, curve: Curve) -> None:
    """A scan of a calibration value before the run."""
    group["values"] = np.asarray(curve.values, dtype=np.float64)
    group["loss"] = np.asarray(curve.losses, dtype=np.float64)
    group.attrs.update(
        {
            "start": curve.start,
            "best": curve.best,
            "uncertainty": curve.uncertainty,
            "applied": curve.applied,
            "reason": curve.reason,
        }
    )


def _write_validation(group: h5py.Group, validation: Validation) -> None:
    """Half-data ring correlation and null test."""
    for name in ("frequencies_invA", "halves", "null", "at_harmonic"):
        group[name] = np.asarray(getattr(validation, name))
    group.attrs["correlation"] = validation.correlation
    group.attrs["summary"] = validation.summary()


def _soft_link(target: str) -> Any:
    import h5py

    return h5py.SoftLink(target)
