"""The results file (docs/conventions.md): maps, coverage, calibration, refinements; written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine import file_guard, results_file
from ptylive.engine.nexus.entry import POSITION
from ptylive.engine.refine.results.groups import COMPRESSION, write_curve, write_judged, write_stage
from ptylive.engine.results_file import (
    CHOSEN,
    GOES_ON,
    IDENTITY,
    PATIENCE_S,
    RUNS,
    SETTINGS,
    Change,
    ResultsFileError,
)
from ptylive.engine.stored_run import run_properties, stored_before, turned
from ptylive.schema import Calibration, InputFileError, LiveMap, PtyliveError
from ptylive.schema.errors import encodable
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import BoolArray, ComplexArray
from ptylive.schema.preset import Preset

if TYPE_CHECKING:
    import h5py

    from ptylive.engine.refine.data.drift import Drift
    from ptylive.engine.refine.parameters.refined import Refined
    from ptylive.engine.refine.results.refinement_result import RefineResult

SCAN_UID, SCAN_FILE, SCAN_PATH, SCAN_SHA256 = "scan_uid", "scan_file", "scan_path", "scan_sha256"
_SIGNALS = (
    ("object", "1", "transmission"),
    ("probe", "sqrt(counts)", "probe"),
    ("loss", "1", "loss per pattern"),
)
"""Data sets of a run: name, units, long name."""


def write_maps(
    path: Path,
    maps: Sequence[LiveMap],
    coverage: BoolArray,
    calibration: Calibration,
    settings: Mapping[str, Any],
    patience_s: float = PATIENCE_S,
) -> None:
    """Write maps, coverage, calibration and settings; refinements already in the file are kept.

    Raises ResultsFileError, InputFileError, or FileBusyError if another process holds the file for ``patience_s``.
    """

    def write(root: h5py.Group) -> None:
        for live_map in maps:
            _write_map(root, live_map)
        root.create_dataset("coverage", data=coverage)
        _write_calibration(root, calibration)

    results_file.apply(path, Change(frozenset({"maps", "coverage", "calibration", "snr"}), write, settings), patience_s)


def add_maps(path: Path, added: Sequence[LiveMap]) -> None:
    """Write further maps next to those of the file, replacing any of the same names; everything else is kept.

    Raises the same errors as :func:`write_maps`.
    """

    def write(root: h5py.Group) -> None:
        for live_map in added:
            _write_map(root, live_map)

    results_file.apply(path, Change(frozenset({"maps"}), write, {}, adds_maps=True))


@dataclass(frozen=True)
class Run:
    """A finished refinement with its name and the requested preset."""

    name: str
    preset: Preset
    result: RefineResult
    goes_on: bool = False
    """Whether it replaces an earlier state of itself, because it was stopped and resumed."""


@dataclass(frozen=True)
class StorageLocation:
    """Where a refinement was stored."""

    path: Path
    run: str
    problem: str = ""
    """Why that is a separate file and not the results file; empty if it is the results file."""


def add_refinement(path: Path, run: Run, calibration: Calibration, settings: Mapping[str, Any]) -> StorageLocation:
    """Add ``/refinements/<run>`` and make ``/refinement`` point to it.

    A resumed run with nothing left to do that the file holds already is not stored again: the result names that run. If
    the results file cannot be written, the refinement stays in a separate file next to it or, if the folder cannot
    be written either, in the system's folder for temporary files. Raises ResultsFileError if that fails, too.
    """
    identity = uuid.uuid4().hex
    try:
        pending = _write_pending(results_file.pending_path(path, run.name), identity, run, calibration, settings)
    except OSError as error:
        return _stored_elsewhere(path, error, identity, run, calibration, settings)
    if run.result.unchanged and (earlier := dropped(path, pending, run.name)):
        return StorageLocation(path, earlier)
    try:
        names = results_file.apply(path)
    except PtyliveError as error:
        return StorageLocation(pending, run.name, f"{error.line()}; {_complete_in(pending, path)}")
    return StorageLocation(path, names[identity])


def dropped(path: Path, pending: Path, name: str) -> str:
    """Remove a refinement that waits under ``name`` if the results file holds its equal, and return the name of that.

    Empty if it does not, and the refinement stays.
    """
    try:
        file_guard.admit(path)
    except (OSError, InputFileError):  # the change of the file that follows says why
        return ""
    if earlier := stored_before(path, pending):
        pending.unlink(missing_ok=True)
        results_file.release_run(path, name)
    return earlier


def _complete_in(pending: Path, results: Path) -> str:
    return f"the refinement is complete in {pending}, and is moved into {results.name} when that is next read"


def _stored_elsewhere(
    path: Path, problem: OSError, identity: str, run: Run, calibration: Calibration, settings: Mapping[str, Any]
) -> StorageLocation:
    message = f"{path.parent} could not be written: {problem.strerror or problem}"
    name = results_file.pending_path(path, f"{run.name}-{identity[:8]}").name  # other files may be called the same
    try:
        pending = _write_pending(Path(tempfile.gettempdir()) / name, identity, run, calibration, settings)
    except OSError:
        raise ResultsFileError(message, "make room, and resume from the last checkpoint") from None
    return StorageLocation(
        pending, run.name, f"{message}; the refinement is complete in {pending}: move it next to {path.name}"
    )


def _write_pending(path: Path, identity: str, run: Run, calibration: Calibration, settings: Mapping[str, Any]) -> Path:
    """Write a refinement as a results file of its own and return its path."""
    with replacing(path) as temporary, results_file.created(temporary) as file:
        _write_calibration(file, calibration)
        file.create_group(SETTINGS).attrs.update(settings)
        group = file.create_group(f"{RUNS}/{run.name}")
        _write_refinement(group, run)
        group.attrs.update({IDENTITY: identity, GOES_ON: run.goes_on})
        file[CHOSEN] = _soft_link(f"/{RUNS}/{run.name}")
    return path


def read_runs(path: Path) -> dict[str, dict[str, Any]]:
    """Return the runs of a results file: {run: {state, loss, epochs, slices, thickness_A, modes, algorithm, …}}.

    Empty if there is no file. Values that a run of an earlier version does not record are None, or empty.
    """
    import h5py

    if not path.exists():
        return {}
    with h5py.File(path, "r") as file:
        return {
            name: {
                "state": str(group.attrs.get("state", "")),
                "loss": float(group["loss"][-1]) if len(group["loss"]) else None,
                "epochs": len(group["loss"]),
                **run_properties(group),
            }
            for name, group in file.get("refinements", {}).items()
        }


def describe_scan(uid: str, file: Path | None, results: Path | None = None, digest: str = "") -> dict[str, str]:
    """Return attributes of `/settings` that identify the scan of the results, as far as each is known.

    They are its uid, the name of its file, the path to it from the folder of ``results``, and the ``digest`` of its
    patterns.
    """
    description = {SCAN_UID: uid, SCAN_FILE: "" if file is None else file.name, SCAN_SHA256: digest}
    if file is not None and results is not None:
        description[SCAN_PATH] = Path(os.path.relpath(file.resolve(), results.resolve().parent)).as_posix()
    return {name: encodable(value) for name, value in description.items() if value}


def describe_run(command_line: str, backend: str) -> dict[str, str]:
    """Return attributes of `/settings`: program version, command line, backend, date."""
    try:
        program = version("ptylive")
    except PackageNotFoundError:
        program = "unknown"
    return {
        "version": program,
        "command_line": encodable(command_line),
        "backend": backend,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _write_map(file: h5py.Group, live_map: LiveMap) -> None:
    data = file.create_dataset(f"maps/{live_map.name}", data=live_map.data, **COMPRESSION)
    data.attrs.update(
        {
            "units": live_map.units,
            "long_name": f"{live_map.name}, {live_map.units}" if live_map.units else live_map.name,
            "frames": live_map.frames,
            "method": live_map.method,
            "settings": json.dumps(dict(live_map.settings)),
        }
    )
    if live_map.deviation is not None:
        data.attrs["deviation"] = live_map.deviation
    if live_map.deviation is not None or live_map.buried:
        data.attrs.update(buried=live_map.buried, faint=live_map.faint)
    if live_map.modulation is not None:
        data.attrs.update(modulation=live_map.modulation, caveat=live_map.caveat)
    if live_map.quality is not None:
        for name, values in {**vars(live_map.quality), "signal_to_noise": live_map.quality.signal_to_noise}.items():
            if values is not None:
                file[f"snr/{live_map.name}/{name}"] = values
    if (limit := live_map.information_limits().get(1.0)) is not None:
        data.attrs.update(information_limit_A=limit.period_A, information_limit_uncertainty_A=limit.uncertainty_A)
        data.attrs["information_limit_finer"] = limit.finer
    if live_map.sampling_A is not None:
        data.attrs["sampling_A"] = np.asarray(live_map.sampling_A, dtype=float)


def _write_calibration(file: h5py.Group, calibration: Calibration) -> None:
    group = file.require_group("calibration")
    for name, value in calibration.to_attributes().items():
        group.attrs[name] = value


def _write_refinement(group: h5py.Group, run: Run) -> None:
    result = run.result
    arrays = {"object": result.object, "probe": result.probe}
    for name, array in arrays.items():
        group.create_dataset(name, data=array, **COMPRESSION)
    group["object"].attrs.update(
        {
            "sampling_A": np.asarray(result.object_sampling_A, dtype=float),
            "slice_thickness_A": np.asarray(result.slice_thickness_A, dtype=float),
            "origin_A": np.asarray(result.origin_A, dtype=float),
        }
    )
    group["probe"].attrs["sampling_A"] = np.asarray(result.object_sampling_A, dtype=float)
    _write_phase(group, result.object)
    _write_positions(group, result)
    if result.refined is not None:
        _write_refined(group, result.refined)
        _write_scan_drifts(group, result.scan_drifts)
    for number, curve in enumerate(result.curves, 1):
        write_curve(group.create_group(f"scans/{number}_{curve.quantity}"), curve)
    for number, stage in enumerate(result.stages, 1):
        write_stage(group.create_group(f"stages/{number}"), stage)
    if result.calibration is not None:
        _write_calibration(group, result.calibration)
    write_judged(group, result)
    group["loss"] = np.asarray(result.loss, dtype=np.float64)
    for name, units, meaning in _SIGNALS:  # for programs that read NeXus: docs/files.md
        group[name].attrs.update(units=units, long_name=meaning)
    group["loss"].attrs["phase"] = [str(phase) for phase in result.phases]
    if result.stages:
        group["loss"].attrs["stages"] = [stage.first_epoch for stage in result.stages]
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
    if (convergence := result.convergence) is not None:
        group.attrs.update(
            converged=convergence.converged, fall_per_epoch=convergence.fall, convergence=convergence.sentence
        )
    if result.loss_over_noise is not None:
        group.attrs["loss_over_noise"] = result.loss_over_noise


def _write_phase(group: h5py.Group, transmission: ComplexArray) -> None:
    """Write the phase of all slices together: viewers show the modulus of complex numbers, which is 1 everywhere."""
    phase = np.angle(turned(transmission)).sum(axis=0, dtype=np.float32)
    group.create_dataset("phase", data=phase, **COMPRESSION)
    place = {name: group["object"].attrs[name] for name in ("sampling_A", "origin_A")}
    group["phase"].attrs.update({"units": "rad", "long_name": "phase of the object, rad", **place})


def _write_positions(group: h5py.Group, result: RefineResult) -> None:
    """Write where each pattern was taken, and what was found about the positions."""
    positions_A = np.asarray(result.positions_A, dtype=np.float64)
    group["positions_A"] = positions_A
    group["positions_A"].attrs.update(units="angstrom", long_name="positions (y, x), Å")
    for axis, column in zip("yx", positions_A.T, strict=True):  # axes of a plot are vectors
        name = f"{POSITION}{axis}"
        group.create_dataset(name, data=column.astype(np.float32), **COMPRESSION)
        group[name].attrs.update(units="angstrom", long_name=f"{axis}, Å")
    if result.drift is not None:
        group["positions_A"].attrs.update(
            {"drift_A": result.drift.drift_A, "drift_uncertainty_A": result.drift.uncertainty_A}
        )
    if result.position_bound_A is not None:
        group["positions_A"].attrs["bound_A"] = result.position_bound_A


def _write_refined(group: h5py.Group, refined: Refined) -> None:
    """Write quantities refined in addition to object, probe and positions, as far as there are any."""
    optional = {
        "beam_current": refined.beam_current,
        "background": refined.background,
        "slice_distances_A": refined.slice_distances_A,
        "aberrations": refined.aberrations_A,
        "tilts": refined.tilts_mrad,
        "relative_thickness": refined.relative_thickness,
        "detector_psf_px": refined.detector_psf_px,
        "opr_coefficients": refined.opr_coefficients,
    }
    for name, values in optional.items():
        if values is not None:
            group[name] = np.asarray(values, dtype=np.float64)
    if refined.scans is not None:
        of_scans = {"tilts_mrad": refined.scans.tilts_mrad, "shifts_A": refined.scans.shifts_A}
        for name, values in {**of_scans, "beam_current": refined.scans.currents}.items():
            group[f"tilt_series/{name}"] = np.asarray(values, dtype=np.float64)
        group["tilt_series"].attrs["scans"] = list(refined.scans.names)
        group["tilt_series/patterns"] = refined.scans.patterns
    if refined.opr_components is not None:
        group.create_dataset("opr_components", data=refined.opr_components.astype(np.complex64), **COMPRESSION)
        group["opr_components"].attrs["meaning"] = "first mode of pattern n: probe[0, 0] + opr_coefficients[n] @ these"
    if refined.aberrations_A is not None:
        group["aberrations"].attrs["names"] = list(refined.aberration_names)
        group["aberrations"].attrs["meaning"] = "added to the calibration, Å"
    if refined.tilts_mrad is not None:
        group["tilts"].attrs["names"] = [
            f"{place}_{along}" for place in ("before", "inside", "after") for along in ("row", "col")
        ]
        group["tilts"].attrs["units"] = "mrad"


def _write_scan_drifts(group: h5py.Group, drifts: Sequence[Drift | None]) -> None:
    """Write the drift of each of several scans; NaN for a scan that shows no lattice."""
    if not drifts or "tilt_series" not in group:
        return
    unknown = (np.nan, np.nan)
    series, drifts_A = group["tilt_series"], [unknown if drift is None else drift.drift_A for drift in drifts]
    uncertainties_A = [unknown if drift is None else drift.uncertainty_A for drift in drifts]
    series["drift_A"] = np.asarray(drifts_A, dtype=np.float64)
    series["drift_A"].attrs.update(units="angstrom", meaning="along slow and fast axis, over the whole acquisition")
    series["drift_uncertainty_A"] = np.asarray(uncertainties_A, dtype=np.float64)
    series["drift_applied"] = np.array([drift is not None and drift.applied for drift in drifts])


def _soft_link(target: str) -> Any:
    import h5py

    return h5py.SoftLink(target)
