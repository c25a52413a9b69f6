"""Named engines against the programs they come from: the loss of every epoch, from one start on one recording.

    python -m benchmarks.engines_vs_peers --data DIR [--ptyrad-python P/bin/python] [--py4dstem-python Q/bin/python]
        [--cases adam ...] [--seeds 1] [--own-batches] [--out curves.json]

Run it from the root of the repository. DIR holds the recordings (``mos2_edge_80kV_defocus.h5``, ...). Both programs are
given the same patterns, windows, start and batches; with --own-batches the other program draws its own, so that the
mean of several seeds must be compared. benchmarks/zoo/peers.py explains how to install the other programs. This
benchmark writes tests/engine/refine/engines/peer_curves.json; benchmarks/peers/plot_engines.py makes the picture.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.engine_cases import CASES, Case, batches_of, handed_over, our_curve, problem_of, read
from benchmarks.zoo.ours import one_thread

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    given = arguments()
    seeds = list(range(given.seeds))
    pythons = {"ptyrad": given.ptyrad_python, "py4dstem": given.py4dstem_python}
    found = {}
    for name in given.cases:
        case = CASES[name]
        problem, preset = problem_of(case, read(given.data / f"{case.scan}.h5"))
        ours = [our_curve(problem, preset, seed) for seed in seeds]
        arrays = handed_over(problem)
        for seed in seeds:
            arrays |= batches_of(problem, preset, case.epochs, seed)
        theirs = peer_curves(case, arrays, pythons[case.peer], seeds, own_batches=given.own_batches)
        found[name] = {"scan": case.scan, **theirs, "ours": rounded(ours)}
        print(row(name, theirs, ours), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def peer_curves(
    case: Case, arrays: dict[str, Any], python: Path | None, seeds: list[int], *, own_batches: bool
) -> dict[str, Any]:
    """Curves of the other program, and its version. SystemExit if it is missing or fails."""
    if python is None:
        raise SystemExit(f"--{case.peer}-python PATH names an interpreter that has {case.peer}")
    settings_plain = {
        "epochs": case.epochs,
        "seeds": seeds,
        "own_batches": own_batches,
        "batch_size": case.settings["batch_size"],
        "step": case.settings.get("sweep_step", 1.0),
        "phase_only": bool(case.settings.get("phase_only_obj", False)),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, settings, out = (Path(folder, name) for name in ("given.npz", "asked.json", "out.json"))
        np.savez(source, **arrays)
        settings.write_text(json.dumps(settings_plain), encoding="utf-8")
        runner = f"benchmarks.peers.run_engine_{case.peer}"
        command = [str(python.absolute()), "-m", runner, str(source), str(settings), str(out)]
        completed = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=one_thread())
        if completed.returncode:
            raise SystemExit(completed.stderr.strip()[-1500:])
        report = json.loads(out.read_text(encoding="utf-8"))
    return {"version": report["version"], "curves": rounded(report["curves"])}


def rounded(curves: list[list[float]]) -> list[list[float]]:
    """Round to five digits."""
    return [[float(f"{value:.5g}") for value in curve] for curve in curves]


def row(name: str, theirs: dict[str, Any], ours: list[list[float]]) -> str:
    """Table row with start, end and largest difference of the mean curves."""
    peer, ours_mean = np.mean(theirs["curves"], axis=0), np.mean(ours, axis=0)
    difference = np.abs(ours_mean - peer)
    largest, of_fall = (difference / peer).max(), difference.max() / (peer[0] - peer[-1])
    scatter = (np.std(theirs["curves"], axis=0) / peer).max()
    return (
        f"{name}: {theirs['version']} {peer[0]:.4f} to {peer[-1]:.4f}, here {ours_mean[0]:.4f} to {ours_mean[-1]:.4f};"
        f" at most {largest:.2%} apart, {of_fall:.2%} of the fall (seeds scatter by {scatter:.2%})"
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--own-batches", action="store_true")
    parser.add_argument("--ptyrad-python", type=Path)
    parser.add_argument("--py4dstem-python", type=Path)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
