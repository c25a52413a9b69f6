"""Repeated scans of one random specimen with new counting noise, and how much their refinements scatter."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from ptylive.engine.analysis.fourier_correlation import scanned_area
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.results.ring_correlation import without_ramp
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import wavelength_A

DRAWS = (20, 21, 22, 23)
KINDS = ("monolayer", "bilayer", "crystal", "gaussians", "particles")
POINTS, PIXELS, WINDOW_PX = 32, 48, 2.0


def drawn(seed: int) -> dict:
    """Specimen, microscope and dose of a seed, as settings of a simulation; the kinds alternate."""
    rng = np.random.default_rng([seed, 77])
    kind, energy = KINDS[seed % len(KINDS)], float(rng.choice([60e3, 80e3, 120e3, 200e3, 300e3]))
    semiangle, wavelength = float(rng.uniform(12, 30)), wavelength_A(energy)
    highest = semiangle * float(rng.uniform(1.5, 2.2))
    side = wavelength * 1e3 / (2 * highest / PIXELS)
    radius = side * float(rng.uniform(0.05, 0.25))
    # the field is larger than the window: a ramp fitted to a smaller one would remove its lowest frequencies
    step = max(float(rng.uniform(0.15, 0.35)) * max(radius, 610 * wavelength / semiangle), side / POINTS)
    settings = {
        "specimen": kind,
        "energy_eV": energy,
        "convergence_semiangle_mrad": semiangle,
        "defocus_A": float(rng.choice([-1, 1])) * radius / semiangle * 1e3,
        "scan_shape": (POINTS, POINTS),
        "scan_step_A": (step, step),
        "detector_shape": (PIXELS, PIXELS),
        "detector_pixel_mrad": 2 * highest / PIXELS,
        "dose_e_per_A2": float(10 ** rng.uniform(3, 5.5)),
        "poisson": False,
        "dtype": "f4",
        "seed": seed,
    }
    if kind == "crystal":
        settings |= {"thickness_A": float(rng.uniform(40, 120)), "slice_thickness_A": 8.0}
    return settings


def repeats(settings: dict, count: int, **preset: object) -> list:
    """Refinements of scans that differ only in their counting noise."""
    scan = SimulatedScan.of(SimulationSettings.of(settings), Path("none.h5"))
    every = np.arange(scan.header.frames)
    mean = np.maximum(scan.frames(every), 0)
    optics = scan.header.optics
    values = {
        "energy_eV": optics.energy_eV,
        "convergence_semiangle_mrad": optics.convergence_semiangle_mrad,
        "detector_pixel_invA": settings["detector_pixel_mrad"] * 1e-3 / scan.window.wavelength_A,
        "beam_center_px": tuple(float(at) for at in scan.readout.center_px),
        "C10": -settings["defocus_A"],
    }
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})
    thick = settings["specimen"] == "crystal"
    depth = {"num_slices": 3, "total_thickness_A": settings["thickness_A"]} if thick else {"num_slices": 1}
    depth["refine_drift"] = False  # it would be decided anew for each repeat, and it moves the object
    wanted = Preset.from_mapping({**depth, **preset})
    found = []
    for number in range(count):
        counts = np.random.default_rng([settings["seed"], number]).poisson(mean).astype(np.uint16)
        found.append(refine(Dataset.of(scan.header, calibration, every, counts), wanted, backend="cpu"))
    return found


def scatter(results: list) -> tuple[np.ndarray, np.ndarray]:
    """Deviation of the phase reported by the first result, and that with which all results scatter."""
    first = results[0]
    area = scanned_area(first.object.shape[2:], first.origin_A, first.positions_A, first.object_sampling_A[0])
    turned = np.array([np.exp(1j * np.angle(one.object.mean(axis=0)).sum(axis=0)[area]) for one in results])
    turned *= np.exp(-1j * np.angle(turned.sum(axis=(1, 2), keepdims=True)))  # the constant phase is arbitrary
    apart = np.angle(turned * turned.mean(axis=0).conj())
    apart = np.array([without_ramp(one) for one in apart])
    apart -= apart.mean(axis=0)
    variances = (first.phase_deviation.map_rad[area].astype(float) ** 2, (apart**2).sum(axis=0) / (len(results) - 1))
    told, measured = (np.sqrt(gaussian_filter(one, WINDOW_PX, mode="reflect")) for one in variances)
    return told, measured
