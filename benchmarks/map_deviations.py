"""The noise that maps state, against the scatter of twenty other scans of the same specimen.

    python -m benchmarks.map_deviations [--first 0] [--draws 8]

Specimen, microscope and dose are drawn from a seed (``benchmarks/repeated_scans.py``); the patterns are simulated once
without noise and counted 21 times. Each of the 21 scans states a standard deviation for every pixel of each map; the
variance of the other twenty is averaged under the window that the statement used. Every scan takes its turn: the
filters of OBF and tcBF follow the noise of their own scan, so the result of a single scan is a matter of luck. The
optics are given, and so is the depth of focus: scatter added by a calibration is not examined.

A line for each draw: for each map the share of field and scans where the two differ by less than 25 %, the median of
the stated over the observed deviation, and how many of the 21 maps are greyed (nothing but noise, or no significant
pixel). Then the same over all draws, of all maps and of those that are not greyed.

A perfect map would reach the following: the scatter of twenty is itself known to 1 / sqrt(2 x 19) = 16 % in one pixel,
so that 86 % of single pixels lie within 25 %. Under a window of 100 independent values it is known to 1.6 %, and the
stated deviation, the root of as many squares of one picture, to 7 %: together 7.3 %, and a share of 0.999.
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
from ptylive.engine.imaging.noise.deviation import deviation_of
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import FrameBatch, LiveMap, ScanHeader
from ptylive.schema.simulation.settings import SimulationSettings

MAPS = ("idpc", "tcbf", "obf", "wdd_phase")
METHODS = ("idpc", "tcbf", "obf", "wdd")
REPEATS, TOLERANCE = 20, 0.25
PIXELS_OF_THE_SCAN = {"obf.upsample": 1.0, "tcbf.upsample": 1.0}
"""These are chosen by the resolution, for which another draw of the noise may give a different value."""


def main() -> None:
    """Print a line for every draw, and the shares of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    found: dict[str, list[tuple[Any, Any]]] = {name: [] for name in MAPS}
    for seed in range(given.first, given.first + given.draws):
        settings, judgements = judged(seed)
        dose = settings["dose_e_per_A2"]
        line = {
            name: [round(share(ratios_of_map), 3), round(float(np.median(ratios_of_map)), 3), int(greyed.sum())]
            for name, (ratios_of_map, greyed) in judgements.items()
        }
        draw = {"seed": seed, "specimen": settings["specimen"], "dose_e_per_A2": round(dose)}
        print(json.dumps(draw | line), flush=True)
        for name, judgement in judgements.items():
            found[name].append(judgement)
    for name, judgements in found.items():
        shares = [share(ratios) for ratios, _ in judgements]
        shown = [ratios[~greyed] for ratios, greyed in judgements if not greyed.all()]
        summary = f"{np.mean(shares):.3f} of all within 25 %, the worst draw {min(shares):.3f}"
        ungreyed = (
            f"{np.mean([share(ratios_of_map) for ratios_of_map in shown]):.3f} in {len(shown)} draws"
            if shown
            else "none"
        )
        print(f"{name}: {summary}; of maps not greyed {ungreyed}")


def share(ratio: Any) -> float:
    """Share of a field where the stated deviation is within 25 % of the observed one."""
    return float(np.mean(np.abs(ratio - 1) < TOLERANCE))


def judged(seed: int) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """Settings of a draw, and for each map (scans, Y, X) stated over observed deviation, (scans,) whether greyed."""
    settings = drawn(seed)
    step = 2 * settings["scan_step_A"][0]
    settings |= {"scan_shape": (POINTS, POINTS), "scan_step_A": (step, step)}
    scan = SimulatedScan.of(SimulationSettings.of(settings), Path("none.h5"))
    mean = np.maximum(scan.frames(np.arange(scan.header.frames)), 0)
    detector = scan.header.detector.model_copy(update={"dtype": "<u2"})
    optics = scan.header.optics.model_copy(update={"depth_A": 0.0})
    header = replace(scan.header, detector=detector, optics=optics)
    counts = np.random.default_rng([seed, 41])
    scans = [maps_of(header, counts.poisson(mean)) for _ in range(REPEATS + 1)]
    return settings, {name: judgement(scans, name) for name in MAPS if all(name in maps for maps in scans)}


def maps_of(header: ScanHeader, counts: Any) -> dict[str, LiveMap]:
    """Maps by name of one scan."""
    frames = counts.astype(np.uint16).reshape(-1, PIXELS, PIXELS)
    batch = FrameBatch(header.uid, np.arange(len(frames)), frames)
    _, rendering = reconstruct(header, lambda: iter([batch]), METHODS, settings=PIXELS_OF_THE_SCAN)
    return {live_map.name: live_map for live_map in rendering.maps}


def judgement(scans: list[dict[str, LiveMap]], name: str) -> tuple[Any, Any]:
    """For one map :func:`ratio` of every scan (scans, Y, X), and whether the scan's map is greyed (scans,)."""
    ratios = [ratio(maps, [*scans[:k], *scans[k + 1 :]], name) for k, maps in enumerate(scans)]
    return np.array(ratios), np.array([maps[name].buried or maps[name].faint for maps in scans])


def ratio(stated_by: dict[str, LiveMap], others: list[dict[str, LiveMap]], name: str) -> Any:
    """Deviation stated by one scan over the scatter of the others; means are free, as for phases."""
    stated = stated_by[deviation_of(name)]
    pictures = np.array([maps[name].data - maps[name].data.mean() for maps in others])
    window_px = stated.settings["window_px"]
    return stated.data / np.sqrt(gaussian_filter(pictures.var(axis=0, ddof=1), window_px, mode="reflect"))


if __name__ == "__main__":
    main()
