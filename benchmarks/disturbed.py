"""Maps of scans with a truth, and of the same scans when their patterns wander over the detector.

    python -m benchmarks.disturbed DIR SCAN.h5 [SCAN.h5 ...] [--pixels 2,4,8] [--bases pixels,zernike:45+1]

Every pattern is moved by the shift theorem, which changes no count but by its place: along a plane of so many pixels
from corner to corner, a plane with a bow, and a plane with jumps of a quarter of it between lines. Nothing is told of
it. A line each: by how much the correlation of every map with the truth differs from that of the scan as it is, and how
far the places found are off (pixels, root mean square, the mean of the scan left out). 0 pixels: what is found in the
scan as it is, and what that changes beside a given descan of 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import fft

from benchmarks.zoo.map_score import MapTruth, score_map
from ptylive.application.offline import MapRequest, reconstruct_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.schema.detector import Descan

KINDS = ("plane", "bow", "jumps")
MAPS = ("idpc", "obf", "tcbf", "ssb", "wdd_phase")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--pixels", default="2,4,8")
    parser.add_argument("--bases", default="pixels,zernike:45+1")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    worst: dict[str, float] = {}
    for scan in given.scans:
        for basis in given.bases.split(","):
            still, _ = maps_of(scan, scan, basis, {"descan_px": 0})
            for over, kind in [(0.0, "none"), *((float(px), kind) for px in given.pixels.split(",") for kind in KINDS)]:
                path, places = disturbed(scan, given.folder, kind, over)
                found, calibration = maps_of(scan, path, basis, {})
                differs = {name: round(found[name] - still[name], 4) for name in MAPS}
                off = places_off(places, calibration.get("descan_px"))
                for name, value in differs.items():
                    key = f"{basis} {name}"
                    worst[key] = min(worst.get(key, 0.0), value)
                line = {"scan": scan.stem, "basis": basis, "wander": kind, "px": over, "places_px": off}
                print(json.dumps(line | {"differs": differs}), flush=True)
    print(json.dumps({"worst": worst}))


def disturbed(scan: Path, folder: Path, kind: str, over: float) -> tuple[Path, np.ndarray[Any, Any]]:
    """The scan moved, and by how much (rows, columns, 2); itself where nothing moves."""
    with h5py.File(scan) as file:
        rows, cols = (int(n) for n in file["metadata"].attrs["scan_shape"])
        data, path = file["data"], folder / f"{scan.stem}_{kind}{over:g}.h5"
        v, u = np.meshgrid(np.linspace(-0.5, 0.5, cols), np.linspace(-0.5, 0.5, rows))
        places = over * np.stack([0.8 * u + 0.3 * v, -0.3 * u + 0.5 * v], axis=-1)
        if kind == "bow":
            places += over * np.stack([0.5 * u * u - 0.3 * u * v, 0.4 * v * v], axis=-1)
        if kind == "jumps":
            places += 0.25 * over * np.random.default_rng(int(over)).normal(size=(rows, 1, 2))
        if not over:
            return scan, places
        if path.exists():
            return path, places
        frames = np.asarray(data).reshape(rows, cols, *data.shape[-2:]).astype(np.float32)
        attributes = dict(data.attrs)
    k = [fft.fftfreq(n) for n in frames.shape[2:]]
    for row in range(rows):
        ramp = places[row, :, 0, None, None] * k[0][:, None] + places[row, :, 1, None, None] * k[1]
        frames[row] = fft.ifft2(fft.fft2(frames[row]) * np.exp(-2j * np.pi * ramp)).real
    shutil.copy(scan, path)
    with h5py.File(path, "r+") as file:
        del file["data"]
        file.create_dataset("data", data=frames).attrs.update(attributes)
    return path, places


def maps_of(truth: Path, path: Path, basis: str, values: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """Correlation of each map with the truth, and the calibration."""
    request = replace(MapRequest(), basis=parse_basis(basis))
    made = reconstruct_file(path, values, ["idpc", "obf", "tcbf", "ssb", "wdd"], request)
    true, pictures = MapTruth.read(truth), {one.name: one for one in made.rendering.maps}
    scored = {name: score_map(true, pictures[name].data, pictures[name].sampling_A)["corr"] for name in MAPS}
    return scored, made.calibration


def places_off(places: np.ndarray[Any, Any], numbers: Any) -> float | None:
    """Of the places that were found, root mean square, px; None where coefficients were freed of it before."""
    shape = places.shape[:2]
    found = np.zeros_like(places)
    if numbers is not None:
        found = Descan.of(numbers).at_points(np.arange(shape[0] * shape[1]), shape).reshape(places.shape)
    away = (found - places).reshape(-1, 2)
    return round(float(np.sqrt(((away - away.mean(axis=0)) ** 2).sum(axis=1).mean())), 4)


if __name__ == "__main__":
    main()
