"""What a map says of its noise, against the scatter of twenty other scans of the same specimen.

    python -m benchmarks.map_deviations [--first 0] [--draws 8]

Specimen, microscope and dose are drawn from a seed (``benchmarks/repeated_scans.py``); its patterns are simulated once
without noise and counted 21 times. The first scan says a standard deviation for each pixel of each map; the others
scatter, and their variance is averaged under the window that the first took. A line for each draw: of each map the
share of the field where the two differ by less than 25 %, and the median of what is said over what is seen. Then the
same over all draws. The optics are told: what a calibration adds by scattering itself is not looked at.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.repeated_scans import PIXELS, POINTS, drawn
from ptylive.engine.imaging.deviation import deviation_of
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import FrameBatch, LiveMap, ScanHeader
from ptylive.schema.simulation.settings import SimulationSettings

MAPS = ("idpc", "tcbf", "obf", "wdd_phase")
METHODS = ("idpc", "tcbf", "obf", "wdd")
REPEATS, WITHIN = 20, 0.25
PIXELS_OF_THE_SCAN = {"obf.upsample": 1.0, "tcbf.upsample": 1.0}
"""They are chosen by what is resolved, which another draw of the noise may say otherwise."""


def main() -> None:
    """Print a line for every draw, and the shares of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    found: dict[str, list[Any]] = {name: [] for name in MAPS}
    for seed in range(given.first, given.first + given.draws):
        settings, ratios = judged(seed)
        dose = settings["dose_e_per_A2"]
        line = {name: [round(share(one), 3), round(float(np.median(one)), 3)] for name, one in ratios.items()}
        about = {"seed": seed, "specimen": settings["specimen"], "dose_e_per_A2": round(dose)}
        print(json.dumps(about | line), flush=True)
        for name, one in ratios.items():
            found[name].append(one)
    for name, ones in found.items():
        shares = [share(one) for one in ones]
        print(f"{name}: {np.mean(shares):.3f} of the field within 25 %, the worst draw {min(shares):.3f}")


def share(ratio: Any) -> float:
    """Of a field, where what is said is within 25 % of what is seen."""
    return float(np.mean(np.abs(ratio - 1) < WITHIN))


def judged(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a draw, and (Y, X) of each map: deviation said over scatter seen."""
    settings = drawn(seed)
    step = 2 * settings["scan_step_A"][0]
    settings |= {"scan_shape": (POINTS, POINTS), "scan_step_A": (step, step)}
    scan = SimulatedScan.of(SimulationSettings.of(settings), Path("none.h5"))
    mean = np.maximum(scan.frames(np.arange(scan.header.frames)), 0)
    header = replace(scan.header, detector=scan.header.detector.model_copy(update={"dtype": "<u2"}))
    counts = np.random.default_rng([seed, 41])
    first = maps_of(header, counts.poisson(mean))
    others = [maps_of(header, counts.poisson(mean)) for _ in range(REPEATS)]
    return settings, {name: ratio(first, others, name) for name in MAPS if name in first}


def maps_of(header: ScanHeader, counts: Any) -> dict[str, LiveMap]:
    """Maps by name of one scan."""
    frames = counts.astype(np.uint16).reshape(-1, PIXELS, PIXELS)
    batch = FrameBatch(header.uid, np.arange(len(frames)), frames)
    _, rendering = reconstruct(header, lambda: iter([batch]), METHODS, settings=PIXELS_OF_THE_SCAN)
    return {one.name: one for one in rendering.maps}


def ratio(first: dict[str, LiveMap], others: list[dict[str, LiveMap]], name: str) -> Any:
    """Deviation that the first scan says over the scatter of the others; means are free, as phases' are."""
    said = first[deviation_of(name)]
    pictures = np.array([one[name].data - one[name].data.mean() for one in others])
    window_px = said.settings["window_px"]
    return said.data / np.sqrt(gaussian_filter(pictures.var(axis=0, ddof=1), window_px, mode="reflect"))


if __name__ == "__main__":
    main()
