"""A refinement read back from a results file (docs/conventions.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.schema import Calibration, InputFileError
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.patterns import MOST_SCANS

MOST_GROUPS = 64
OF_DRIFT = ("drift_A", "drift_uncertainty_A", "drift_applied")
OF_SCANS = {
    **{"tilt_mrad": "tilts_mrad", "shift_A": "shifts_A", "beam_current": "beam_current", "patterns": "patterns"},
    **{name: name for name in OF_DRIFT},
}
"""Values read for each of several scans, with the data set in ``tilt_series`` that holds each."""


def turned(transmission: ComplexArray) -> ComplexArray:
    """Return each slice (slices, Y, X) as the mean of the object's modes, with the phase of its mean rotated to 0."""
    mean = transmission.mean(axis=0)
    return np.asarray(mean * np.exp(-1j * np.angle(mean.sum(axis=(1, 2), keepdims=True))), dtype=np.complex64)


@dataclass(frozen=True)
class StoredPrior:
    """Outcome of a refinement by networks (docs/dgp.md)."""

    losses_held: DoubleArray
    """(1 + epochs,) loss per held-out pattern: first of the pixels, then after each epoch."""
    attributes: dict[str, Any]
    """``epoch`` (the chosen one; 0: the pixels), ``warning`` of the null test, ``sentence``, … as plain values."""


@dataclass(frozen=True)
class StoredRun:
    """A stored refinement: object, probe, and accompanying quantities and settings."""

    name: str
    object: ComplexArray
    """(object modes, slices, Y, X) transmission function."""
    probe: ComplexArray
    """(probes, modes, P, P) real space, centred on pixel P // 2, sum |probe|^2 = mean counts of a pattern."""
    pixel_A: float
    slice_thickness_A: tuple[float, ...]
    origin_A: tuple[float, float]
    """Position of object pixel (0, 0)."""
    positions_A: DoubleArray
    """(N, 2) scan positions."""
    loss: DoubleArray
    """(epochs,) loss per pattern."""
    calibration: Calibration
    preset: Preset
    refined: dict[str, DoubleArray] = field(default_factory=dict)
    """Other refined quantities, by their names in the file: beam_current, background, tilts, aberrations, …"""
    state: str = ""
    algorithm: str = ""
    reason: str = ""
    """Why the program chose the settings left to it as it did."""
    seconds: float = 0.0
    """Time taken by its epochs."""
    phase_deviation: FloatArray | None = None
    """(Y, X) standard deviation of the phase of all slices together, rad, NaN where undetermined; None: unknown."""
    median_deviation_rad: float | None = None
    """Median of the standard deviation over the scanned area."""
    deviation_is_lower_bound: bool = False
    """Whether repeats scatter by more than the stated deviation."""
    convergence: str = ""
    """Whether the refinement had converged, in words; empty if unknown."""
    prior: StoredPrior | None = None
    """Outcome of the networks, if any were trained."""
    date: str = ""
    """When its file was last changed, ISO 8601; empty if unknown."""

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> StoredRun:
        """Read a run of a results file, the chosen one unless named. Raises InputFileError."""
        import h5py

        check_is_file(path)
        try:
            with h5py.File(path, "r") as file:
                runs = file.get("refinements")
                names = [] if runs is None else list(runs)
                if not names:
                    raise InputFileError(f"{path} holds no refinement", _without_runs(file))
                if name is not None and name not in names:
                    raise InputFileError(f"{path} has no run {name!r}", f"it has {', '.join(names)}")
                chosen = name or str(file.get("refinement", getlink=True).path).rsplit("/", 1)[-1]
                date = str(file["settings"].attrs.get("date", "")) if "settings" in file else ""
                group = file[f"refinements/{chosen}"]
                calibration_group = group.get(
                    "calibration", file["calibration"]
                )  # in files of earlier versions all runs share one
                return cls._of(chosen, group, Calibration.from_attributes(dict(calibration_group.attrs)), date)
        except FAULTS as error:
            raise damaged(path, error) from None

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Return whether a results file holds any refinement. Raises InputFileError."""
        import h5py

        try:
            with h5py.File(path, "r") as file:
                return bool(len(file.get("refinements", ())))
        except FAULTS as error:
            raise damaged(path, error) from None

    @classmethod
    def _of(cls, name: str, group: Any, calibration: Calibration, date: str) -> StoredRun:
        known = (
            "beam_current",
            "background",
            "slice_distances_A",
            "aberrations",
            "tilts",
            "relative_thickness",
            "detector_psf_px",
            "opr_coefficients",
        )
        attributes = group["object"].attrs
        origin = attributes["origin_A"]
        pixel_A = float(attributes["sampling_A"][0])
        if not 0 < pixel_A < np.inf:
            raise ValueError(f"impossible sampling_A of the object, {pixel_A:g} Å")
        arrays = {name: np.asarray(group[name][()], dtype=np.complex64) for name in ("object", "probe")}
        for dataset, array in arrays.items():
            if array.ndim != 4 or not array.size:
                raise ValueError(f"its {dataset} has the shape {array.shape}")
        positions_A = np.asarray(group["positions_A"][()], dtype=np.float64)
        _check_positions(positions_A, (float(origin[0]), float(origin[1])), pixel_A, arrays["object"].shape[2:])
        deviation, median_rad = _deviation(group, arrays["object"].shape[2:])
        return cls(
            name=name,
            object=arrays["object"],
            probe=arrays["probe"],
            pixel_A=pixel_A,
            slice_thickness_A=tuple(float(d) for d in attributes["slice_thickness_A"]),
            origin_A=(float(origin[0]), float(origin[1])),
            positions_A=positions_A,
            loss=np.asarray(group["loss"][()], dtype=np.float64),
            calibration=calibration,
            preset=_preset(str(group.attrs["preset"])),
            **{n: str(group.attrs.get(n, "")) for n in ("state", "algorithm", "reason", "convergence")},
            seconds=float(np.sum(group["seconds"][()])) if "seconds" in group else 0.0,
            refined={n: np.asarray(group[n][()], dtype=np.float64) for n in known if n in group},
            phase_deviation=deviation,
            median_deviation_rad=median_rad,
            deviation_is_lower_bound=bool(_attribute(group, "phase_deviation", "lower_bound")),
            prior=_prior(group),
            date=date,
        )

    @property
    def slices(self) -> int:
        """Number of slices of the object."""
        return int(self.object.shape[1])

    @property
    def spacing_A(self) -> float:
        """Distance between slices; for a single slice its thickness, 0 if unknown."""
        return self.slice_thickness_A[0] if self.slice_thickness_A else 0.0

    @property
    def window(self) -> int:
        """Size P of the probe window in pixels."""
        return int(self.probe.shape[-1])

    @property
    def wavelength_A(self) -> float:
        """Wavelength of the electrons. Raises MetadataError if the energy is not known."""
        self.calibration.require("energy_eV", "the export")
        return float(self.calibration.wavelength_A or np.nan)

    def transmission(self) -> ComplexArray:
        """Return each slice (slices, Y, X): the mean of the object's modes, with the phase of its mean rotated to 0."""
        return turned(self.object)

    def phase(self) -> FloatArray:
        """Return the phase of each slice of :meth:`transmission` (slices, Y, X), rad."""
        return np.asarray(np.angle(self.transmission()), dtype=np.float32)

    def corners_px(self) -> DoubleArray:
        """Return the first pixel of each pattern's window, (N, 2) in fractional object pixels."""
        corners = (self.positions_A - np.asarray(self.origin_A)) / self.pixel_A - self.window // 2
        return np.asarray(corners, dtype=np.float64)

    def depths_A(self) -> DoubleArray:
        """Return the depth (slices,) of each slice below the first, Å."""
        return np.cumsum([0.0, *self.slice_thickness_A[: self.slices - 1]])


def _without_runs(file: Any) -> str:
    """What to do with a results file that holds no refinement."""
    made = "make one with ptylive refine"
    return f"{made}; ptylive export --to png --maps all writes its maps" if "maps" in file else made


def _prior(group: Any) -> StoredPrior | None:
    """Read what the run records of its networks; None if it has none."""
    if "prior/losses_held" not in group:
        return None
    attributes = {name: np.asarray(value).tolist() for name, value in group["prior"].attrs.items()}
    return StoredPrior(np.atleast_1d(np.asarray(group["prior/losses_held"][()], dtype=np.float64)), attributes)


def _deviation(group: Any, shape: tuple[int, ...]) -> tuple[FloatArray | None, float | None]:
    """Read the standard deviation of the phase and its median, if any. Raises ValueError for a wrong shape."""
    if "phase_deviation" not in group:
        return None, None
    stored = group["phase_deviation"]
    if stored.shape != shape:
        raise ValueError(f"its phase_deviation has the shape {stored.shape}, its object {shape}")
    deviation, median = np.asarray(stored[()], dtype=np.float32), float(stored.attrs.get("median", np.nan))
    return deviation, median if np.isfinite(median) else None


def _check_positions(
    positions_A: DoubleArray, origin_A: tuple[float, float], pixel_A: float, shape: tuple[int, ...]
) -> None:
    """Raise ValueError if positions (N, 2) are invalid, or all lie outside the object of this shape."""
    if positions_A.ndim != 2 or positions_A.shape[1] != 2 or not positions_A.size or not np.isfinite(positions_A).all():
        raise ValueError("its positions are not valid")
    pixels = (positions_A - np.asarray(origin_A)) / pixel_A
    if not ((pixels >= 0) & (pixels < np.asarray(shape))).all(axis=1).any():
        raise ValueError("its positions lie outside its object")


def _preset(text: str) -> Preset:
    """Read the settings of a run, dropping those of plug-ins no longer installed. Raises ValueError if invalid."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("its preset is not a table of settings")
    kind = Preset.kind_for(values)
    known = {name: value for name, value in values.items() if name in kind.settings()}
    if known.get("algorithm", "auto") not in get_args(kind.settings()["algorithm"].annotation):
        del known["algorithm"]
    return kind.model_validate_json(json.dumps(known))


def _attribute(group: Any, part: str, name: str) -> float | None:
    """Return a number recorded for a part of a run, or None."""
    return None if part not in group else _number(group[part].attrs.get(name))


def _number(value: Any) -> float | None:
    """Return a stored number, or None if there is none or it is not finite."""
    return None if value is None or not np.isfinite(value) else float(value)


def stored_before(path: Path, pending: Path) -> str:
    """Return the run of a vetted results file that holds the refinement in ``pending`` already; empty if none does.

    The losses of all epochs identify a trajectory, the state and the members what was found on it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file, h5py.File(pending, "r") as new:
            (found,) = new["refinements"].values()
            earlier = dict(file.get("refinements", {}))
            return next((name for name, group in reversed(earlier.items()) if _equal(group, found)), "")
    except FAULTS:  # no file yet, or a damaged one: whoever writes it says what is wrong with it
        return ""


def _equal(one: Any, other: Any) -> bool:
    alike = (set(one), set(one.attrs), one.attrs.get("state")) == (set(other), set(other.attrs), other.attrs["state"])
    return alike and bool(np.array_equal(one["loss"][()], other["loss"][()]))


def run_properties(group: Any) -> dict[str, Any]:
    """Return what distinguishes a run: slices, total thickness (Å), probe modes, data term, converged or not.

    Also how good it is, in addition to its loss: ``loss_over_noise``, its ratio to that of counting noise alone,
    ``deviation_rad``, the scatter of its phase due to counting noise
    (median), and ``halves``, the correlation of objects refined from either half of the data, if requested.
    ``held_out``: ``loss`` of held-out patterns, by ``groups``, of how many ``patterns`` after how many ``sweeps``.
    ``scans``: for each of several scans, what :func:`scans_of` reads.
    """
    transmission, probe = group.get("object"), group.get("probe")
    slices = None if transmission is None or transmission.ndim != 4 else int(transmission.shape[1])
    thickness = None if transmission is None else transmission.attrs.get("slice_thickness_A")
    converged = group.attrs.get("converged")
    return {
        "slices": slices,
        "thickness_A": None if thickness is None else float(np.sum(thickness)),
        "modes": None if probe is None or probe.ndim != 4 else int(probe.shape[1]),
        "algorithm": str(group.attrs.get("algorithm", "")),
        "converged": None if converged is None else bool(converged),
        "loss_over_noise": _number(group.attrs.get("loss_over_noise")),
        "deviation_rad": _attribute(group, "phase_deviation", "median"),
        "deviation_is_lower_bound": bool(_attribute(group, "phase_deviation", "lower_bound")),
        "halves": _attribute(group, "validation", "correlation"),
        "held_out": _held_out(group),
        "scans": scans_of(group),
    }


def _held_out(group: Any) -> dict[str, Any] | None:
    """Read how well the settings of a run predict held-out patterns: mean, by groups, and number of patterns."""
    if "held_out" not in group:
        return None
    groups = np.asarray(group["held_out"][()], dtype=np.float64).ravel()[:MOST_GROUPS]
    if not groups.size or not np.isfinite(groups).all():
        return None
    attributes = group["held_out"].attrs
    counts = {name: int(attributes.get(name, 0)) for name in ("patterns", "sweeps")}
    return {"loss": float(groups.mean()), "groups": groups.tolist(), **counts}


def scans_of(group: Any) -> list[dict[str, Any]]:
    """Read the scans that a run was made from; empty for a single scan.

    Each has ``name``, ``tilt_mrad``, ``shift_A``, ``beam_current``, ``patterns``, and ``drift_A``,
    ``drift_uncertainty_A``, ``drift_applied``; the last three are None if no drift was looked for or the scan shows no
    lattice. Pairs are (row, column), those of a drift (slow, fast axis).
    """
    if "tilt_series" not in group:
        return []
    series = group["tilt_series"]
    names = [str(name) for name in np.atleast_1d(series.attrs.get("scans", ()))][:MOST_SCANS]
    columns = {name: np.asarray(series[stored][()]) for name, stored in OF_SCANS.items() if stored in series}
    if any(len(values) < len(names) for values in columns.values()):
        return []
    scans = []
    for number, name in enumerate(names):
        scan = {"name": name, **{key: values[number].tolist() for key, values in columns.items()}}
        has_drift = "drift_A" in scan and np.isfinite(np.asarray(scan["drift_A"], dtype=float)).all()
        scans.append(scan if has_drift else scan | dict.fromkeys(OF_DRIFT))
    return scans
