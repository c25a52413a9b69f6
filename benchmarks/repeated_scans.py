"""Repeated scans of one place: the limit of four against the prediction of the first; other places; fading specimens.

    python -m benchmarks.repeated_scans --draws 20 [--first 0]

Every draw is a specimen, microscope, dose and shifts from a printed seed, simulated once without noise on a grid of
half the step and counted anew for each scan, so that places may lie half a step apart.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.live.engine import reconstruct
from ptylive.engine.repeats import Places, RepeatedScan
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import FrameBatch, ScanHeader
from ptylive.schema.advice.dose_curve import DoseCurve, DosePoint, Verdict
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import wavelength_A

KINDS = ("monolayer", "bilayer", "gaussians", "particles", "atoms")
POINTS, PIXELS, MARGIN, SCANS, FADING = 48, 40, 12, 4, 0.12


def drawn(seed: int) -> dict[str, Any]:
    """Settings of a seed; kinds in turn."""
    rng = np.random.default_rng([seed, 186])
    energy, semiangle = float(rng.choice([60e3, 80e3, 200e3, 300e3])), float(rng.uniform(15, 30))
    wavelength = wavelength_A(energy)
    step = float(rng.uniform(0.2, 0.28)) * wavelength / (semiangle * 1e-3)
    depth_of_field = wavelength / (semiangle * 1e-3) ** 2
    return {
        "specimen": KINDS[seed % len(KINDS)],
        "energy_eV": energy,
        "convergence_semiangle_mrad": semiangle,
        "defocus_A": float(rng.choice([-1, 1]) * rng.uniform(0.15, 1.0)) * depth_of_field,
        "scan_shape": (2 * (POINTS + MARGIN), 2 * (2 * POINTS + MARGIN)),
        "scan_step_A": (step / 2, step / 2),
        "detector_shape": (PIXELS, PIXELS),
        "detector_pixel_mrad": 3.2 * semiangle / PIXELS,
        "dose_e_per_A2": float(10 ** rng.uniform(2.9, 4.3)),
        "poisson": False,
        "dtype": "f4",
        "reach": 1.0,
        "seed": seed,
    }


class Bench:
    """Scans of one simulated specimen."""

    def __init__(self, seed: int) -> None:
        self.seed, self.settings = seed, drawn(seed)
        self._scan = SimulatedScan.of(SimulationSettings.of(self.settings), Path("none.h5"))
        fine = self._scan.header
        rows, cols = self.settings["scan_shape"]
        mean = np.maximum(self._scan.frames(np.arange(fine.frames)), 0) * 4  # electrons of a point at twice the step
        self._mean = mean.reshape(rows, cols, PIXELS, PIXELS)
        scan = fine.scan.model_copy(update={"shape": (POINTS, POINTS), "step_A": self.step_A})
        detector = fine.detector.model_copy(update={"dtype": "<u2"})
        self.header: ScanHeader = replace(fine, frames=POINTS**2, scan=scan, detector=detector, arrays={})
        self._draws = np.random.default_rng([seed, 4])

    @property
    def step_A(self) -> tuple[float, float]:
        """Step of the scans, twice the simulated one."""
        return (2 * self.settings["scan_step_A"][0],) * 2

    def take(self, name: str, row: int, col: int, fading: float = 0.0) -> RepeatedScan | None:
        """A scan whose first point is (row, col) of the fine grid; ``fading``: weight of the mean of its patterns."""
        frames = self._mean[row : row + 2 * POINTS : 2, col : col + 2 * POINTS : 2].reshape(-1, PIXELS, PIXELS)
        counted = self._draws.poisson((1 - fading) * frames + fading * frames.mean(axis=0)).astype(np.uint16)
        header = self.header.renamed(f"{self.seed} {name}", name)

        def read() -> Iterator[FrameBatch]:
            yield FrameBatch(header.uid, np.arange(len(counted)), counted)

        live, rendering = reconstruct(header, read, ["obf"])
        return RepeatedScan.of(header, rendering.maps, live.recent_mean(60.0))


def curve_of(scans: list[RepeatedScan | None]) -> DoseCurve | None:
    """Dose curve of the last scan's place."""
    places, curve = Places(), None
    for scan in scans:
        curve = None if scan is None else places.take(scan)
    return curve


def agree(predicted: DosePoint, found: DosePoint) -> bool:
    """Whether two limits differ by no more than their bounds, added in quadrature, allow."""
    if predicted.limit_A is None or found.limit_A is None:
        return False
    fine, coarse = (found, predicted) if found.limit_A < predicted.limit_A else (predicted, found)
    if None in (fine.coarsest_A, coarse.finest_A):
        return False
    room = np.hypot(fine.coarsest_A - fine.limit_A, coarse.limit_A - coarse.finest_A)
    return bool(coarse.limit_A - fine.limit_A <= room + 1e-9)


def judged(seed: int) -> tuple[Counter[str], str]:
    """Outcome of a draw, and a line about it."""
    bench, found = Bench(seed), Counter[str]()
    shifts = [(0, 0), *np.random.default_rng([seed, 9]).integers(-6, 7, (SCANS - 1, 2))]
    same = [bench.take(f"same{k}", MARGIN + int(a), MARGIN + int(b)) for k, (a, b) in enumerate(shifts)]
    if same[0] is None or same[0].problem:
        return Counter(buried=1), f"{seed} {bench.settings['specimen']}: nothing but noise"
    curve = curve_of(same)
    found["draws"] += 1
    line = f"{seed} {bench.settings['specimen']}: "
    if curve is not None and curve.scans == SCANS:
        measured, predicted = curve.measured[-1], curve.predicted[-1]
        found["added"] += 1
        found["steady"] += curve.verdict is Verdict.STEADY
        found["told"] += predicted.finest_A is not None
        found["held"] += agree(predicted, measured)
        line += f"predicted {predicted.words or 'nothing'}, measured {measured.words or 'nothing'}"
    other_place = bench.take("other", MARGIN, 2 * POINTS + 2 * MARGIN)
    other_curve = curve_of([same[0], other_place])
    kind = "lattice" if bench.settings["specimen"] == "monolayer" else "others"
    found[f"other place added ({kind})"] += other_curve is not None and other_curve.scans > 1
    faded = curve_of([bench.take(f"fade{k}", MARGIN, MARGIN, 1 - (1 - FADING) ** k) for k in range(6)])
    found["fading said"] += faded is not None and faded.verdict is Verdict.CHANGES
    if other_curve is not None and other_curve.scans > 1:
        line += "; OTHER PLACE ADDED"
    return found, f"{line}; {'' if faded is None else faded.line}"


def main() -> None:
    """Print a line for every draw, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    totals = Counter[str]()
    for seed in range(options.first, options.first + options.draws):
        found, line = judged(seed)
        totals += found
        print(line, flush=True)
    print(dict(totals))


if __name__ == "__main__":
    main()
