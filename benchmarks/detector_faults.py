"""Maps of scans with a truth recorded by a realistic detector: distorted, with hot pixels, with unequal pixel gains.

    python -m benchmarks.detector_faults DIR SCAN.h5 [SCAN.h5 ...] [--seeds 1,2] [--faults distortion,hot,gain,all]

Every scan is simulated again (``benchmarks/again.py``) from the slices and the microscope in its truth, recorded by a
faultless detector and by one whose pattern is distorted by 2 % (an ellipse, a quadratic and a cubic term of 2 % each at
the edge of the detector), in which one of a thousand pixels is hot (a dark current of half to three hundred times the
counts of a pixel of the disc), and whose pixels differ by 5 % rms. Each fault alone, and all together:

``nothing``   nothing is given;
``found``     what can be measured is given: the distortion on a cross grating (``ptylive inspect --distortion
              --square``), gain by a flat field of a thousand electrons in each pixel; hot pixels are searched for as
              always;
``ellipse``   of the distortion, only the ellipse, measured on the disc of a vacuum scan;
``told``      the truth is given.

A line for each: by how much the correlation of every map with the truth differs from that of the faultless detector.
``noise``: the same difference for another draw of the counts, which shows what differences are significant.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.again import Floats, Wander, simulated_again, simulation_settings
from benchmarks.zoo.map_score import MapTruth, score_map
from ptylive.application.offline import reconstruct_file
from ptylive.engine.calibrate.distortion.reference import Reference, find_distortion
from ptylive.engine.simulation.object_grid import Window
from ptylive.engine.simulation.readout import Readout
from ptylive.schema.pattern.distortion import numbers_of, terms

MAPS = ("idpc", "obf", "tcbf", "ssb", "wdd_phase")
FAULTS = ("distortion", "hot", "gain", "all")
OTHER_NOISE = 1000
DISTORTED = {"ellipticity": 0.02, "ellipse_deg": 25.0, "distortion_second": (0.016, -0.012), "distortion_third": 0.02}
BY_INTERPOLATION, STRAIGHT = ("distortion", "all"), {"ellipticity": 1e-9}
"""A distorted detector is simulated by interpolation, which blurs: it is compared with a detector of zero distortion
that is interpolated in the same way.
"""
HOT_SHARE, GAIN_RMS = 1e-3, 0.05
HOT_FROM, HOT_TO = 0.5, 300.0
FLAT_ELECTRONS = 1000.0
SPOTS_PX, SPOT_SIGMA_PX, GRATING_COUNTS = 8.0, 0.8, 400.0


@dataclass(frozen=True, eq=False)
class Faults:
    """Faults of one detector. gain (Qy, Qx), a factor near 1; dark_current (Qy, Qx), counts in each frame."""

    gain: Floats
    dark_current: Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--seeds", default="1", help="of noise, gain and hot pixels")
    parser.add_argument("--faults", default=",".join(FAULTS))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for scan in given.scans:
        for seed in (int(text) for text in given.seeds.split(",")):
            references = {kind: maps_of(recorded_scan(scan, given.folder, kind, seed), {}) for kind in ("", "straight")}
            cases = [("none", "noise", recorded_scan(scan, given.folder, "", seed + OTHER_NOISE), {})]
            for fault in given.faults.split(","):
                path = recorded_scan(scan, given.folder, fault, seed)
                cases += [(fault, way, path, values) for way, values in ways(scan, path, fault, seed)]
            for fault, way, path, values in cases:
                found, best = maps_of(path, values), references["straight" if fault in BY_INTERPOLATION else ""]
                differs = {name: round(found[name] - best[name], 4) for name in MAPS}
                line = {"scan": scan.stem, "seed": seed, "fault": fault, "told": way, "differs": differs}
                print(json.dumps(line | {"faultless": best}), flush=True)


def recorded_scan(scan: Path, folder: Path, fault: str, seed: int) -> Path:
    """The scan recorded by a detector with a fault, or without any; kept in ``folder`` between calls."""
    path = folder / f"{scan.stem}_{fault or 'faultless'}_{seed}.h5"
    if path.exists():
        return path
    wanted = DISTORTED if fault in BY_INTERPOLATION else STRAIGHT if fault == "straight" else {}
    simulated_again(scan, path, Wander(), seed, detector=wanted)
    with h5py.File(path, "r+") as file:
        counts = file["data"][()]
        if fault in ("gain", "hot", "all"):
            faults, rng = drawn(counts, seed), np.random.default_rng([seed, 8])
            if fault != "hot":
                counts = np.rint(counts * faults.gain).astype(counts.dtype)
            if fault != "gain":
                extra = rng.poisson(np.broadcast_to(faults.dark_current, counts.shape))
                counts = np.minimum(counts + extra, np.iinfo(counts.dtype).max).astype(counts.dtype)
            file["data"][...] = counts
    return path


def drawn(counts: Any, seed: int) -> Faults:
    """Gain and hot pixels of one detector."""
    rng, mean = np.random.default_rng([seed, 7]), counts.mean(axis=tuple(range(counts.ndim - 2)))
    gain = np.clip(1 + GAIN_RMS * rng.normal(size=mean.shape), 0.1, None)
    disc = float(np.median(mean[mean > mean.max() / 2]))
    current = np.zeros(mean.size)
    hot = rng.permutation(mean.size)[: max(1, round(HOT_SHARE * mean.size))]
    current[hot] = disc * np.exp(rng.uniform(np.log(HOT_FROM), np.log(HOT_TO), hot.size))
    return Faults(gain, current.reshape(mean.shape))


def ways(scan: Path, path: Path, fault: str, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings that may be given about a fault, with their names."""
    settings = simulation_settings(scan, seed, detector=DISTORTED)
    readout = Readout.of(settings, Window.of(settings))
    plain = recorded_scan(scan, path.parent, "distortion" if fault == "all" else "", seed)
    with h5py.File(plain) as file:
        faults = drawn(file["data"][()], seed)
    told: dict[str, Any] = {}
    found: dict[str, Any] = {}
    ellipse: dict[str, Any] = {}
    if fault in ("distortion", "all"):
        told["distortion"] = true_numbers(readout)
        found["distortion"] = of_pattern(readout, grating(readout), seed, "square")
        ellipse["distortion"] = of_pattern(readout, disc(readout, settings.probe.convergence_semiangle_mrad), seed)
    if fault in ("hot", "all"):
        told["bad_pixel_mask"] = faults.dark_current > 0
    if fault in ("gain", "all"):
        told["gain_reference"] = (1 / faults.gain).astype(np.float32)
        rng = np.random.default_rng([seed, 9])
        flat = rng.poisson(FLAT_ELECTRONS, faults.gain.shape) * faults.gain
        found["gain_reference"] = (flat.mean() / flat).astype(np.float32)
    yield "nothing", {}
    if found:
        yield "found", found
    if ellipse:
        yield "ellipse", ellipse
    yield "told", told


def true_numbers(readout: Readout) -> tuple[float, ...]:
    """The 18 numbers closest to the simulated distortion, over the detector. Requires a detector without transform."""
    shape, half = readout.settings.detector_shape, max(readout.settings.detector_shape) / 2
    center, middle = np.asarray(readout.center_px), (np.asarray(shape) - 1) / 2
    recorded = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")).reshape(2, -1)
    from_center = (recorded - np.rint(center)[:, None]) / half
    true = readout.scattered_to(*from_center) * half + np.rint(center)[:, None]
    u = ((true - middle[:, None]) / half).T
    moved = (recorded - true).T / half
    plane = np.column_stack([terms(u), np.ones(len(u))])
    return numbers_of(np.linalg.lstsq(plane, moved, rcond=None)[0][:-1])


def grating(readout: Readout) -> Floats:
    """Intensity (P, P) of a square lattice of spots, zero frequency first, of the model."""
    size, times = readout.window.size, readout.window.oversampling
    frequencies = np.fft.fftfreq(size, 1 / size) / times
    turn = np.deg2rad(7.0)
    rows, cols = np.meshgrid(frequencies, frequencies, indexing="ij")
    a, b = np.cos(turn) * rows + np.sin(turn) * cols, -np.sin(turn) * rows + np.cos(turn) * cols
    offsets = [(axis / SPOTS_PX - np.rint(axis / SPOTS_PX)) * SPOTS_PX for axis in (a, b)]
    return np.exp(-(offsets[0] ** 2 + offsets[1] ** 2) / (2 * SPOT_SIGMA_PX**2))


def disc(readout: Readout, semiangle_mrad: float) -> Floats:
    """Intensity (P, P) of the disc of a vacuum scan."""
    size, times = readout.window.size, readout.window.oversampling
    frequencies = np.fft.fftfreq(size, 1 / size) / times * float(readout.settings.detector_pixel_mrad or 1.0)
    radii = np.hypot(frequencies[:, None], frequencies[None, :]) / float(readout.settings.detector_pixel_mrad or 1.0)
    radius = semiangle_mrad / float(readout.settings.detector_pixel_mrad or 1.0)
    return np.clip(radius - radii + 0.5, 0, 1)


def of_pattern(readout: Readout, intensity: Floats, seed: int, on: Reference = "any") -> tuple[float, ...]:
    """The distortion found on a pattern of the detector, with noise."""
    mean = readout.expected(np.asarray(intensity, np.float32)[None])[0]
    counts = np.random.default_rng([seed, 10]).poisson(mean / mean.max() * GRATING_COUNTS).astype(float)
    return find_distortion(counts, np.zeros(counts.shape, dtype=bool), on).numbers


def maps_of(path: Path, values: dict[str, Any]) -> dict[str, float]:
    """Correlation of each map with the truth."""
    reconstruction = reconstruct_file(path, values, ["idpc", "obf", "tcbf", "ssb", "wdd"])
    true, pictures = MapTruth.read(path), {live_map.name: live_map for live_map in reconstruction.rendering.maps}
    return {name: score_map(true, pictures[name].data, pictures[name].sampling_A)["corr"] for name in MAPS}


if __name__ == "__main__":
    main()
