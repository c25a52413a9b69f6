"""Direct methods of other programs on a simulated scan, given the true calibration.

Each program runs in a separate environment, given by its interpreter:

    pip install py4DSTEM==0.14.18
    pip install ptychography40==0.1.0

A runner reads an ``.npz`` with patterns prepared as users of the program would (transform undone, bad pixels filled in,
beam within half a pixel of the middle, its position given) and writes one with a map for each method and setting. The
best setting of each method counts, chosen by the truth.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.map_score import MapTruth, score_map
from benchmarks.zoo.ours import one_thread
from benchmarks.zoo.peers import filled, installed
from ptylive.schema.detector import undo_transform, undo_transform_of_center

Floats = NDArray[np.floating[Any]]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class DirectPeer:
    """Another program with methods that need no iterations."""

    package: str
    methods: tuple[str, ...]
    """Names of its maps, and heads of the tables."""

    def runner(self) -> str:
        """Module in this folder that runs the program."""
        return f"run_direct_{self.package.lower()}"


PEERS = {
    "py4dstem": DirectPeer("py4DSTEM", ("DPC", "SSB", "OBF", "WDD", "Parallax")),
    "ptychography40": DirectPeer("ptychography40", ("ptychography40 SSB",)),
}


def key(program: str) -> str:
    """Digest of what a result depends on, besides the program's version: settings, input, judge."""
    here, zoo = Path(__file__), Path(__file__).parents[1] / "zoo"
    parts = (here, here.with_name(f"{PEERS[program].runner()}.py"), zoo / "map_score.py", zoo / "peers.py")
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:10]


def cached_figures(program: str, source: Path, python: Path | None, cache: Path) -> dict[str, Any]:
    """Figures of a program on a scan: kept from an earlier run, or new."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:10]
    path = cache / "results" / f"direct-{program}_{key(program)}" / f"{source.stem}_{digest}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    found = run(program, source, python)
    if not found.get("skipped"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def run(program: str, source: Path, python: Path | None) -> dict[str, Any]:
    """``maps``: best correlation of each method; ``skipped`` if it is not installed, ``error`` if it failed."""
    peer = PEERS[program]
    if python is None:
        return {
            "skipped": True,
            "error": f"not run: --{program}-python PATH names an interpreter that has {peer.package}",
        }
    if not installed(python, peer.package):
        return {"skipped": True, "error": f"not run: {peer.package} cannot be imported by {python}"}
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "given.npz"), Path(folder, "maps.npz")
        np.savez(given, **prepared(source))
        command = [str(python.absolute()), "-m", f"benchmarks.peers.{peer.runner()}", str(given), str(out)]
        completed = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=one_thread())
        if completed.returncode:
            return {"error": (completed.stderr.strip().splitlines() or ["no word"])[-1][:300]}
        with np.load(out) as maps:
            return judged(MapTruth.read(source), dict(maps))


def judged(truth: MapTruth, written: dict[str, Any]) -> dict[str, Any]:
    """Figures of the output of a runner: maps named "METHOD, SETTING", ``version`` and ``failed`` (JSON)."""
    report = {"version": str(written.pop("version")), "failed": json.loads(str(written.pop("failed")))}
    every = {name: score_map(truth, np.asarray(values))["corr"] for name, values in written.items()}
    best: dict[str, float] = {}
    for name, corr in every.items():
        method = name.split(",")[0]
        best[method] = max(best.get(method, -1.0), corr)
    return report | {"maps": best, "settings": every}


def prepared(source: Path) -> dict[str, Any]:
    """Patterns (rows, columns, n, n) float32 and the true calibration as JSON."""
    import h5py
    import hdf5plugin  # noqa: F401  (registers filters that recordings are packed with)

    with h5py.File(source) as file:
        metadata = dict(file["metadata"].attrs)
        counts = file["data"][()]
        bad = file["metadata/bad_pixel_mask"][()].astype(bool) if "bad_pixel_mask" in file["metadata"] else None
    rows, columns = (int(n) for n in metadata["scan_shape"])
    counts = counts[:, :columns]
    if metadata["scan_pattern"] == "snake":
        counts[1::2] = counts[1::2, ::-1].copy()
    flat = counts.reshape(-1, *counts.shape[2:]).astype(np.float32)
    patterns, centre = in_detector_frame(
        flat if bad is None else filled(flat, bad), str(metadata["detector_transform"]), metadata["beam_center_px"]
    )
    names = ("energy_eV", "defocus_A", "astigmatism_A", "astigmatism_deg", "rotation_deg")
    calibration = {name: float(metadata[name]) for name in names} | {
        "step_A": float(metadata["scan_step_A"]),
        "semiangle_mrad": float(metadata["convergence_semiangle_mrad"]),
        "pixel_mrad": float(metadata["detector_pixel_mrad"]),
        "centre_px": centre,
    }
    return {"patterns": patterns.reshape(rows, columns, *flat.shape[1:]), "calibration": json.dumps(calibration)}


def in_detector_frame(
    patterns: NDArray[np.float32], words: str, centre: Floats
) -> tuple[NDArray[np.float32], list[float]]:
    """Patterns (N, n, n) in the detector's frame, shifted by whole pixels, and the resulting position of the beam.

    Pixels shifted in from outside are dark. Shifts are whole pixels, because direct methods are given the beam
    position, and interpolation would soften the edge of the disc.
    """
    row, col = undo_transform_of_center(centre, patterns.shape[1:], words)
    patterns, side = undo_transform(patterns, words), patterns.shape[-1]
    moves = [round(side // 2 - place) for place in (row, col)]
    out = np.zeros_like(patterns, order="C")
    target = tuple(slice(max(0, move), side + min(0, move)) for move in moves)
    source = tuple(slice(max(0, -move), side - max(0, move)) for move in moves)
    out[:, target[0], target[1]] = patterns[:, source[0], source[1]]
    return out, [row + moves[0], col + moves[1]]
