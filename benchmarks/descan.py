"""Maps and refined objects of scans whose patterns wander, compared with the same scans at rest: simulated draws.

    python -m benchmarks.descan DIR [--seed 0] [--scans 4] [--refine] [--wanders none,plane,bow,jumps]

Each draw of specimen and microscope is simulated for every kind of wander with the same seed: of 2, 4 or 8 detector
pixels over the field, in a random direction; ``bow``: with a parabola; ``jumps``: with a displacement of every line.
Energy, semi-angle, step and detector pixel are given, the descan is not. Maps are made from frames and from 45 + 1
Zernike coefficients whose masks follow the pattern. It prints a line for each: by how much the correlation of every map
with the truth differs from that of the scan without wander, and the error of the pattern positions found (pixels, the
mean of the scan removed).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import ptylive
from benchmarks.zoo.map_score import MapTruth, score_map
from benchmarks.zoo.ours import refined
from benchmarks.zoo.score import BLUR, Reconstruction, Truth, score
from ptylive.application.conversion import convert_file
from ptylive.application.offline import MapRequest, reconstruct_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.preparation import Preparation
from ptylive.schema.detector import Descan
from ptylive.schema.units import wavelength_A

KINDS = ("none", "plane", "bow", "jumps")
MAPS = ("idpc", "obf", "tcbf", "ssb", "wdd_phase")
BASES = ("pixels", "zernike:45+1")
SIDE = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--wanders", default=",".join(KINDS))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seed, given.seed + given.scans):
        without_wander: dict[str, dict[str, float]] = {}
        for kind in given.wanders.split(","):
            settings = drawn(seed, kind)
            path = given.folder / f"{kind}{seed}.h5"
            if not path.exists():
                ptylive.simulate(path, seed=seed, tell="microscope", **settings)
            for basis in BASES:
                found = maps_of(path, basis)
                if given.refine:
                    found |= {"object": object_of(path, basis)}
                position_errors = {} if basis != "pixels" else {"places_px": places_off(path)}
                without_wander.setdefault(basis, found)
                worse = {name: round(value - without_wander[basis][name], 4) for name, value in found.items()}
                line = {
                    "seed": seed,
                    "specimen": settings["specimen"],
                    "wander": kind,
                    "basis": basis,
                    **position_errors,
                }
                print(
                    json.dumps(line | {"differs": worse, "corr": {n: round(v, 4) for n, v in found.items()}}),
                    flush=True,
                )


def drawn(seed: int, kind: str) -> dict[str, Any]:
    """Settings of a simulation."""
    rng = np.random.default_rng([seed, 78])
    energy_eV = float(rng.choice([60e3, 80e3, 200e3, 300e3]))
    semiangle_mrad = float(rng.uniform(20, 32) if energy_eV < 150e3 else rng.uniform(16, 26))
    resolution_A = wavelength_A(energy_eV) / (2e-3 * semiangle_mrad)
    step_A = float(rng.uniform(0.35, 0.7)) * resolution_A
    settings: dict[str, Any] = {
        "specimen": str(rng.choice(["monolayer", "bilayer", "atoms"])),
        "energy_eV": energy_eV,
        "convergence_semiangle_mrad": semiangle_mrad,
        "scan_step_A": (step_A, step_A),
        "scan_shape": (SIDE, SIDE),
        "rotation_deg": float(rng.uniform(-180, 180)),
        "defocus_A": float(rng.choice([0.0, 1.0, -1.0]) * rng.uniform(40, 150)),
        "dose_e_per_A2": float(10 ** rng.uniform(4, 5.5)),
    }
    span_px = float(rng.choice([2.0, 4.0, 8.0]))
    turn = float(rng.uniform(0, 2 * np.pi))
    # a displacement of ``over`` pixels from the first to the last row, and of half of that along the rows
    plane = span_px * np.array([np.cos(turn), 0.5 * np.sin(turn), np.sin(turn), -0.5 * np.cos(turn)])
    jumps = float(rng.uniform(0.4, 1.5))
    bow = span_px * rng.uniform(-0.25, 0.25, 6)
    if kind in ("plane", "jumps"):
        settings["descan_px"] = plane.tolist()
    if kind == "jumps":
        settings["descan_jump_px"] = jumps
    if kind == "bow":
        terms = np.zeros((2, 5))
        terms[:, :2], terms[:, 2:] = plane.reshape(2, 2) / 2, bow.reshape(2, 3)
        settings["descan_px"] = terms.ravel().tolist()
    return settings


def maps_of(path: Path, basis: str) -> dict[str, float]:
    """Correlation of each map with the truth."""
    truth = MapTruth.read(path)
    request = replace(MapRequest(), basis=parse_basis(basis))
    reconstruction = reconstruct_file(path, {}, ["idpc", "obf", "tcbf", "ssb", "wdd"], request)
    pictures = {live_map.name: live_map for live_map in reconstruction.rendering.maps}
    return {name: score_map(truth, pictures[name].data, pictures[name].sampling_A)["corr"] for name in MAPS}


def places_off(path: Path) -> float:
    """Error of the pattern positions found, px, rms, each with its mean removed."""
    calibration = reconstruct_file(path, {}, ["bf"], MapRequest()).calibration
    with h5py.File(path) as file:
        true = file["truth/descan_px"][()]
    rows, columns = true.shape[:2]
    numbers = calibration.get("descan_px")
    found = (
        np.zeros_like(true)
        if numbers is None
        else (Descan.of(numbers).at_points(np.arange(rows * columns), (rows, columns)).reshape(true.shape))
    )
    error = (found - true).reshape(-1, 2)
    return round(float(np.sqrt(((error - error.mean(0)) ** 2).sum(1).mean())), 4)


def object_of(path: Path, basis: str) -> float:
    """Correlation of the refined object with the truth."""
    source, out = path, path.with_name(f"{path.stem}_{basis.partition(':')[0]}_results.h5")
    if basis != "pixels":
        source = path.with_name(f"{path.stem}_coefficients.h5")
        source.unlink(missing_ok=True)
        convert_file(path, source, parse_basis(basis), Preparation(), {})
    out.unlink(missing_ok=True)
    report = refined(source, out, ["num_slices=1"])
    if "error" in report:
        raise SystemExit(f"{source}: {report['error']}")
    return float(score(_truth(path), Reconstruction.read(out))["corr"])


def _truth(path: Path) -> Truth:
    with h5py.File(path) as file:
        truth, metadata = file["truth"], dict(file["metadata"].attrs)
        settings = json.loads(truth.attrs["settings"])
        true, nominal = (truth[name][()].reshape(-1, 2) for name in ("positions_A", "nominal_positions_A"))
        phase, sampling = truth["phase"][()].astype(float), float(truth.attrs["object_sampling_A"])
    resolution = wavelength_A(float(metadata["energy_eV"])) / (2e-3 * float(metadata["convergence_semiangle_mrad"]))
    first = nominal[0] + (true - nominal).mean(0)
    turn = float(settings["scan"]["rotation_deg"])
    return Truth(phase, sampling, first, nominal - nominal[0], BLUR * resolution, max(1.2, resolution / 2), turn)


if __name__ == "__main__":
    main()
