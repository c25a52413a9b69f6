"""Accuracy of fitted aberrations to third order on unseen scans: simulated draws of specimen and microscope.

    python -m benchmarks.aberrations DIR [--kind twelve|one|none] [--seed 0] [--scans 12] [--basis pixels] [--little]

``twelve``: all aberrations, 0.4 to 1.2 rad at the rim of the aperture (defocus 1.2 to 3); ``one``: defocus, astigmatism
and one of C21, C23, C30, C32, C34; ``none``: defocus and astigmatism only. Energy, semi-angle, step and detector pixel
are given. ``--little``: specimens that reveal little, in turn: few electrons (200 to 5000 on each Å²), a crystal of
SrTiO3 or silicon, 20 to 80 Å thick, a sheet of graphene, gold of 20 to 60 Å. Scans are kept in DIR and made once. It
prints a line for each scan; then how many values lie within 10 % or one standard deviation, or two of them (95 %), and
how many of the fitted ones lie within one, two and three: 68, 95 and 99.7 % should.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

import ptylive
from ptylive.application.offline import MapRequest, reconstruct_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.schema import Calibration
from ptylive.schema.advice.limits import quarter_pi_limit_A
from ptylive.schema.units import wavelength_A

LOW = ("C10", "C12a", "C12b")
HIGHER = ("C21a", "C21b", "C23a", "C23b", "C30", "C32a", "C32b", "C34a", "C34b")
LARGEST = {"C10": 3.0, "C12a": 1.0, "C12b": 1.0}
"""Phase at the rim, rad; for the other aberrations 1.2."""
SHAPE = ("coverage", "feature_A", "phase_rad")
"""Settings of non-crystalline specimens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=("twelve", "one", "none"), default="twelve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--basis", default="pixels")
    parser.add_argument("--little", action="store_true", help="specimens that tell little")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    within_one = within_two = total = invented = 0
    errors: list[float] = []
    for seed in range(given.seed, given.seed + given.scans):
        settings, aberrations = drawn(given.kind, seed)
        if given.little:
            settings = telling_little(settings, seed)
        path = given.folder / f"{given.kind}{seed}{'little' if given.little else ''}.h5"
        if not path.exists():
            ptylive.simulate(path, seed=seed, tell="microscope", **settings)
        request = MapRequest(basis=parse_basis(given.basis))
        found = reconstruct_file(path, {}, ["bf"], request).calibration
        line = {name: comparison(name, aberrations[name], found, settings) for name in aberrations}
        within_one += sum(value["within"] for value in line.values())
        within_two += sum(value["within_two"] for value in line.values())
        invented += sum(value["invented"] for value in line.values())
        total += len(line)
        fitted = [value for value in line.values() if value["uncertainty"]]
        errors += [abs(value["value"] - value["truth"]) / value["uncertainty"] for value in fitted]
        print(json.dumps({"seed": seed, "specimen": settings["specimen"], **line}), flush=True)
    print(
        f"within 10 % or one, two uncertainties {within_one}, {within_two} of {total}; {invented} above two of nothing"
    )
    shares = [100 * float(np.mean(np.array(errors) <= times)) for times in (1, 2, 3)] if errors else []
    print(f"{len(errors)} fitted, within one, two, three uncertainties: {', '.join(f'{s:.1f} %' for s in shares)}")


def drawn(kind: str, seed: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Settings of a simulation, and its aberrations in Å."""
    rng = np.random.default_rng([seed, 77])
    specimen = str(rng.choice(["atoms", "bilayer", "monolayer", "gaussians"]))
    energy_eV = float(rng.choice([60e3, 80e3, 120e3, 200e3, 300e3]))
    semiangle_mrad = float(rng.uniform(18, 32) if energy_eV < 150e3 else rng.uniform(14, 26))
    resolution_A = wavelength_A(energy_eV) / (2e-3 * semiangle_mrad)
    step_A = float(rng.uniform(0.35, 0.8)) * resolution_A
    chosen = ("C21", "C23", "C30", "C32", "C34")[seed % 5]
    aberrations = {}
    for name in (*LOW, *HIGHER):
        rim = LARGEST.get(name, 1.2) * float(rng.choice([-1, 1]) * rng.uniform(0.4, 1.0))
        present = kind == "twelve" or name in LOW or (kind == "one" and name.startswith(chosen))
        aberrations[name] = rim * per_radian(name, energy_eV, semiangle_mrad) if present else 0.0
    settings: dict[str, Any] = {
        "specimen": specimen,
        "energy_eV": energy_eV,
        "convergence_semiangle_mrad": semiangle_mrad,
        "scan_step_A": (step_A, step_A),
        "scan_shape": (64, 64),
        "rotation_deg": float(rng.uniform(-180, 180)),
        "defocus_A": -aberrations["C10"],
        "Cs_A": aberrations["C30"],
        **{name: value for name, value in aberrations.items() if name not in ("C10", "C30")},
    }
    if specimen == "atoms":
        settings["coverage"] = float(rng.uniform(0.1, 0.3))
    if specimen == "gaussians":
        settings.update(feature_A=float(rng.uniform(0.3, 0.8)) * resolution_A, phase_rad=float(rng.uniform(0.1, 0.4)))
    return settings, aberrations


def telling_little(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same microscope with a specimen that reveals less."""
    rng = np.random.default_rng([seed, 78])
    lit = {name: value for name, value in settings.items() if name not in ("specimen", *SHAPE)}
    if seed % 4 == 0:
        return {**settings, "dose_e_per_A2": float(10 ** rng.uniform(2.3, 3.7))}
    if seed % 4 == 1:
        material, thickness_A = str(rng.choice(["SrTiO3", "Si"])), float(rng.uniform(20, 80))
        return {**lit, "specimen": "crystal", "material": material, "thickness_A": thickness_A}
    if seed % 4 == 2:
        return {**lit, "specimen": "monolayer", "material": "graphene"}
    return {**lit, "specimen": "crystal", "material": "Au", "thickness_A": float(rng.uniform(20, 60))}


def per_radian(name: str, energy_eV: float, semiangle_mrad: float) -> float:
    """Å of an aberration that shifts the phase by 1 rad at the aperture's rim."""
    return quarter_pi_limit_A(name[:3], wavelength_A(energy_eV), semiangle_mrad) / (math.pi / 4)


def comparison(name: str, truth_A: float, found: Calibration, settings: dict[str, Any]) -> dict[str, Any]:
    """Truth, value and uncertainty in radians at the rim; a value that was not fitted is 0 without uncertainty."""
    scale = per_radian(name, settings["energy_eV"], settings["convergence_semiangle_mrad"])
    entry = found.entries.get(name)
    value, doubt = (0.0, 0.0) if entry is None else (float(entry.value), entry.uncertainty or 0.0)
    return {
        "truth": round(truth_A / scale, 3),
        "value": round(value / scale, 3),
        "uncertainty": round(doubt / scale, 3),
        "within": abs(value - truth_A) <= max(0.1 * abs(truth_A), doubt),
        "within_two": abs(value - truth_A) <= max(0.1 * abs(truth_A), 2 * doubt),
        "invented": truth_A == 0 and abs(value) > 2 * doubt,
    }


if __name__ == "__main__":
    main()
