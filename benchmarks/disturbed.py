"""Maps of scans with a truth whose patterns wander over the detector, compared with the same scans at rest.

    python -m benchmarks.disturbed DIR SCAN.h5 [SCAN.h5 ...] [--pixels 2,4,8] [--bases pixels,zernike:45+1] [--seeds 1]

Every scan is simulated again (``benchmarks/again.py``) from the slices and the microscope in its truth: at rest, with a
plane of a given number of pixels over the field, a plane with a bow, and a plane with jumps of a quarter of it between
lines. The wander is not given. A line for each: by how much the correlation of every map with the truth differs from
that of the scan at rest, and the error of the positions found (pixels, root mean square, the mean of the scan removed).
At 0 pixels: another draw of the noise, which shows what differences are significant; and the effect of ``descan_px=0``.
Lines that jump, and a bow sampled at few points, have a mean of up to some tenths of a pixel, to which their patterns
are shifted. They are therefore compared with a scan that rests there: for 10 nm of SrTiO3 a beam displaced by 0.1
pixels changes OBF by 0.02, and also tcBF of coefficients.

At the end, for each cell over all seeds: by how much its mean differs from that of all scans at rest, and the standard
error of the difference. Draws differ from each other by up to 0.03 (iDPC of a flake's edge, SSB of gold): a loss of a
single seed is no loss. ``--told``: the wander is given unless it has jumps, so that only the shifting of patterns
remains.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.again import Floats, Wander, simulated_again, simulation_settings
from benchmarks.zoo.map_score import MapTruth, score_map
from ptylive.application.offline import MapRequest, reconstruct_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.schema.detector import Descan

KINDS = ("plane", "bow", "jumps")
MAPS = ("idpc", "obf", "tcbf", "ssb", "wdd_phase")
OTHER_NOISE = 1000
JUMPS = 0.25
"""Standard deviation of each line's own displacement, as a fraction of the wander."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--pixels", default="2,4,8")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--bases", default="pixels,zernike:45+1")
    parser.add_argument("--seeds", default="1", help="of noise and jumps")
    parser.add_argument("--told", action="store_true", help="the wander is told")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    worst: dict[str, float] = {}
    every: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for scan in given.scans:
        for seed in (int(text) for text in given.seeds.split(",")):
            still = made_again(scan, given.folder, "still", 0.0, seed)
            noise = made_again(scan, given.folder, "still", 0.0, seed + OTHER_NOISE)
            wandering = [
                (kind, float(px), made_again(scan, given.folder, kind, float(px), seed))
                for px in given.pixels.split(",")
                for kind in given.kinds.split(",")
            ]
            for basis in given.bases.split(","):
                rest: dict[tuple[float, ...], dict[str, float]] = {}
                cases = [("still", 0.0, still), ("noise", 0.0, noise), *wandering]
                for kind, span_px, (path, places) in cases:
                    mean = mean_place(places)
                    if mean not in rest:
                        lying = made_again(scan, given.folder, "still", 0.0, seed, mean)
                        rest[mean] = maps_of(lying[0], basis, {"descan_px": 0})[0]
                    best = rest[mean]
                    known = given.told and kind in ("plane", "bow")
                    told = {"descan_px": list(wander_of(kind, span_px).numbers)} if known else {}
                    found, calibration = maps_of(path, basis, told)
                    every.setdefault((scan.stem, basis, f"{kind} {span_px:g}" if span_px else "still"), []).append(
                        found
                    )
                    if mean:
                        every.setdefault((scan.stem, basis, f"still of {kind} {span_px:g}"), []).append(best)
                    differs = {name: round(found[name] - best[name], 4) for name in MAPS}
                    error = places_off(places, calibration.get("descan_px"))
                    line = {"scan": scan.stem, "seed": seed, "basis": basis, "wander": kind, "px": span_px}
                    print(json.dumps(line | {"places_px": error, "differs": differs, "still": best}), flush=True)
                    for name, value in differs.items() if span_px else ():
                        key = f"{scan.stem} {basis} {name}"
                        worst[key] = min(worst.get(key, 0.0), value)
    print(json.dumps({"worst": worst}))
    for (stem, basis, kind), draws in every.items():
        if not kind.startswith("still"):
            against = every.get((stem, basis, f"still of {kind}"), every[stem, basis, "still"])
            line = {"scan": stem, "basis": basis, "wander": kind, "seeds": len(draws)}
            print(json.dumps(line | {name: over_seeds(draws, against, name) for name in MAPS}))


def over_seeds(
    found: list[dict[str, float]], reference: list[dict[str, float]], name: str
) -> tuple[float, float | None]:
    """Difference of the means, and its standard error; None for a single draw."""
    values, others = ([float(each[name]) for each in draws] for draws in (found, reference))
    error = None if min(len(values), len(others)) < 2 else math.hypot(*(_of_mean(draws) for draws in (values, others)))
    return round(fmean(values) - fmean(others), 4), None if error is None else round(error, 4)


def _of_mean(draws: list[float]) -> float:
    return stdev(draws) / math.sqrt(len(draws))


def made_again(
    scan: Path, folder: Path, kind: str, span_px: float, seed: int, away_px: tuple[float, ...] = ()
) -> tuple[Path, Floats]:
    """The scan simulated with a wander, and its pattern positions; kept in ``folder`` between calls.

    away_px: displacement of the beam from its position in the file; empty if there is none.
    """
    path = folder / "_".join(
        [scan.stem, f"{kind}{span_px:g}", str(seed), *(f"{component:.3f}" for component in away_px)]
    )
    path, places_path = path.with_name(path.name + ".h5"), path.with_name(path.name + ".npy")
    if not places_path.exists():
        beam_offset = {}
        if away_px:
            offset = simulation_settings(scan, seed).detector.beam_offset_px
            beam_offset = {"beam_offset_px": tuple(float(place) for place in np.add(offset, away_px))}
        np.save(places_path, simulated_again(scan, path, wander_of(kind, span_px), seed, detector=beam_offset))
    return path, np.load(places_path)


def mean_place(places: Floats) -> tuple[float, ...]:
    """Mean position of patterns (rows, columns, 2), row and column, to a thousandth of a pixel; empty for 0."""
    row, col = (round(float(place), 3) for place in places.reshape(-1, 2).mean(axis=0))
    return (row, col) if row or col else ()


def wander_of(kind: str, span_px: float) -> Wander:
    """A wander of that many pixels from edge to edge of the field."""
    terms = np.zeros((2, 5))
    terms[:, :2] = span_px / 2 * np.array([[0.8, 0.3], [-0.3, 0.5]])
    if kind == "bow":
        terms[:, 2:] = span_px / 4 * np.array([[0.5, -0.3, 0.0], [0.0, 0.0, 0.4]])
    if kind == "still":
        return Wander()
    return Wander(tuple(terms.ravel().tolist()), JUMPS * span_px if kind == "jumps" else 0.0)


def maps_of(path: Path, basis: str, values: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """Correlation of each map with the truth, and the calibration."""
    request = replace(MapRequest(), basis=parse_basis(basis))
    reconstruction = reconstruct_file(path, values, ["idpc", "obf", "tcbf", "ssb", "wdd"], request)
    true, pictures = MapTruth.read(path), {live_map.name: live_map for live_map in reconstruction.rendering.maps}
    scored = {name: score_map(true, pictures[name].data, pictures[name].sampling_A)["corr"] for name in MAPS}
    return scored, reconstruction.calibration


def places_off(places: Floats, numbers: Any) -> float | None:
    """Error of the positions found, root mean square, px; not available for coefficients already freed of wander."""
    shape = places.shape[:2]
    found = np.zeros_like(places)
    if numbers is not None:
        found = Descan.of(numbers).at_points(np.arange(shape[0] * shape[1]), shape).reshape(places.shape)
    error = (found - places).reshape(-1, 2)
    return round(float(np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean())), 4)


if __name__ == "__main__":
    main()
