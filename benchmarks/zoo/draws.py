"""Draws: specimen, microscope and accidents of one scan, from a seed, a set and a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

SEED = 20261121
"""The seed with which the tables of the documents were made."""
COUNT = 40
"""Number of draws per set."""
Specimens = dict[str, str]
"""Names of specimens, and the kind of each."""
SPECIMENS: Specimens = {
    "mos2": "sheet",
    "graphene": "sheet",
    "ws2_edge": "sheet",
    "mose2_boundary": "sheet",
    "mos2_twisted": "sheet",
    "ws2_on_graphene": "sheet",
    "gold_on_carbon": "particles",
    "platinum_on_carbon": "particles",
    "sto_001": "crystal",
    "sto_110": "crystal",
    "silicon_001": "crystal",
    "silicon_110": "crystal",
    "globules_in_ice": "protein",
    "shells_in_ice": "protein",
    "amorphous_carbon": "film",
    "amorphous_silica": "film",
    "amorphous_germanium": "film",
}
"""Specimens of the development and closed draws."""
FURTHER_SPECIMENS: Specimens = {
    "gold_001": "heavy",
    "gold_110": "heavy",
    "lead_titanate_100": "heavy",
    "gallium_nitride": "crystal",
    "iron_phosphate_010": "crystal",
    "diamond_110": "crystal",
    "sto_wedge": "crystal",
    "sto_tilted": "crystal",
    "sto_grains": "crystal",
    "boron_nitride": "sheet",
    "phosphorene": "sheet",
    "nanotube": "sheet",
    "gold_in_vacuum": "particles",
}
"""Specimens of the further draws: no rule was made on these."""
SETS: Mapping[str, Specimens] = {"development": SPECIMENS, "closed": SPECIMENS, "further": FURTHER_SPECIMENS}
"""Specimens of each set of draws; the place of a set is part of what its draws are made from."""
KIND_OF: Specimens = {name: kind for chosen in SETS.values() for name, kind in chosen.items()}
"""All specimens, of every set of draws."""


@dataclass(frozen=True)
class Kind:
    """Ranges and choices for the microscope of a kind of specimen: pairs are ranges, other tuples choices."""

    energies_kV: tuple[int, ...]
    semiangle_mrad: tuple[float, float]
    cutoff: tuple[float, float]
    """Edge of the detector in semi-angles."""
    pixels: tuple[int, ...]
    points: tuple[int, int]
    dose: tuple[float, float]
    thickness_A: tuple[float, float]
    defocus_radius: tuple[float, float]
    """Radius of the defocused probe relative to the side of the detector's real-space window."""
    in_focus: float = 0.25
    """Fraction of scans in focus."""
    finest_A: float = 0.0
    """The detector reaches at least this period; 0: no requirement."""
    several_slices: bool = False
    """Several slices even where the depth of field exceeds the thickness."""
    slice_A: tuple[float, float] = (10.0, 20.0)
    """Limits for a slice, otherwise a third of the depth of field. A column of gold turns the phase by 0.3 rad an Å."""


KINDS = {
    "sheet": Kind(
        (30, 60, 80, 120, 200, 300),
        (18, 35),
        (1.7, 2.5),
        (64, 64, 96),
        (26, 40),
        (2e3, 1e6),
        (0, 0),
        (0.06, 0.2),
        finest_A=1.25,
    ),
    "particles": Kind((80, 200, 300), (12, 28), (1.6, 2.3), (64, 96), (26, 36), (5e2, 2e5), (25, 60), (0.06, 0.18)),
    "crystal": Kind(
        (100, 200, 300),
        (14, 25),
        (1.4, 1.9),
        (64,),
        (24, 27),
        (1e4, 1e6),
        (50, 300),
        (0.02, 0.12),
        finest_A=1.1,
        several_slices=True,
    ),
    "protein": Kind((200, 300), (5, 8), (1.5, 2.2), (64,), (26, 32), (1e2, 3e3), (90, 140), (0.1, 0.22), in_focus=0.0),
    "film": Kind((60, 80, 200, 300), (9, 30), (1.5, 2.3), (64, 64, 96), (26, 36), (3e2, 3e5), (30, 200), (0.06, 0.2)),
}
KINDS["heavy"] = replace(
    KINDS["crystal"], energies_kV=(200, 300), semiangle_mrad=(16, 28), thickness_A=(40, 120), slice_A=(5.0, 5.0)
)
"""The kinds of specimens."""


@dataclass(frozen=True)
class Draw:
    """One scan of the zoo. Vectors are (row, col); conventions as docs/conventions.md."""

    name: str
    seed: int
    set: str
    index: int
    specimen: str
    thickness_A: float
    """Requested thickness; 0 if the specimen has its own."""
    slices: int
    """Number of slices that programs are told to use."""
    energy_eV: float
    semiangle_mrad: float
    defocus_A: float
    astigmatism_A: float
    astigmatism_deg: float
    pixels: int
    cutoff: float
    shape: tuple[int, int]
    step_A: float
    pattern: str
    flyback: int
    rotation_deg: float
    transform: str
    dose: float
    source_A: float
    focal_spread_A: float
    drift_A: tuple[float, float]
    jitter_A: float
    beam_offset_px: tuple[float, float]
    descan_px: tuple[float, float, float, float]
    """Shift of the pattern over the whole scan: row by slow, row by fast, col by slow, col by fast axis."""
    bad_pixels: int
    configurations: int

    @property
    def kind(self) -> str:
        """Kind of the specimen."""
        return KIND_OF[self.specimen]

    @property
    def wavelength_A(self) -> float:
        """Wavelength of the electrons, relativistic."""
        return wavelength_A(self.energy_eV)

    @property
    def window_A(self) -> float:
        """Side of the detector's real-space window, 1 over its pixel."""
        return window_A(self.energy_eV, self.semiangle_mrad, self.cutoff, self.pixels)

    @property
    def resolution_A(self) -> float:
        """Period that the aperture alone resolves, wavelength over twice the semi-angle."""
        return self.wavelength_A / (2e-3 * self.semiangle_mrad)

    @property
    def electrons(self) -> float:
        """Electrons per pattern."""
        return self.dose * self.step_A**2

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """The draw as a line for readers."""
        words = [
            f"{self.specimen}" + (f" {self.thickness_A:.0f} Å" if self.thickness_A else ""),
            f"{self.energy_eV / 1e3:.0f} kV",
            f"{self.semiangle_mrad:.1f} mrad",
            f"defocus {self.defocus_A:+.0f} Å",
            f"{self.shape[0]}×{self.shape[1]} × {self.step_A:.2f} Å",
            f"{self.pixels} px",
            f"{self.dose:.2g} e/Å²",
            f"{self.electrons:.3g} e/pattern",
            f"rotation {self.rotation_deg:.0f}°",
        ]
        words += [self.transform] if self.transform != "none" else []
        words += ["snake"] if self.pattern == "snake" else []
        words += [f"source {self.source_A:.2f} Å"] if self.source_A else []
        words += [f"focal spread {self.focal_spread_A:.0f} Å"] if self.focal_spread_A else []
        words += [f"astigmatism {self.astigmatism_A:.0f} Å"] if self.astigmatism_A else []
        words += [f"drift {math.hypot(*self.drift_A):.1f} Å"] if any(self.drift_A) else []
        words += [f"jitter {self.jitter_A:.2f} Å"] if self.jitter_A else []
        words += [f"descan {max(map(abs, self.descan_px)):.1f} px"] if any(self.descan_px) else []
        words += [f"{self.bad_pixels} bad pixels"] if self.bad_pixels else []
        words += [f"{self.flyback} flyback frames"] if self.flyback else []
        return ", ".join(words)


def wavelength_A(energy_eV: float) -> float:
    """Relativistic wavelength of an electron."""
    return 12.264259661 / math.sqrt(energy_eV * (1 + 9.78475598e-7 * energy_eV))


def window_A(energy_eV: float, semiangle_mrad: float, cutoff: float, pixels: int) -> float:
    """Side of the real-space window of a detector that reaches ``cutoff`` semi-angles."""
    return pixels * wavelength_A(energy_eV) / (2e-3 * cutoff * semiangle_mrad)


def specimens(which: str) -> Specimens:
    """Specimens of a set of draws."""
    if which not in SETS:
        raise ValueError(f"there is no set {which!r}: {', '.join(SETS)}")
    return SETS[which]


def draws(which: str, seed: int = SEED, count: int = COUNT) -> list[Draw]:
    """The first draws of a set."""
    return [draw(which, index, seed) for index in range(count)]


def draw(which: str, index: int, seed: int = SEED) -> Draw:
    """One draw. Specimens come in shuffled rounds, so that a few draws include many of them."""
    kinds, number = specimens(which), list(SETS).index(which)
    turn, place = divmod(index, len(kinds))
    order = np.random.default_rng([seed, number, 0, turn]).permutation(len(kinds))
    specimen = list(kinds)[order[place]]
    rng = np.random.default_rng([seed, number, 1, index])
    optics = _optics(rng, KINDS[kinds[specimen]])
    scan = _scan(rng, KINDS[kinds[specimen]], optics)
    name = f"{which[:3]}{index:02d}_{specimen}"
    return Draw(name, seed, which, index, specimen, **optics, **scan, **_accidents(rng, optics, scan))


def _optics(rng: np.random.Generator, kind: Kind) -> dict[str, Any]:
    """Compatible energy, aperture, detector, defocus and thickness."""
    energy = 1e3 * float(rng.choice(kind.energies_kV))
    wavelength, angle = wavelength_A(energy), float(rng.uniform(*kind.semiangle_mrad))
    cutoff, pixels = float(rng.uniform(*kind.cutoff)), int(rng.choice(kind.pixels))
    if kind.finest_A:
        reach = 1e3 * wavelength / kind.finest_A
        cutoff = min(3.0, max(cutoff, reach / angle))
        angle = max(angle, reach / cutoff)
    thickness = round(float(_log_uniform(rng, *kind.thickness_A)), 1) if kind.thickness_A[1] else 0.0
    while True:
        window = window_A(energy, angle, cutoff, pixels)
        # the beam must leave the specimen well inside the window, wherever it was in focus
        if 1e-3 * angle * thickness < 0.25 * window or angle <= kind.semiangle_mrad[0]:
            break
        angle *= 0.95
    thickness = min(thickness, round(0.25e3 * window / angle, 1))
    radius = float(rng.uniform(*kind.defocus_radius)) * window
    sign = 1 if rng.random() < 0.5 else -1
    defocus = 0.0 if rng.random() < kind.in_focus else sign * 1e3 * radius / angle
    astigmatism = float(rng.uniform(0.05, 0.3)) * 1e3 * radius / angle if rng.random() < 0.2 else 0.0
    turned = float(rng.uniform(0, 180))
    return {
        "thickness_A": thickness,
        "slices": _slices(kind, thickness, wavelength / (1e-3 * angle) ** 2),
        "energy_eV": energy,
        "semiangle_mrad": round(angle, 2),
        "defocus_A": round(defocus, 1),
        "astigmatism_A": round(astigmatism, 1),
        "astigmatism_deg": round(turned, 1) if astigmatism else 0.0,
        "pixels": pixels,
        "cutoff": round(cutoff, 3),
    }


def _slices(kind: Kind, thickness_A: float, depth_of_field_A: float) -> int:
    """One slice if the depth of field exceeds the thickness, otherwise a third of it each, within the kind's limits."""
    if thickness_A < depth_of_field_A and not kind.several_slices:
        return 1
    thinnest, thickest = kind.slice_A
    return max(1, round(thickness_A / min(thickest, max(thinnest, depth_of_field_A / 3))))


def _scan(rng: np.random.Generator, kind: Kind, optics: dict[str, Any]) -> dict[str, Any]:
    """Points and steps that suit the probe, and the dose."""
    resolution = wavelength_A(optics["energy_eV"]) / (1e-3 * optics["semiangle_mrad"])
    diameter = max(2e-3 * abs(optics["defocus_A"]) * optics["semiangle_mrad"], 1.22 * resolution)
    shape = tuple(int(n) for n in rng.integers(kind.points[0], kind.points[1] + 1, 2))
    step = max(float(rng.uniform(0.12, 0.3)) * diameter, 11 * resolution / min(shape))
    dose = float(_log_uniform(rng, *kind.dose))
    return {
        "shape": shape,
        "step_A": round(step, 3),
        "pattern": "snake" if rng.random() < 0.2 else "raster",
        "flyback": int(rng.integers(1, 4)) if rng.random() < 0.15 else 0,
        "dose": float(f"{max(dose, 30 / step**2):.3g}"),
    }


def _accidents(rng: np.random.Generator, optics: dict[str, Any], scan: dict[str, Any]) -> dict[str, Any]:
    """All accidents, and the relative orientation of detector and scan."""
    blur = wavelength_A(optics["energy_eV"]) / (1e-3 * optics["semiangle_mrad"])
    chance: Callable[[float], bool] = lambda share: bool(rng.random() < share)  # noqa: E731
    angle = float(rng.uniform(-180, 180)) if chance(0.65) else 0.0
    transform = str(rng.choice(("transpose", "transpose", "flip_rows"))) if chance(0.3) else "none"
    drift = np.zeros(2)
    if chance(0.45):
        direction, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9) * blur
        drift = length * np.array([np.cos(direction), np.sin(direction)])
    return {
        "rotation_deg": round(angle, 2),
        "transform": transform,
        "source_A": round(float(rng.uniform(0.05, 0.2)) * blur, 3) if chance(0.7) else 0.0,
        "focal_spread_A": round(float(rng.uniform(5, 40)), 1) if chance(0.7) else 0.0,
        "drift_A": (round(float(drift[0]), 3), round(float(drift[1]), 3)),
        "jitter_A": round(float(rng.uniform(0.02, 0.06)) * blur, 3) if chance(0.4) else 0.0,
        "beam_offset_px": tuple(round(float(value), 2) for value in rng.uniform(-3, 3, 2)),
        "descan_px": tuple(round(float(v), 2) for v in np.clip(rng.normal(0, 0.4, 4), -1, 1))
        if chance(0.35)
        else (0.0,) * 4,
        "bad_pixels": int(rng.integers(1, 7)) if chance(0.3) else 0,
        "configurations": 2 if optics["slices"] > 1 or scan["step_A"] > 3 else 4,
    }


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
