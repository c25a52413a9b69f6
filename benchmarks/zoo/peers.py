"""Other programs on scans of the zoo: given the true calibration, run as their own documents say.

Each runs in an environment of its own, named by its interpreter. It reads an ``.npz`` with patterns that are prepared
as its users would (transform undone, bad pixels filled in, beam in the middle) and writes one with its phase:

    pip install py4DSTEM==0.14.18
    pip install torch accelerate optuna pydantic pyyaml scikit-learn matplotlib tifffile h5py scipy tqdm
    pip install --no-deps ptyrad==1.0.0
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.ours import one_thread
from benchmarks.zoo.score import Reconstruction, Truth, score
from ptylive.schema.detector import undo_transform, undo_transform_of_center


@dataclass(frozen=True)
class Peer:
    """Another program."""

    name: str
    runner: str
    """Script beside this module."""
    package: str
    iterations: int
    """As its documents have it."""


PEERS = {
    "ptyrad": Peer("PtyRAD", "run_ptyrad.py", "ptyrad", 200),
    "py4dstem": Peer("py4DSTEM", "run_py4dstem.py", "py4DSTEM", 32),
}


def key(program: str, iterations: int | None) -> str:
    """What a result of a peer depends on, besides its version: settings, what it is handed, the judge."""
    here = Path(__file__)
    code = b"".join(
        path.read_bytes() for path in (here, here.with_name("score.py"), here.with_name(PEERS[program].runner))
    )
    return f"{iterations or PEERS[program].iterations}it_{hashlib.sha256(code).hexdigest()[:10]}"


def run(program: str, source: Path, folder: Path, python: Path | None, iterations: int | None) -> dict[str, Any]:
    """Refine a scan and score it; ``skipped`` where the program is not installed, ``error`` where it failed."""
    peer = PEERS[program]
    if python is None:
        return {"skipped": True, "error": f"not run: --{program}-python PATH names an interpreter that has {peer.name}"}
    if not installed(python, peer.package):
        return {"skipped": True, "error": f"not run: {peer.package} cannot be imported by {python.name}"}
    folder.mkdir(parents=True, exist_ok=True)
    given, out = folder / f"{source.stem}_input.npz", folder / f"{source.stem}_phase.npz"
    np.savez(given, **prepared(source))
    script = Path(__file__).with_name(peer.runner)
    command = [str(python), str(script), str(given), str(out), str(iterations or peer.iterations)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=one_thread())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    given.unlink()
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, Any] = {"cpu_s": round(spent, 1), "iterations": iterations or peer.iterations}
    if done.returncode:
        return found | {"error": (done.stderr.strip().splitlines() or ["no word"])[-1][:300]}
    with np.load(out) as result:
        pixel, first = float(result["pixel_A"]), result["first_px"] * float(result["pixel_A"])
        phase, version = result["phase"].astype(float), str(result["version"])
    seen = Reconstruction(phase, (pixel, pixel), (-float(first[0]), -float(first[1])))
    return found | {"version": version} | score(Truth.read(source), seen)


def installed(python: Path, package: str) -> bool:
    """Whether that interpreter has the package, without importing it."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    try:
        return subprocess.run([str(python), "-c", code], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def prepared(source: Path) -> dict[str, Any]:
    """Patterns (rows, columns, n, n) float32, positions (N, 2) in Å, and the true calibration as JSON."""
    import h5py

    with h5py.File(source) as file:
        told = dict(file["metadata"].attrs)
        counts = file["data"][()]
        bad = file["metadata/bad_pixel_mask"][()] if "bad_pixel_mask" in file["metadata"] else None
        nominal, truth = file["truth/nominal_positions_A"][()], file["truth"]
        slices, thickness = len(truth["slices"]), float(truth.attrs["thickness_A"])
        pixel_invA = 1 / (float(truth.attrs["probe_sampling_A"]) * counts.shape[-1])
    rows, columns = told["scan_shape"]
    counts, nominal = counts[:, :columns], nominal[:, :columns]
    if told["scan_pattern"] == "snake":
        counts[1::2], nominal[1::2] = counts[1::2, ::-1].copy(), nominal[1::2, ::-1].copy()
    patterns = centred(counts.reshape(-1, *counts.shape[2:]), bad, told["detector_transform"], told["beam_center_px"])
    calibration = {
        "energy_eV": float(told["energy_eV"]),
        "semiangle_mrad": float(told["convergence_semiangle_mrad"]),
        "pixel_invA": pixel_invA,
        "pixel_mrad": float(told["detector_pixel_mrad"]),
        "defocus_A": float(told["defocus_A"]),
        "astigmatism_A": float(told["astigmatism_A"]),
        "astigmatism_deg": float(told["astigmatism_deg"]),
        "rotation_deg": float(told["rotation_deg"]),
        "step_A": float(told["scan_step_A"]),
        "slices": slices,
        "slice_A": thickness / slices,
    }
    flat = nominal.reshape(-1, 2)
    return {
        "patterns": patterns.reshape(rows, columns, *patterns.shape[1:]),
        "positions_A": flat - flat[0],
        "calibration": json.dumps(calibration),
    }


def centred(
    counts: NDArray[np.uint16], bad: NDArray[np.bool_] | None, words: str, centre: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Patterns (N, n, n) in the detector's frame, bad pixels filled in, the beam moved to pixel n // 2."""
    from scipy import ndimage

    patterns = counts.astype(np.float32)
    if bad is not None:
        patterns = filled(patterns, bad)
    row, col = undo_transform_of_center(centre, patterns.shape[1:], words)
    patterns, side = undo_transform(patterns, words), patterns.shape[-1]
    # in between pixels by linear interpolation, which keeps counts and makes none negative
    return ndimage.shift(patterns, (0, side // 2 - row, side // 2 - col), order=1, mode="constant").astype(np.float32)


def filled(patterns: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bad pixels as the mean of those about them that are not."""
    patterns = patterns.copy()
    for row, col in np.argwhere(bad):
        near = (slice(max(0, row - 1), row + 2), slice(max(0, col - 1), col + 2))
        good = ~bad[near]
        patterns[:, row, col] = patterns[:, near[0], near[1]][:, good].mean(1) if good.any() else 0
    return patterns
