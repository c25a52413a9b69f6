"""A refinement's state on disk: written atomically, verified when read, with the last two kept.

A checkpoint is an npz file (no pickle) of the solver's state, the log, what is being refined (a fingerprint of the
data, and the settings by name), and a SHA-256 over all of it. Continuing from a checkpoint repeats the trajectory
exactly, since it depends only on the solver's state. A setting missing from a checkpoint, which was written before that
setting existed, is assumed to have its default value.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import to_json

from ptylive.engine.backend.device import on_host
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.lbfgs import LbfgsState
from ptylive.engine.refine.solvers.pairs import Packed, Part
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.schema.errors import RefinementError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import Array
from ptylive.schema.preset import Preset

FORMAT = 2
_READ = (1, FORMAT)
"""Format 1 kept one hash of data and all settings of its time: a new setting made a checkpoint seem foreign."""
FORMAT_1_ORDER = tuple(
    """
    num_slices total_thickness_A slice_distances_A propmethod obj_modes probe_modes source_size_A focal_spread_A
    window_px upsample_pattern data_shift_vector_px flip_ky tilts_mrad tilt_mode aberrations_array_A
    aberration_marker probe_marker phase_plate_in_h5 damping_cutoff_multislice smooth_rolloff update_extra_cut
    lazy_clean recon_type image_pixel_A defocus_array_A alpha_near_field_mrad noise_weighting perpendicular_weight
    edge_weight update_obj update_probe phase_only_obj weakly_damped_obj probe_part update_probe_pos
    update_beam_current update_static_background update_slice_distances update_aberrations refined_aberrations
    update_tilts loss_weight non_negative_phase phase_norm_weight abs_norm_weight atv_weight atv_p atv_q
    missing_wedge_weight missing_wedge_beta mixed_variance_weight mixed_variance_sigma probe_reg_constraint_weight
    probe_constraint_radius probe_constraint_mask window_weight window position_prior_A
    fast_axis_reg_weight_positions slow_axis_reg_weight_positions deformation_reg_weight_positions
    fast_axis_reg_weight_tilts slow_axis_reg_weight_tilts deformation_reg_weight_tilts apply_gaussian_filter_px
    apply_gaussian_filter_amplitude_px beta_wedge keep_probe_states_orthogonal do_charge_flip cf_delta_phase
    cf_delta_abs cf_beta_phase cf_beta_abs fancy_sigma_phase_px fancy_sigma_abs_px fancy_deconvolution
    restart_from_vacuum reset_positions reset_history_flag algorithm loss_offset loss_floor bright_field_only sweeps
    early_stop probe_sweeps batch_size sweep_step probe_step anchor hist_length optimizer update_step_bfgs
    reduce_factor optimism min_step wolfe_c1_constant wolfe_c2_constant max_count seed start_from_map scan_defocus
    scan_thickness scan_rotation refine_drift start_map probe_amplitude start_object start_probe aperture_mask
    bright_threshold estimate_aperture_based_on_binary extra_probe_defocus_A beam_ctf n_hermite_probe_modes
    defocus_spread_modes_A sequence use_full_FOV extra_space_on_side_px
    """.split()
)
"""Settings in the order in which the first format hashed them, followed by those of plug-ins."""
_UNREADABLE = (
    OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, MemoryError, OverflowError, SyntaxError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Exceptions that reading a damaged npz file may raise."""
SAMPLED_PATTERNS = 64
"""Number of patterns, evenly spread, that identify the data: reading all would take as long as a sweep."""
SolverState = SweepState | LbfgsState


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to.

    data: fingerprint of positions, calibration and a sample of the patterns; settings: by name, without the number of
    epochs; format_1: data and settings as the first format had them.
    """

    data: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    format_1: str = ""
    stage: str = ""
    """Stage of a run that the checkpoint belongs to, in words."""
    follows: str = ""
    """Fingerprint of the end of the preceding stage. A checkpoint that follows anything else does not belong here."""
    epochs: int | str = dataclasses.field(default="auto", compare=False)
    """Number of epochs as it was given; it is not compared."""
    searched: bool = dataclasses.field(default=False, compare=False)
    """Whether short runs were searched for a drift before the run, on whose positions it is; it is not compared."""

    @classmethod
    def of(cls, dataset: Dataset, preset: Preset) -> Identity:
        """Identity of a refinement of these data with these settings; a stage is identified by its own settings."""
        settings = preset.model_dump(mode="json", exclude={"epoch_max", "phase_deviation"})
        newer = Preset.settings().keys() - set(FORMAT_1_ORDER)  # unknown then; at their defaults they have no effect
        plain = Preset().model_dump(mode="json")
        added = [
            name
            for name, value in settings.items()
            if name not in FORMAT_1_ORDER and not (name in newer and value == plain.get(name))
        ]
        first = {name: settings[name] for name in (*FORMAT_1_ORDER, *added)}
        epochs = preset.solver.epoch_max
        return cls(_fingerprint(dataset, b""), settings, _fingerprint(dataset, to_json(first)), epochs=epochs)

    def apart(self, header: dict[str, Any]) -> str:
        """Describe what a checkpoint belongs to if it is not this refinement; empty if it is."""
        if header["format"] == 1:
            return "" if header["identity"] == self.format_1 else "data or settings, or to another version of ptylive"
        if header["data"] != self.data:
            return "data"
        stored = header["settings"]
        different = [name for name in sorted({*stored, *self.settings}) if self._differs(name, stored)]
        changes = ", ".join(
            f"{name} was {_short(stored, name)}, is {_short(self.settings, name)}" for name in different[:3]
        )
        return f"settings ({changes}{', …' if len(different) > 3 else ''})" if different else ""

    def _differs(self, name: str, stored: dict[str, Any]) -> bool:
        if name in stored and name in self.settings:
            return bool(stored[name] != self.settings[name])
        default = json.loads(Preset.full()().model_dump_json()).get(name)
        if name in stored:  # no longer set, or gone with its plug-in: if it was off, it has no effect now either
            return bool(stored[name]) and bool(stored[name] != default)
        return bool(self.settings[name] != default)


def _short(settings: dict[str, Any], name: str) -> str:
    if name not in settings:
        return "unknown"
    text = "not given" if settings[name] is None else json.dumps(settings[name])
    return text if len(text) <= 40 else f"{text[:40]}…"


def _fingerprint(dataset: Dataset, settings: bytes) -> str:
    digest = hashlib.sha256(settings)
    digest.update(str((dataset.patterns.shape, dataset.patterns.dtype.str)).encode())
    digest.update(np.ascontiguousarray(dataset.positions_A).tobytes())
    stride = max(1, len(dataset.patterns) // SAMPLED_PATTERNS)
    digest.update(np.ascontiguousarray(dataset.patterns[::stride]).tobytes())
    for array in (dataset.offsets_px, dataset.current):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr(sorted(dataset.calibration.to_plain().items())).encode())
    return digest.hexdigest()


def save(path: Path, state: SolverState, log: Log, identity: Identity) -> None:
    """Write ``path``; an existing file becomes ``<name>.previous``."""
    arrays, plain = encoded(state)
    owner = {
        "data": identity.data,
        "settings": identity.settings,
        "stage": identity.stage,
        "follows": identity.follows,
        "epochs": identity.epochs,
        "searched": identity.searched,
    }
    header = {"format": FORMAT, **owner, "log": dataclasses.asdict(log), "state": plain}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays["sha256"] = np.frombuffer(_digest(arrays), np.uint8)
    named: dict[str, Any] = arrays  # NumPy 2.0 would mistake one of them for allow_pickle
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            np.savez(file, **named)  # all arrays are numeric, so nothing is pickled
        if path.exists():  # only after writing: a full disk must not destroy the existing checkpoint
            path.replace(_previous(path))


def of_stage(path: Path, number: int) -> Path:
    """The checkpoint of a stage, counted from 1, of a run whose checkpoint is ``path``."""
    return path if number == 1 else path.with_name(f"{path.name}.stage{number}")


def of_second_run(path: Path, number: int = 1) -> Path:
    """The checkpoint for continuing a run on other positions, for the ``number``-th time; its own is ``path``."""
    return path.with_name(f"{path.name}.stage-again{number if number > 1 else ''}")


def of_other_half_turn(path: Path) -> Path:
    """The checkpoint of the same run under the other half turn; its own checkpoint is ``path``."""
    return path.with_name(f"{path.name}.stage-turned")


def of_columns(path: Path) -> Path:
    """The checkpoint of the same run from columns; its own checkpoint is ``path``."""
    return path.with_name(f"{path.name}.stage-columns")


def through_depth(path: Path, name: str) -> Path:
    """The checkpoint of the same run through several slices in place of one; its own checkpoint is ``path``."""
    return path.with_name(f"{path.name}.stage-{name}")


def of_tiles(path: Path) -> Path:
    """The file that a run on several workers writes in place of ``path``; its tiles lie next to it."""
    return path.with_name(f"{path.name}.tiles")


def exists(path: Path) -> bool:
    """Whether there is a checkpoint to continue from."""
    return path.exists() or _previous(path).exists()


def may_replace(path: Path) -> bool:
    """Whether a run may write its checkpoint here: nothing is there, or a checkpoint. Raises OSError."""
    if not path.exists():
        return True
    try:
        with zipfile.ZipFile(path) as file:
            return "header.npy" in file.namelist()
    except zipfile.BadZipFile:
        return False


def ends_by_itself(path: Path) -> bool:
    """Whether the run of a checkpoint was given no number of epochs; true if it does not say so."""
    for candidate in (path, _previous(path)):
        try:
            with np.load(candidate, allow_pickle=False) as file:
                return isinstance(json.loads(bytes(file["header"])).get("epochs", "auto"), str)
        except _UNREADABLE:
            continue
    return True


def remove(path: Path) -> None:
    """Remove the checkpoints of a run, including those of its stages and tiles."""
    name = glob.escape(path.name)
    related = [*path.parent.glob(f"{name}.stage*"), *path.parent.glob(f"{name}.*.tile*"), of_tiles(path)]
    for file in (path, *related):
        file.unlink(missing_ok=True)
        _previous(file).unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint."""

    state: SolverState
    log: Log
    note: str
    """What was wrong with the newest checkpoint; empty if nothing was."""
    searched: bool = False
    """Whether short runs were searched for a drift before the run."""


def load(path: Path, identity: Identity) -> Checkpoint | None:
    """Load the newest intact checkpoint at ``path``; None if there is none, or if it follows another stage.

    Raises RefinementError if checkpoints exist but none is intact, or if they belong to another refinement.
    """
    candidates = [p for p in (path, _previous(path)) if p.exists()]
    for candidate in candidates:
        arrays = _read(candidate)
        if arrays is None:
            continue
        header = json.loads(bytes(arrays.pop("header")))
        if header.get("follows", "") != identity.follows:
            return None
        mismatch = identity.apart(header)
        if mismatch:
            raise RefinementError(
                f"checkpoint {candidate} belongs to other {mismatch}",
                "repeat the command that wrote it, remove it, or start without --resume",
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["log"].items()}
        log = Log(**values)
        note = (
            ""
            if candidate == path
            else f"the last checkpoint {path.name} is missing or damaged: continued from the previous one"
        )
        return Checkpoint(decoded(arrays, header["state"]), log, note, header.get("searched", False))
    if candidates:
        raise RefinementError(f"checkpoint {path} is damaged", "remove it and start without --resume")
    return None


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> dict[str, Array] | None:
    """Arrays of a checkpoint, or None if it is damaged or of another format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if arrays.pop("sha256").tobytes() != _digest(arrays):
            return None
        return arrays if json.loads(bytes(arrays["header"]))["format"] in _READ else None
    except _UNREADABLE:
        return None


def _digest(arrays: dict[str, Array]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name != "sha256":
            digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.digest()


def on_processor(state: SolverState) -> SolverState:
    """The state as it would be read from a file: another backend than the one that made it can continue from it."""
    return decoded(*encoded(state))


def encoded(state: SolverState) -> tuple[dict[str, Array], dict[str, Any]]:
    """Encode a solver's state as arrays and plain values."""
    arrays: dict[str, Array] = {}
    plain: dict[str, Any] = {"solver": "sweeps" if isinstance(state, SweepState) else "lbfgs"}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if field.name == "pairs":
            for i, (s, y) in enumerate(value):
                arrays |= _of_part(f"pair_{i}_s", s) | _of_part(f"pair_{i}_y", y)
            plain["pairs"] = len(value)
        elif hasattr(value, "shape") and value.ndim > 0:
            arrays[field.name] = on_host(value)
        elif hasattr(value, "shape"):
            plain[field.name] = float(value)  # a loss, which may still be on a device
        else:
            plain[field.name] = value
    return arrays, plain


def decoded(arrays: dict[str, Array], plain: dict[str, Any]) -> SolverState:
    """Inverse of :func:`encoded`. Modifies both arguments."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    solver = values.pop("solver")
    if solver == "lbfgs":
        values["pairs"] = tuple(
            (_part(f"pair_{i}_s", arrays), _part(f"pair_{i}_y", arrays)) for i in range(values.pop("pairs"))
        )
    values.update(arrays)
    return LbfgsState(**values) if solver == "lbfgs" else SweepState(**values)


def _of_part(name: str, part: Part) -> dict[str, Array]:
    """Arrays of one vector of an L-BFGS pair."""
    if isinstance(part, Packed):
        return {name: on_host(part.numbers), f"{name}_scales": on_host(part.scales)}
    return {name: on_host(part)}


def _part(name: str, arrays: dict[str, Array]) -> Part:
    """Inverse of :func:`_of_part`; removes the arrays from ``arrays``."""
    numbers, scales = arrays.pop(name), arrays.pop(f"{name}_scales", None)
    return numbers if scales is None else Packed(numbers, scales)
