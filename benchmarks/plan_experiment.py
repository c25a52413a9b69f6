"""The effect of dose, step and defocus on one specimen: docs/planning.md.

    python -m benchmarks.plan_experiment [--seed N] [--only dose step defocus] [--out planning.md]

A twisted bilayer of MoS2 is simulated by `ptylive simulate` (80 keV, 25 mrad, a field of 24 Å), with one setting varied
at a time around their middle values; live maps and the refinement by default settings are judged against the truth as
in the zoo: maps by their correlation at the blur that suits them (benchmarks/zoo/map_score.py), the refinement at the
zoo's fixed blur and by the period at which its ring correlation falls below 0.5 (benchmarks/zoo/score.py).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import ptylive
from benchmarks.zoo.map_score import MapTruth, score_map
from benchmarks.zoo.score import BLUR, Reconstruction, Truth, score
from benchmarks.zoo.tables import hardware
from ptylive.engine.planning.probe_and_step import linear_overlap, probe_diameter_A
from ptylive.schema.units import wavelength_A

SEED = 20261122
FIELD_A = 24.0
ENERGY_EV, SEMIANGLE_MRAD = 80e3, 25.0
MIDDLE = {"dose": 1e4, "step": 0.6, "defocus": 100.0}
"""Electrons per Å², Å, Å."""
VARIED: dict[str, tuple[float, ...]] = {
    "dose": (1e2, 1e3, 1e4, 1e5),
    "step": (0.3, 0.6, 1.2, 2.0, 3.0),
    "defocus": (-100.0, 0.0, 50.0, 100.0, 200.0, 300.0),
}
MAPS = ("idpc", "obf", "tcbf", "wdd_phase")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", nargs="+", choices=list(VARIED), default=list(VARIED))
    parser.add_argument("--out", type=Path, help="tables as Markdown")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    text = f"{hardware()}; seed {given.seed}.\n"
    measured: dict[tuple[float, ...], str] = {}
    for name in given.only:
        text += f"\n{HEAD.format(name)}\n{RULE}\n"
        for value in VARIED[name]:
            chosen = {**MIDDLE, name: value}
            key = tuple(chosen.values())
            measured[key] = measured.get(key) or figures(chosen, given.seed)
            text += f"| {value:g} | {measured[key]} |\n"
            print(f"{name} {value:g}: {measured[key]}", flush=True)
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")


HEAD = f"| {{}} | points | electrons a pattern | overlap | {' | '.join(MAPS)} | refinement | FRC ½, Å |"
RULE = "| --- " * (6 + len(MAPS)) + "|"


def figures(chosen: dict[str, float], seed: int) -> str:
    """A line of the table."""
    points = max(8, round(FIELD_A / chosen["step"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        scan = ptylive.simulate(
            path,
            seed=seed,
            energy_eV=ENERGY_EV,
            convergence_semiangle_mrad=SEMIANGLE_MRAD,
            scan_shape=(points, points),
            scan_step_A=chosen["step"],
            defocus_A=chosen["defocus"],
            dose_e_per_A2=chosen["dose"],
        )
        maps_found, truth = scan.reconstruct(list(MAPS)), MapTruth.read(path)
        maps = [
            f"{score_map(truth, np.asarray(maps_found[name].data), maps_found[name].sampling_A)['corr']:.2f}"
            if name in maps_found
            else "–"
            for name in MAPS
        ]
        found = refined(scan, path)
    wide_A = probe_diameter_A(wavelength_A(ENERGY_EV), SEMIANGLE_MRAD, 1e-3 * abs(chosen["defocus"]) * SEMIANGLE_MRAD)
    overlap = f"{100 * max(0.0, linear_overlap(chosen['step'], wide_A)):.0f} %"
    electrons = f"{chosen['dose'] * chosen['step'] ** 2:.3g}"
    return " | ".join([f"{points}²", electrons, overlap, *maps, *found])


def resolution_A() -> float:
    """Wavelength over the semi-angle."""
    return wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD)


def refined(scan: ptylive.Scan, path: Path) -> tuple[str, str]:
    """Correlation of the refined phase, and the period that its rings resolve."""
    try:
        result = scan.refine().result
    except ptylive_error() as error:
        return f"– ({error})", "–"
    phase = np.angle(result.object[0]).astype(float)
    origin = (float(result.origin_A[0]), float(result.origin_A[1]))
    scored: dict[str, Any] = score(truth_of(path), Reconstruction(phase, result.object_sampling_A, origin))
    period = scored["frc_half_A"]
    return f"{scored['corr']:.2f}", "–" if period is None else f"{period:.2f}"


def ptylive_error() -> type[Exception]:
    """Exception of a refinement that cannot start."""
    from ptylive.schema import PtyliveError

    return PtyliveError


def truth_of(path: Path) -> Truth:
    """The truth of a file of `ptylive simulate`, in the form of the zoo's judge."""
    with h5py.File(path) as file:
        metadata, truth = dict(file["metadata"].attrs), file["truth"]
        columns = int(metadata["scan_shape"][1])
        places = truth["positions_A"][:, :columns].reshape(-1, 2).astype(float)
        phase, sampling = truth["phase"][()].astype(float), float(truth.attrs["object_sampling_A"])
    aperture = resolution_A() / 2
    points = places - places[0]
    return Truth(phase, sampling, places[0], points, BLUR * aperture, max(1.2, aperture / 2), 0.0)


if __name__ == "__main__":
    main()
