"""The information limit that a map states against that from the truth: simulated gold, far out of focus.

    python -m benchmarks.information_limits [--seed 0] [--scans 6] [--maps tcbf,obf] [--upsample 4]

Draws of orientation, rotation, step (1.6 to 2.2 Å, too coarse for the lattice), underfocus (300 to 600 Å) and dose (1e3
to 1e5 e/Å²). The limit of the truth: a correlation C of the map with the true phase, ring by ring, corresponds to a map
whose two halves correlate by C² / (2 - C²), whatever the sign of C (Rosenthal and Henderson 2003); the limit is read
from this curve as the map reads its own. A line for each, then how many limits agree within 15 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import ptylive
from ptylive.schema.maps import LiveMap, RingQuality

Floats = NDArray[np.floating[Any]]
TOLERANCE = 0.15
MARGIN = 1 / 8
"""Fraction of the field left out on each side, where contributions from beyond the scan are missing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scans", type=int, default=6)
    parser.add_argument("--maps", default="tcbf,obf")
    parser.add_argument("--upsample", type=float, default=4)
    parser.add_argument("--keep", type=Path, help="folder where simulated scans are kept from call to call")
    parser.add_argument("--rings", action="store_true", help="tell both correlations of each ring")
    given = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    for seed in range(given.seed, given.seed + given.scans):
        settings = drawn(seed)
        names = given.maps.split(",")
        with tempfile.TemporaryDirectory() as folder:
            path = (given.keep or Path(folder)) / f"gold{seed}.h5"
            if not path.exists():
                ptylive.simulate(path, seed=seed, tell="everything", **settings)
            scan = ptylive.open_scan(path)
            maps = scan.reconstruct(names, settings={f"{name}.upsample": given.upsample for name in names})
            for name in names:
                line = compared(path, maps[name], rings=given.rings)
                shown = {k: settings[k] for k in ("defocus_A", "scan_step_A", "dose_e_per_A2")}
                print(json.dumps({"seed": seed, "map": name, **shown, **line}), flush=True)
                if line["stated_A"] is not None:
                    ratios.setdefault(name, []).append(line["stated_A"] / line["true_A"])
    for name, found in ratios.items():
        near = sum(abs(ratio - 1) <= TOLERANCE for ratio in found)
        print(json.dumps({"map": name, "within 15 %": near, "of": len(found), "ratios": np.round(found, 2).tolist()}))


def drawn(seed: int) -> dict[str, Any]:
    """A specimen and a microscope."""
    rng = np.random.default_rng([seed, 415])
    step = round(float(rng.uniform(1.6, 2.2)), 2)
    return {
        "specimen": "crystal",
        "material": "Au",
        "thickness_A": float(rng.choice([12.0, 20.0, 30.0])),
        "orientation_deg": round(float(rng.uniform(0, 90)), 1),
        "energy_eV": 300e3,
        "convergence_semiangle_mrad": 20,
        "detector_pixel_mrad": 0.6,
        "detector_shape": (96, 96),
        "scan_shape": (40, 40),
        "scan_step_A": (step, step),
        "defocus_A": round(float(rng.uniform(300, 600))),
        "rotation_deg": round(float(rng.uniform(-30, 30)), 1),
        "dose_e_per_A2": float(f"{10 ** rng.uniform(3, 5):.3g}"),
    }


def compared(path: Path, live_map: LiveMap, *, rings: bool = False) -> dict[str, Any]:
    """The limit that the map states, and that of its correlation with the truth, Å."""
    limits, quality = live_map.information_limits(), live_map.quality
    if quality is None or live_map.sampling_A is None:
        raise SystemExit(f"{live_map.name} says nothing of its rings")
    trim = [round(MARGIN * n) for n in live_map.data.shape]
    part = tuple(slice(n, -n) for n in trim)
    correlation = with_truth(live_map.data[part], truth_on(path, live_map)[part], live_map.sampling_A, quality)
    halves = correlation**2 / (2 - correlation**2)
    true = replace(quality, half_data_correlation=halves).expected(1.0, 0.0)
    out: dict[str, Any] = {
        "stated_A": round(limits[1.0].period_A, 3) if limits else None,
        "error_A": round(limits[1.0].uncertainty_A, 3) if limits else None,
        "true_A": round(true.period_A, 3),
    }
    if rings:
        out["rings"] = [
            [round(float(1 / f), 2), round(float(stated), 2), round(float(true_ring), 2)]
            for f, stated, true_ring in zip(
                quality.frequency_invA, quality.half_data_correlation, correlation, strict=True
            )
        ]
    return out


def truth_on(path: Path, live_map: LiveMap) -> Floats:
    """The true phase at the pixels of a map, in the frame of the scan."""
    with h5py.File(path) as file:
        phase, positions = file["truth/phase"][()].astype(float), file["truth/positions_A"][()]
        sampling = float(file["truth"].attrs["object_sampling_A"])
    rows, cols = live_map.data.shape
    finer = rows / positions.shape[0]
    grid = np.stack(np.meshgrid(np.arange(rows) / finer, np.arange(cols) / finer, indexing="ij"))
    coordinates = [_interpolated(positions[..., axis], grid) / sampling for axis in (0, 1)]
    return np.asarray(ndimage.map_coordinates(phase, coordinates, order=3, mode="grid-wrap"))


def _interpolated(places: Floats, grid: Floats) -> Floats:
    """A plane of positions (rows, cols), extrapolated beyond its last points."""
    first = places[0, 0]
    down, across = places[1, 0] - first, places[0, 1] - first
    return np.asarray(first + grid[0] * down + grid[1] * across)


def with_truth(shown: Floats, true: Floats, pixel_A: tuple[float, float], quality: RingQuality) -> Floats:
    """Correlation of the frequencies of two pictures in each ring of ``quality``."""
    window = np.outer(*(np.hanning(n) for n in shown.shape))
    first, second = (np.fft.fft2((picture - picture.mean()) * window) for picture in (shown, true))
    axes = [np.fft.fftfreq(n, size) for n, size in zip(shown.shape, pixel_A, strict=True)]
    radii = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    width = quality.frequency_invA[1] - quality.frequency_invA[0]
    count = len(quality.frequency_invA)
    ring = np.minimum((radii / width).astype(int), count).ravel()

    def summed(values: Any) -> Floats:
        return np.bincount(ring, np.real(values).ravel(), minlength=count + 1)[:count]

    power = summed(np.abs(first) ** 2) * summed(np.abs(second) ** 2)
    return np.asarray(summed(first * second.conj()) / np.sqrt(np.maximum(power, 1e-30)))


if __name__ == "__main__":
    main()
