"""``ptylive align`` on unseen scans: spurious aberrations, and errors of the values found.

    python -m benchmarks.image_shifts DIR [--kind none|one] [--seed 0] [--scans 10]

The draws are those of benchmarks/aberrations.py, five times as far out of focus, 40 x 40 points, steps 1.5 times as
wide. Everything is given except aberrations above second order, which are given as 0. A value counts as spurious if the
aberration is absent and the value exceeds twice its error. Scans are kept in DIR.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import ptylive
from benchmarks.aberrations import LOW, drawn
from ptylive.application.analysis.image_shifts import align_store
from ptylive.application.offline import reconstruct_source
from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions

DEFOCUS_FACTOR, STEP_FACTOR, POINTS = 5.0, 1.5, 40
INVENTED = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=("one", "none"), default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scans", type=int, default=10)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    absent = invented = 0
    distances: list[float] = []
    for seed in range(given.seed, given.seed + given.scans):
        specimen, rows = judged(given.folder, given.kind, seed)
        absent += sum(row["truth_A"] == 0 for row in rows.values())
        invented += sum(row["truth_A"] == 0 and abs(row["in_errors"]) > INVENTED for row in rows.values())
        distances += [abs(row["from_truth_in_errors"]) for row in rows.values()]
        print(json.dumps({"seed": seed, "specimen": specimen, **rows}), flush=True)
    if not distances:
        raise SystemExit("no scan could be aligned")
    shares = [f"{100 * float(np.mean(np.array(distances) <= times)):.0f} %" for times in (1, 2, 3)]
    print(f"{invented} of {absent} invented; within one, two, three errors {', '.join(shares)}; {max(distances):.1f}")


def judged(folder: Path, kind: str, seed: int) -> tuple[str, dict[str, dict[str, float]]]:
    """What a draw shows, and each aberration found: its value and error, Å, the truth, and the deviation in errors."""
    settings, aberrations = drawn(kind, seed)
    settings["defocus_A"] *= DEFOCUS_FACTOR
    aberrations["C10"] *= DEFOCUS_FACTOR
    settings["scan_shape"] = (POINTS, POINTS)
    settings["scan_step_A"] = tuple(STEP_FACTOR * step for step in settings["scan_step_A"])
    path = folder / f"shifts_{kind}{seed}.h5"
    if not path.exists():
        ptylive.simulate(path, seed=seed, **settings)
    scan = ptylive.open_scan(path)
    with scan.access.open() as source:
        assumed = {name: 0.0 for name in aberrations if name not in LOW}
        rendered = reconstruct_source(source, {**scan.values, **assumed}, ["bf"])
    aligned = align_store(rendered.engine.store, rendered.calibration, AlignmentOptions(order=3)).told()["aberrations"]
    rows: dict[str, dict[str, float]] = {}
    for name, found in aligned.items():
        truth = float(aberrations.get(name, 0.0))
        value, error = float(found["value_A"]), max(float(found["error_A"]), 0.05)  # reported to a tenth
        rows[name] = {
            "value_A": value,
            "error_A": error,
            "truth_A": round(truth, 1),
            "in_errors": round(value / error, 1),
            "from_truth_in_errors": round((value - truth) / error, 1),
        }
    return str(settings["specimen"]), rows


if __name__ == "__main__":
    main()
