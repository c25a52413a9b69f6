"""Whether ``ptylive tune`` finds defocus and thickness of unseen crystals from starting values that are 40 % wrong.

    python -m benchmarks.tune_strangers --seeds 1,2,3 --folder DIR [--trials 40] [--patterns 256]

A seed draws a crystal, its thickness, beam energy, semi-angle, defocus of either sign and dose; ``ptylive simulate``
makes the scan, and the truth is only used to judge (results are in docs/tune.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PTYLIVE = str(Path(sys.executable).with_name("ptylive"))
START_ERROR = 0.4


def drawn(seed: int) -> dict[str, Any]:
    """Settings of a scan."""
    rng = np.random.default_rng(seed)
    energy_eV = float(rng.choice([80e3, 200e3, 300e3]))
    return {
        "specimen": "crystal",
        "material": str(rng.choice(["SrTiO3", "Si", "Au"])),
        "thickness_A": round(float(rng.uniform(60, 160)), 1),
        "orientation_deg": round(float(rng.uniform(0, 90)), 1),
        "displacement_A": 0.08,
        "vacancies": 0.05,
        "energy_eV": energy_eV,
        "convergence_semiangle_mrad": round(float(rng.uniform(20, 28)), 1),
        "defocus_A": round(float(rng.choice([-1, 1]) * rng.uniform(80, 200)), 1),
        "scan_shape": "24,24",
        "scan_step_A": 0.5,
        "dose_e_per_A2": round(float(10 ** rng.uniform(4.7, 5.7))),
        "detector_shape": "64,64",
    }


def tuned(seed: int, folder: Path, options: list[str]) -> dict[str, Any]:
    """Simulate and tune; each starting value is 40 % off, in the direction that the seed determines."""
    truth, rng = drawn(seed), np.random.default_rng([seed, 1])
    scan, out = folder / f"stranger{seed}.h5", folder / f"stranger{seed}_tuning"
    given = [word for name, value in truth.items() for word in ("--set", f"{name}={value}")]
    run("simulate", scan, *given, "--seed", seed, "--overwrite")
    start = {
        name: truth[name] * (1 + START_ERROR * float(rng.choice([-1, 1]))) for name in ("defocus_A", "thickness_A")
    }
    wrong = ["--set", f"defocus_A={start['defocus_A']:.1f}", "--set", f"total_thickness_A={start['thickness_A']:.1f}"]
    began = time.perf_counter()
    report = json.loads(
        run("tune", scan, "--over", "defocus,thickness", "--out", out, "--json", *wrong, *options).splitlines()[-1]
    )
    return {"seed": seed, "truth": truth, "start": start, "said": report, "seconds": time.perf_counter() - began}


def run(*words: object) -> str:
    completed = subprocess.run([PTYLIVE, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return completed.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--folder", type=Path, required=True)
    known, options = parser.parse_known_args()
    known.folder.mkdir(parents=True, exist_ok=True)
    print("| seed | scan | start: defocus, thickness (Å) | truth | found | s |\n| --- | --- | --- | --- | --- | --- |")
    for seed in map(int, known.seeds.split(",")):
        found = tuned(seed, known.folder, options)
        truth, start = found["truth"], found["start"]
        scan = f"{truth['material']}, {truth['energy_eV'] / 1e3:g} kV, {truth['convergence_semiangle_mrad']:g} mrad"
        sentence = found["said"]["sentences"][0]
        print(
            f"| {seed} | {scan} | {start['defocus_A']:.0f}, {start['thickness_A']:.0f} "
            f"| {truth['defocus_A']:.0f}, {truth['thickness_A']:.0f} | {sentence} | {found['seconds']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
