"""Other programs' iterative refinement, timed iteration by iteration on a scan of the zoo, judged after each.

They are given the true calibration and patterns prepared as for the zoo (benchmarks/zoo/peers.py), one probe mode, and
positions that are not refined. Each runs in a separate environment, given by its interpreter: for py4DSTEM and PtyRAD
see benchmarks/zoo/peers.py, and

    pip install 'phaserEM[jax]==0.3.1'
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo.ours import one_thread
from benchmarks.zoo.peers import installed, prepared
from benchmarks.zoo.score import Reconstruction, Truth, score

ROOT = Path(__file__).resolve().parents[2]
THRESHOLDS = (0.95, 0.98)
PEERS = {"py4dstem": "py4DSTEM", "ptyrad": "ptyrad", "phaser": "phaser"}
"""Programs, and the names of their packages."""


def run(
    program: str, source: Path, python: Path | None, iterations: int, refined: Sequence[str] = ()
) -> dict[str, Any]:
    """A row of figures; ``skipped`` if the program is not installed, ``error`` if it failed."""
    package = PEERS[program]
    if python is None:
        return {
            "name": program,
            "skipped": True,
            "error": f"not run: --{program}-python PATH names an interpreter that has {package}",
        }
    if not installed(python, package):
        return {"name": program, "skipped": True, "error": f"not run: {package} cannot be imported by {python}"}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "given.npz")
        np.savez(given, **prepared(source))
        command = [str(python.absolute()), "-m", f"benchmarks.peers.run_timed_{program}", str(given), folder]
        command += [str(iterations), *refined]
        completed = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=one_thread())
        if completed.returncode:
            return {"name": program, "error": (completed.stderr.strip().splitlines() or ["no word"])[-1][:300]}
        report = json.loads(Path(folder, "run.json").read_text(encoding="utf-8"))
        phases = (np.load(path) for path in sorted(Path(folder).glob("phase_*.npy")))
        truth = Truth.read(source)
        corrs = [judged(truth, phase, report) for phase in phases]
    return row(f"{program} {report['version']}", report, corrs, count=len(truth.points))


def judged(truth: Truth, phase: Any, report: Mapping[str, Any]) -> float:
    """Correlation with the truth of a phase (slices, y, x), positioned as the runner reports."""
    pixel = float(report["pixel_A"])
    row_px, column_px = report["first_px"]
    reconstruction = Reconstruction(np.asarray(phase, float), (pixel, pixel), (-row_px * pixel, -column_px * pixel))
    return float(score(truth, reconstruction)["corr"])


def row(name: str, report: Mapping[str, Any], corrs: Sequence[float], count: int) -> dict[str, Any]:
    """Figures of a run with ``count`` patterns: CPU seconds and correlation of each iteration combined."""
    spent = [float(value) for value in report["cpu_s"]]
    usual = statistics.median(spent[1:] if len(spent) > 2 else spent)  # the first one may compile
    return {
        "name": name,
        "patterns_per_cpu_s": round(count / usual),
        "cpu_s_to": reached(np.cumsum(spent), corrs),
        "last": corrs[-1],
        "best": max(corrs),
        "peak_MB": round(float(report["peak_MB"]), 1),
    }


def reached(spent: Iterable[float], corrs: Sequence[float], digits: int = 3) -> dict[str, float | None]:
    """Seconds, summed from the first iteration on, at each threshold; None if it was never reached."""
    points = list(zip(spent, corrs, strict=True))
    found: dict[str, float | None] = {}
    for threshold in THRESHOLDS:
        times = [float(total) for total, corr in points if corr >= threshold]
        found[str(threshold)] = round(times[0], digits) if times else None
    return found
