"""Maps of simulated scans with and without a specimen: which are greyed, and why.

    python -m benchmarks.faint_maps [--seed 0] [--scans 6]

Each draw of microscope and dose (10 to 1e5 electrons per Å²) is simulated with and without a specimen. A line for each:
the maps that are greyed as "nothing but noise" and for want of a significant pixel, and how well each map agrees with
the truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import ptylive
from benchmarks.zoo.map_score import MapTruth, score_map
from ptylive.application.offline import reconstruct_file

MAPS = ("idpc", "dpc_iterative", "obf", "tcbf", "ssb", "wdd_phase")
METHODS = ("idpc", "dpc_iterative", "obf", "tcbf", "ssb", "wdd")
LEAST_CORRELATION = 0.5
"""Correlation with the truth above which a map shows the specimen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scans", type=int, default=6)
    given = parser.parse_args()
    count: Counter[str] = Counter()
    for seed in range(given.seed, given.seed + given.scans):
        rng = np.random.default_rng([seed, 158])
        settings = {
            "energy_eV": float(rng.choice([60e3, 80e3, 200e3])),
            "convergence_semiangle_mrad": float(rng.uniform(20, 30)),
            "scan_step_A": (step := float(rng.uniform(0.4, 0.8)), step),
            "scan_shape": (32, 32),
            "detector_shape": (48, 48),
            "defocus_A": float(rng.choice([0.0, 1.0, -1.0]) * rng.uniform(40, 150)),
            "dose_e_per_A2": float(10 ** rng.uniform(1, 5)),
        }
        for specimen in ("vacuum", str(rng.choice(["monolayer", "bilayer", "atoms"]))):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "scan.h5"
                ptylive.simulate(path, seed=seed, specimen=specimen, **settings)
                maps = {live_map.name: live_map for live_map in reconstruct_file(path, {}, METHODS).rendering.maps}
                truth = MapTruth.read(path)
            line = {}
            for name in MAPS:
                if name not in maps:
                    continue
                live_map = maps[name]
                corr = score_map(truth, live_map.data, live_map.sampling_A)["corr"] if specimen != "vacuum" else 0.0
                outcome = (
                    "nothing there" if specimen == "vacuum" else "seen" if corr > LEAST_CORRELATION else "not seen"
                )
                count[f"{outcome}: {'noise' if live_map.buried else 'faint' if live_map.faint else 'shown'}"] += 1
                line[name] = [round(corr, 2), live_map.buried, live_map.faint]
            draw = {"seed": seed, "specimen": specimen, "dose": round(settings["dose_e_per_A2"])}
            print(json.dumps(draw | line), flush=True)
    print(json.dumps(count))


if __name__ == "__main__":
    main()
