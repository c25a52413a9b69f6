"""Scans that `ptylive simulate` draws, their truth, and their refinement."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import ptylive
from benchmarks.zoo.score import BLUR, Reconstruction, Truth
from ptylive.application.offline import refinable, start_guess
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import RefineResult, refine
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.run.history import History
from ptylive.schema.preset import Preset
from ptylive.streamer.source import open_source

Drawn = Mapping[str, Any]
SPECIMENS: Mapping[str, Drawn] = {
    "bilayer of MoS2, 80 kV, seed 1": {"seed": 1},
    "WS2, 60 kV, seed 11": {
        "specimen": "monolayer", "material": "WS2", "energy_eV": 60e3, "defocus_A": 150, "seed": 11,
    },
    "gold atoms, 200 kV, seed 21": {
        "specimen": "atoms", "material": "Au", "energy_eV": 200e3, "convergence_semiangle_mrad": 20, "coverage": 0.05,
        "seed": 21,
    },
}  # fmt: skip
SMOOTH: Mapping[str, Drawn] = {
    "gaussians, seed 5": {"specimen": "gaussians", "seed": 5},
    "circles, seed 6": {"specimen": "circles", "seed": 6},
    "particles, seed 7": {"specimen": "particles", "seed": 7},
}
"""Specimens with structure at low frequencies."""
KINDS = ("monolayer", "bilayer", "atoms", "crystal", "gaussians", "circles")
MATERIALS: Mapping[str, tuple[str, ...]] = {
    "monolayer": ("MoS2", "WS2", "MoSe2", "graphene"),
    "bilayer": ("MoS2", "WS2", "MoSe2", "graphene"),
    "atoms": ("C", "Si", "Ag", "Pt", "U"),
    "crystal": ("SrTiO3", "Si", "Au"),
}


def stranger(number: int, seed: int) -> tuple[str, Drawn]:
    """Name and settings of a specimen on which nothing was tuned, one kind after the other."""
    random = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    drawn: dict[str, Any] = {
        "specimen": kind,
        "seed": int(random.integers(1_000_000)),
        "energy_eV": float(random.choice((60e3, 80e3, 120e3, 200e3, 300e3))),
        "convergence_semiangle_mrad": float(random.choice((18.0, 21.4, 25.0, 30.0))),
        "defocus_A": float(random.choice((60.0, 100.0, 150.0, 200.0))),
        "scan_shape": (40, 40),
        "detector_shape": (48, 48),
    }
    turn = round(float(random.uniform(0, 60)), 1)
    if kind in ("monolayer", "bilayer", "crystal"):
        drawn["orientation_deg"] = turn
    if kind in MATERIALS:
        drawn["material"] = str(random.choice(MATERIALS[kind]))
    if kind == "atoms":
        drawn["coverage"] = float(random.choice((0.05, 0.15)))
    if kind == "crystal":
        drawn |= {"thickness_A": float(random.choice((20.0, 40.0))), "slice_thickness_A": 4}
    title = f"{drawn.get('material', kind)}{'' if kind in ('gaussians', 'circles') else ' ' + kind}"
    optics = f"{drawn['energy_eV'] / 1e3:g} kV, {drawn['convergence_semiangle_mrad']:g} mrad"
    return f"stranger {number}: {title}, {optics}, seed {drawn['seed']}", drawn


def scan(folder: Path, name: str, settings: Drawn, dose: float) -> Path:
    """A drawn scan, made if it does not exist."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in name)
    path = folder / f"{plain}_{dose:g}.h5"
    if not path.exists():
        ptylive.simulate(path, dose_e_per_A2=dose, **settings)
    return path


def loaded(path: Path) -> tuple[Dataset, StartGuess]:
    """A scan in the form that refinements accept, and the live map that they start from."""
    opened = ptylive.open_scan(path)
    maps = opened.reconstruct(["obf"])
    with open_source(path, {}) as source:
        dataset = refinable(source, maps.calibration)
        patterns = np.asarray(dataset.patterns[:])
    return replace(dataset, patterns=patterns), start_guess(maps["obf"], maps.calibration)


def refined(path: Path, order: Any = None, history: Path | None = None, **settings: Any) -> tuple[RefineResult, float]:
    """A refinement from the live map, and its CPU seconds; ``order``: of the patterns, if not their own."""
    dataset, start = loaded(path)
    if order is None:
        return timed(dataset, start, history, **settings)
    return timed(replace(dataset, patterns=dataset.patterns[order]), None, history, **settings)


def timed(
    dataset: Dataset, start: StartGuess | None, history: Path | None = None, **settings: Any
) -> tuple[RefineResult, float]:
    """A refinement on one thread, and its CPU seconds."""
    before = time.process_time()
    stored = None if history is None else History(history)
    result = refine(dataset, Preset.from_mapping(settings), start=start, backend="cpu", history=stored)
    return result, time.process_time() - before


def truth_of(path: Path) -> Truth:
    """The truth of a file of `ptylive simulate`, blurred as in the zoo."""
    with h5py.File(path) as file:
        metadata, truth = dict(file["metadata"].attrs), file["truth"]
        columns = int(metadata["scan_shape"][1])
        names = "positions_A", "nominal_positions_A" if "nominal_positions_A" in truth else "positions_A"
        true, nominal = (truth[n][:, :columns].reshape(-1, 2) for n in names)
        phase, sampling = truth["phase"][()].astype(float), float(truth.attrs["object_sampling_A"])
        energy, angle = float(metadata["energy_eV"]), float(metadata["convergence_semiangle_mrad"])
    wavelength = 12.2643 / np.sqrt(energy * (1 + 0.978476e-6 * energy))
    resolution = wavelength / (2e-3 * angle)
    first = nominal[0] + (true - nominal).mean(0)
    turn, search = float(metadata["rotation_deg"]), max(1.2, resolution / 2)
    return Truth(phase, sampling, first, nominal - nominal[0], BLUR * resolution, search, turn)


def seen(result: RefineResult) -> Reconstruction:
    """A result in the form that the judge accepts."""
    sampling, origin = result.object_sampling_A, result.origin_A
    return Reconstruction(np.angle(result.object[0]).astype(float), sampling, origin)
