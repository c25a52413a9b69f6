"""The noise that refined phases state, against the scatter of refinements of the same scan counted anew.

    python -m benchmarks.phase_deviations --seed 31 --specimen bilayer --doses 1e3,6e3,1e5 [--repeats 20] [--set k=v]

Microscope (energy, semi-angle, focus, a detector of 1.6 to 3.2 semi-angles, step) and specimen are drawn from the seed,
the optics given, and settings left to the program except for ``--set``. Every repeat states a standard deviation for
each pixel; phases are compared after constants, ramps and shifts are removed, and both variances are averaged over a
Gaussian of two pixels. A line for each dose: the stated over the observed deviation (median, 5 and 95 % of field and
repeats), the share within 25 %, and how many repeats call theirs a lower bound.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ptylive.engine.analysis.fourier_correlation import scanned_area
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import wavelength_A

POINTS, PIXELS, WINDOW_PX, TOLERANCE = 32, 48, 2.0, 0.25


def drawn(seed: int, specimen: str, dose_e_per_A2: float) -> dict[str, Any]:
    """Settings of a simulation; the microscope depends on the seed."""
    rng = np.random.default_rng([seed, 131])
    energy, semiangle = float(rng.choice([60e3, 80e3, 120e3, 200e3, 300e3])), float(rng.uniform(15, 30))
    wavelength, highest = wavelength_A(energy), semiangle * float(rng.uniform(1.6, 3.2))
    side = wavelength * 1e3 / (2 * highest / PIXELS)
    radius = side * float(rng.uniform(0.05, 0.25))
    # the field is wider than the window: removing the ramp of a smaller one would remove its lowest frequencies
    step = max(float(rng.uniform(0.15, 0.35)) * max(radius, 610 * wavelength / semiangle), side / POINTS)
    settings: dict[str, Any] = {
        "specimen": specimen,
        "energy_eV": energy,
        "convergence_semiangle_mrad": semiangle,
        "defocus_A": float(rng.choice([-1, 1])) * radius / semiangle * 1e3,
        "scan_shape": (POINTS, POINTS),
        "scan_step_A": (step, step),
        "detector_shape": (PIXELS, PIXELS),
        "detector_pixel_mrad": 2 * highest / PIXELS,
        "dose_e_per_A2": dose_e_per_A2,
        "poisson": False,
        "dtype": "f4",
        "seed": seed,
    }
    if specimen == "crystal":
        settings |= {"thickness_A": float(rng.uniform(40, 120)), "slice_thickness_A": 8.0}
    return settings


def repeats(settings: dict[str, Any], count: int, preset: Preset) -> list[RefineResult]:
    """Refinements of one scan counted anew."""
    scan = SimulatedScan.of(SimulationSettings.of(settings), Path("none.h5"))
    every, optics = np.arange(scan.header.frames), scan.header.optics
    mean = np.maximum(scan.frames(every), 0)
    values: dict[str, Any] = {
        "energy_eV": optics.energy_eV,
        "convergence_semiangle_mrad": optics.convergence_semiangle_mrad,
        "detector_pixel_invA": settings["detector_pixel_mrad"] * 1e-3 / scan.window.wavelength_A,
        "beam_center_px": tuple(float(coordinate) for coordinate in scan.readout.center_px),
        "C10": -settings["defocus_A"],
    }
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})
    found = []
    for number in range(count):
        counts = np.random.default_rng([settings["seed"], number, 7]).poisson(mean).astype(np.uint16)
        found.append(refine(Dataset.of(scan.header, calibration, every, counts), preset, backend="cpu"))
    return found


def aligned_deviations(phases: Any) -> Any:
    """Deviations of phases (n, Y, X) from their mean, with constants, ramps and shifts removed."""
    turned = np.exp(1j * phases)
    turned *= np.exp(-1j * np.angle(turned.sum(axis=(1, 2), keepdims=True)))
    mean = turned.mean(axis=0)
    rows, cols = np.indices(mean.shape)
    down, across = np.gradient(gaussian_filter(np.angle(mean), 1.0))
    design = np.column_stack([term.ravel() for term in (np.ones(mean.shape), rows, cols, down, across)])
    flat = np.angle(turned * mean.conj()).reshape(len(phases), -1).T
    rest = flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]
    return (rest - rest.mean(axis=1, keepdims=True)).T.reshape(phases.shape)


def ratios(results: list[RefineResult]) -> Any:
    """(n, Y, X) stated deviation of each result over the scatter of all, in the scanned area."""
    first, stated, phases = results[0], [], []
    rows, cols = first.object.shape[2:]
    area = scanned_area((rows, cols), first.origin_A, first.positions_A, first.object_sampling_A[0])
    for result in results:
        if result.phase_deviation is None:
            raise SystemExit("a run says nothing of its noise")
        stated.append(_averaged(result.phase_deviation.map_rad[area].astype(float) ** 2))
        phases.append(np.angle(result.object.mean(axis=0)).sum(axis=0)[area])
    scatter = _averaged(aligned_deviations(np.array(phases)).var(axis=0, ddof=1))
    return np.sqrt(np.array(stated) / scatter)


def _averaged(variance: Any) -> Any:
    return gaussian_filter(variance, WINDOW_PX, mode="reflect")


def main() -> None:
    """Print a line for every dose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--specimen", default="bilayer")
    parser.add_argument("--doses", default="1e3,3e3,6e3,1.5e4,1e5", help="e/Å²")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    preset = Preset.from_mapping(dict(pair.split("=", 1) for pair in given.set))
    for dose in map(float, given.doses.split(",")):
        results = repeats(drawn(given.seed, given.specimen, dose), given.repeats, preset)
        found = ratios(results)
        low, middle, high = np.percentile(found, (5, 50, 95))
        bounds = sum(result.phase_deviation is not None and result.phase_deviation.lower_bound for result in results)
        print(
            f"seed {given.seed} {given.specimen}, {dose:g} e/Å²: {middle:.2f} ({low:.2f} to {high:.2f}),"
            f" {np.mean(np.abs(found - 1) < TOLERANCE):.0%} within {TOLERANCE:.0%}; lower bounds: {bounds}",
            flush=True,
        )


if __name__ == "__main__":
    main()
