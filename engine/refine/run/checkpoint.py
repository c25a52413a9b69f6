"""A refinement's state on disk: whole or not at all, checked when read, the last two kept.

A checkpoint is an npz file (no pickle) of the solver's state, the log, a fingerprint of what is being refined, and a
SHA-256 over all of it. Going on from one repeats the trajectory exactly, since a solver's state is all there is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.lbfgs import LbfgsState
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.schema.errors import RefinementError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import Array
from ptylive.schema.preset import Preset

FORMAT = 1
_UNREADABLE = (
    OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, MemoryError, OverflowError, SyntaxError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged npz file may raise."""
SAMPLED_PATTERNS = 64
SolverState = SweepState | LbfgsState


def fingerprint(dataset: Dataset, preset: Preset) -> str:
    """What a checkpoint belongs to: preset (but for the number of epochs), positions and a sample of the patterns."""
    digest = hashlib.sha256(preset.model_dump_json(exclude={"epoch_max"}).encode())
    digest.update(str((dataset.patterns.shape, dataset.patterns.dtype.str)).encode())
    digest.update(np.ascontiguousarray(dataset.positions_A).tobytes())
    every = max(1, len(dataset.patterns) // SAMPLED_PATTERNS)
    digest.update(np.ascontiguousarray(dataset.patterns[::every]).tobytes())
    digest.update(repr(sorted(dataset.calibration.to_plain().items())).encode())
    return digest.hexdigest()


def save(path: Path, state: SolverState, log: Log, identity: str) -> None:
    """Write ``path``; what was there becomes ``<name>.previous``."""
    arrays, plain = _encode(state)
    header = {"format": FORMAT, "identity": identity, "log": dataclasses.asdict(log), "state": plain}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays["sha256"] = np.frombuffer(_digest(arrays), np.uint8)
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        if path.exists():  # only now: a disk that is full must not cost the one there is
            path.replace(_previous(path))


def exists(path: Path) -> bool:
    """Whether there is something to go on from."""
    return path.exists() or _previous(path).exists()


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint held."""

    state: SolverState
    log: Log
    note: str
    """What was wrong with the newest checkpoint; empty where nothing was."""


def load(path: Path, identity: str) -> Saved | None:
    """The newest intact checkpoint at ``path``; None where there is none.

    Raises RefinementError where one is there but none is intact, or where it belongs to another refinement.
    """
    candidates = [p for p in (path, _previous(path)) if p.exists()]
    for candidate in candidates:
        arrays = _read(candidate)
        if arrays is None:
            continue
        header = json.loads(bytes(arrays.pop("header")))
        if header["identity"] != identity:
            raise RefinementError(
                f"checkpoint {candidate} belongs to other data or settings", "remove it, or start without --resume"
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["log"].items()}
        log = Log(**values)
        note = (
            ""
            if candidate == path
            else f"the last checkpoint {path.name} is missing or damaged: went on from the one before"
        )
        return Saved(_decode(arrays, header["state"]), log, note)
    if candidates:
        raise RefinementError(f"checkpoint {path} is damaged", "remove it and start without --resume")
    return None


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> dict[str, Array] | None:
    """Arrays of a checkpoint, or None where it is damaged or of another format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if arrays.pop("sha256").tobytes() != _digest(arrays):
            return None
        return arrays if json.loads(bytes(arrays["header"]))["format"] == FORMAT else None
    except _UNREADABLE:
        return None


def _digest(arrays: dict[str, Array]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name != "sha256":
            digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()


def _encode(state: SolverState) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and plain values of a solver's state."""
    arrays: dict[str, Array] = {}
    plain: dict[str, Any] = {"solver": "sweeps" if isinstance(state, SweepState) else "lbfgs"}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if field.name == "pairs":
            for i, (s, y) in enumerate(value):
                arrays[f"pair_{i}_s"], arrays[f"pair_{i}_y"] = _numpy(s), _numpy(y)
            plain["pairs"] = len(value)
        elif hasattr(value, "shape") and value.ndim > 0:
            arrays[field.name] = _numpy(value)
        elif hasattr(value, "shape"):
            plain[field.name] = float(value)  # a loss, which may lie on a device still
        else:
            plain[field.name] = value
    return arrays, plain


def _decode(arrays: dict[str, Array], plain: dict[str, Any]) -> SolverState:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    solver = values.pop("solver")
    if solver == "lbfgs":
        values["pairs"] = tuple(
            (arrays.pop(f"pair_{i}_s"), arrays.pop(f"pair_{i}_y")) for i in range(values.pop("pairs"))
        )
    values.update(arrays)
    return LbfgsState(**values) if solver == "lbfgs" else SweepState(**values)


def _numpy(array: Any) -> Array:
    return np.asarray(array.get() if hasattr(array, "get") else array)
