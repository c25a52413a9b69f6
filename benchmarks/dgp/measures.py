"""Measurements of pixels and networks on a scan with a known truth, each as plain figures."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.dgp.scans import loaded, refined, scan, seen, timed, truth_of
from benchmarks.zoo.score import Reconstruction, Truth, level, score
from ptylive.engine.analysis.fourier_correlation import ring_correlation, scanned_area
from ptylive.engine.analysis.half_dose import half_dose_pair
from ptylive.engine.refine import RefineResult
from ptylive.engine.refine.run.history import read_snapshot, snapshots

METHODS: Mapping[str, Mapping[str, Any]] = {"pixels": {}, "dgp": {"method": "dgp"}}
SLICES, SLICE_A, MODES = 16, 1.0, 6
LOW_INVA, HELD_POWER = 0.1, 0.9
PACE_EPOCHS, PIXEL_EPOCHS = 40, 120
SURFACE_ZERO = 100.0
SURFACES: Mapping[str, Any] = {"surface_zero_weight": SURFACE_ZERO}
RING_INVA, LAST_RING_INVA = 0.1, 1.0
UNRELATED = 200
"""Number of pictures unrelated to the truth."""
Figures = dict[str, Any]


def compared(*drawn: Any) -> Figures:
    """Pixels with default settings, and networks, on a drawn scan."""
    return compared_file(scan(*drawn))


def compared_file(path: Path) -> Figures:
    """Pixels with default settings, and networks, on the scan of a file."""
    truth, figures = truth_of(path), Figures()
    for method, settings in METHODS.items():
        result, seconds = refined(path, **settings)
        found = score(truth, seen(result))
        figures[method] = {name: found[name] for name in ("corr", "corr_best_blur", "frc_half_A")}
        figures[method] |= {"cpu_s": round(seconds, 1)}
    figures["dgp"] |= {"epoch": result.prior.epoch, "gain": str(result.prior.over_pixels)}
    figures["dgp"] |= {"bands": "" if result.prior.bands is None else str(result.prior.bands)}
    figures["dgp"] |= {"warning": result.prior.warning, "reason": result.reason.rpartition("; ")[2]}
    figures["peak_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return figures


def halves(*drawn: Any) -> Figures:
    """Two halves of the dose, each refined from an empty object: the information limit and its error, 1/Å."""
    dataset, _ = loaded(scan(*drawn))
    pair, figures = half_dose_pair(dataset, seed=1), Figures()
    for method, settings in METHODS.items():
        results = [timed(half, None, start_from_map=False, **settings)[0] for half in pair]
        rings = ring_correlation(*(summed(result, results[0]) for result in results), results[0].object_sampling_A[0])
        limits = [rings.resolution_A(deviations=deviations) for deviations in (0, -1, 1)]
        limit, low, high = (round(1 / (each or 1 / rings.frequencies_invA[-1]), 3) for each in limits)
        below = rings.frequencies_invA < LAST_RING_INVA
        figures[method] = {
            "limit_invA": limit,
            "from_to_invA": [low, high],
            "mean_to_1_invA": round(float(np.average(rings.correlation[below], weights=rings.points[below])), 3),
            "taken": [result.prior is None or result.prior.taken for result in results],
        }
    return figures


def summed(result: RefineResult, first: RefineResult) -> Any:
    """The phase summed over slices, in the scanned field of the first of two results."""
    shape = first.object.shape[-2:]
    area = scanned_area((shape[0], shape[1]), first.origin_A, first.positions_A, first.object_sampling_A[0])
    return np.angle(result.object[0]).astype(float).sum(axis=0)[area]


def shuffled(*drawn: Any) -> Figures:
    """Patterns in a wrong order: the highest ring, and the values that unrelated pictures reach."""
    path = scan(*drawn)
    truth = truth_of(path)
    order, figures = np.random.default_rng(99).permutation(len(truth.points)), Figures()
    for method, settings in METHODS.items():
        result, _ = refined(path, order, num_slices=1, refine_drift=False, **settings)
        figures[method] = against_chance(truth, seen(result)) | {"message": result.message}
        figures[method] |= {"corr": score(truth, seen(result))["corr"]}
    figures["dgp"]["warned"] = bool(result.prior.warning)
    return figures


def against_chance(truth: Truth, found: Reconstruction) -> Figures:
    """Correlation with the truth in rings of 0.1 1/Å: the mean of all, weighted by their power, and the highest.

    It is compared with the highest ring of the truth and pictures with the found one's spectrum but random phases: a
    value below their 95th percentile is chance.
    """
    places, inside = truth.field()
    sampled = found.at(found.turned(places, truth.rotation_deg))
    faded_phase, true = (faded(values, inside) for values in (sampled, truth.blurred(0.0, places)))
    axes = [np.fft.fftfreq(size, truth.sampling_A) for size in inside.shape]
    ring = (np.hypot(*np.meshgrid(*axes, indexing="ij")) / RING_INVA).astype(int).ravel()
    spectra = [np.fft.fft2(values) for values in (faded_phase, true)]
    counts = np.bincount(ring)
    rings = slice(0, int(LAST_RING_INVA / RING_INVA))

    def correlation(first: Any) -> Any:
        cross = np.bincount(ring, (first * spectra[1].conj()).real.ravel())
        power = [np.bincount(ring, (np.abs(each) ** 2).ravel()) for each in (first, spectra[1])]
        return (cross / np.sqrt(np.maximum(power[0] * power[1], 1e-300)))[rings]

    rings_of_result, random = correlation(spectra[0]), np.random.default_rng(3)
    noise = [
        np.abs(correlation(np.fft.fft2(faded(unrelated(spectrum_amplitudes(faded_phase), random), inside)))).max()
        for _ in range(UNRELATED)
    ]
    return {
        "rings": [round(float(value), 3) for value in rings_of_result],
        "highest_ring": round(float(np.abs(rings_of_result).max()), 3),
        "mean_of_rings": round(float(np.average(rings_of_result, weights=counts[rings])), 4),
        "chance_95": round(float(np.quantile(noise, 0.95)), 3),
    }


def spectrum_amplitudes(picture: Any) -> Any:
    """Amplitudes of a picture's spectrum."""
    return np.abs(np.fft.fft2(picture))


def unrelated(amplitudes: Any, random: np.random.Generator) -> Any:
    """A picture with these amplitudes (Y, X) and the phases of white noise."""
    white = np.fft.fft2(random.standard_normal(amplitudes.shape))
    return np.fft.ifft2(amplitudes * white / np.maximum(np.abs(white), 1e-30)).real


def faded(values: Any, inside: Any) -> Any:
    """Values without their plane, under a Hann window."""
    flat = np.zeros(inside.shape)
    flat[inside] = level(values, inside)
    return flat * np.outer(*(np.hanning(size + 2)[1:-1] for size in inside.shape))


def pace(*drawn: Any) -> Figures:
    """From the same two sweeps: continued refinement of pixels, and networks."""
    path, figures = scan(*drawn), Figures()
    common = {"num_slices": 1, "probe_modes": 1, "refine_drift": False, "start_from_map": False, "sweeps": 2}
    truth = low_power_of_truth(path)
    for method, settings in (
        ("pixels", {"epoch_max": 2 + PIXEL_EPOCHS}),
        ("dgp", {"epoch_max": 2, "method": "dgp", "dgp_epochs": PACE_EPOCHS}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            result, seconds = refined(path, None, Path(folder), **common, **settings)
            powers = [low_power(read_snapshot(file)) for file in snapshots(Path(folder))]
        after = np.asarray(powers[3:])  # after the start and the two sweeps
        figures[method] = {
            "epochs_to_own": first_of(after, after[-1]),
            "epochs_to_truth": first_of(after, truth),
            "begun_over_truth": round(float(powers[2] / truth), 3),
            "final_over_truth": round(float(after[-1] / truth), 3),
            "corr": score(truth_of(path), seen(result))["corr"],
            "cpu_s": round(seconds, 1),
        }
    return figures


def first_of(powers: Any, wanted: float) -> int | None:
    """Epochs until 0.9 of the wanted power is reached; None if it never is."""
    reached = np.flatnonzero(powers >= HELD_POWER * wanted)
    return int(reached[0]) + 1 if len(reached) else None


def low_power(state: Any) -> float:
    """Power of the phase below 0.1 1/Å, in the scanned field."""
    phase, low, high = np.angle(state.object[0]).sum(0), state.positions_A.min(0), state.positions_A.max(0)
    first, last = ((edge - np.asarray(state.origin_A)) / state.object_sampling_A for edge in (low, high))
    (top, left), (bottom, right) = np.ceil(first).astype(int), np.floor(last).astype(int)
    return power_below(phase[top:bottom, left:right], state.object_sampling_A[0])


def low_power_of_truth(path: Path) -> float:
    """Power of the truth below 0.1 1/Å."""
    truth = truth_of(path)
    (top, left) = np.ceil(truth.first_A / truth.sampling_A).astype(int)
    (bottom, right) = np.floor((truth.first_A + truth.points.max(0)) / truth.sampling_A).astype(int)
    return power_below(truth.phase[top:bottom, left:right], truth.sampling_A)


def power_below(phase: Any, sampling_A: float) -> float:
    """Mean power, so that pictures of different sampling are comparable."""
    flat = (phase - phase.mean()) * np.outer(np.hanning(phase.shape[0]), np.hanning(phase.shape[1]))
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, sampling_A) for n in phase.shape), indexing="ij"))
    return float((np.abs(np.fft.fft2(flat, norm="forward")) ** 2)[(q < LOW_INVA) & (q > 0)].sum())


def depth(*drawn: Any) -> Figures:
    """Root mean square of the phase in slices farther than 2 Å from a layer, relative to that of all slices."""
    path = scan(*drawn)
    with h5py.File(path) as file:
        slices = np.asarray(file["truth/slices"][()], float)
        thickness = float(file["truth"].attrs["slice_thickness_A"])
    layers_A = np.flatnonzero((slices**2).mean(axis=(1, 2)) > 0.05 * (slices**2).mean(axis=(1, 2)).max()) * thickness
    offset = (
        SLICES * SLICE_A - layers_A.max() - layers_A.min()
    ) / 2  # the layers are in the middle of the refined thickness
    settings = {"num_slices": SLICES, "total_thickness_A": SLICES * SLICE_A, "probe_modes": MODES}
    figures: Figures = {"layers_A": [round(float(v + offset), 1) for v in layers_A]}
    centres = (np.arange(SLICES) + 0.5) * SLICE_A
    outside = np.abs(centres[:, None] - (layers_A + offset)[None]).min(axis=1) > 2 * SLICE_A
    figures["slices_without_layer"] = int(outside.sum())
    weighted = {
        f"{method} with surface_zero_weight={SURFACE_ZERO:g}": {**options, **SURFACES}
        for method, options in METHODS.items()
    }
    for method, options in {**METHODS, **weighted}.items():
        result, seconds = refined(path, **settings, **options)
        phase = np.angle(result.object[0]).astype(float)
        inner = phase[:, 32:-32, 32:-32] - phase[:, 32:-32, 32:-32].mean(axis=(1, 2), keepdims=True)
        power = (inner**2).mean(axis=(1, 2))
        figures[method] = {
            "outside": round(float(np.sqrt(power[outside].sum() / power.sum())), 3),
            "corr": score(truth_of(path), seen(result))["corr"],
            "message": result.message,
            "reason": result.reason,
            "cpu_s": round(seconds, 1),
        }
    return figures
