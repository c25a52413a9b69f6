"""A child process that makes maps, live and from a file, and refines under random optics, with bounded memory.

``python extreme_optics.py FIRST LAST [refine]``: seeds. Prints a line for each; any error but a clear refusal ends it.
"""

import resource
import sys
import warnings
from dataclasses import replace

import numpy as np
from synthetic import WeakPhaseScan, batches

from ptylive.engine.dataset import dataset_of
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.refine import refine
from ptylive.schema import PtyliveError
from ptylive.schema.metadata import overlay
from ptylive.schema.preset import Preset

LIMIT_BYTES = 4 << 30
POSITIVE = {
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 25.0,
    "scan_step_A": 0.5,
    "detector_pixel_mrad": 3.0,
}
SIGNED = {"C10": 50.0, "C12a": 10.0, "C21a": 1e3, "C30": 1e5, "depth_A": 20.0}


def values_of(seed: int) -> dict[str, float]:
    """Optics within six decades of ordinary values, as far as they are valid; now and then without the pixel size."""
    chance = np.random.default_rng(seed)
    found = {name: value * 10 ** chance.uniform(-6, 6) for name, value in POSITIVE.items()}
    found |= {name: value * 10 ** chance.uniform(-6, 6) * chance.choice([-1, 1]) for name, value in SIGNED.items()}
    found = {name: value for name, value in found.items() if chance.random() < 0.7}
    return found | ({"detector_pixel_mrad": None} if chance.random() < 0.4 else {})


def one(scan: WeakPhaseScan, seed: int, *, refined: bool) -> str:
    frames = (1e4 * scan.patterns).astype(np.float32)
    header = scan.header()
    for name, value in values_of(seed).items():
        try:
            header = overlay(header, {name: value})
        except PtyliveError:
            continue
    live = LiveEngine(header)
    for batch in batches(frames, size=64):
        live.add(batch)
    live.refresh()
    engine, rendering = reconstruct(header, lambda: batches(frames))
    if refined:
        index = np.arange(len(frames))
        dataset = dataset_of(header, engine.calibration, index, frames)
        return refine(dataset, Preset.from_mapping({"epoch_max": 1})).state
    return f"{len(rendering.maps)} maps"


def main() -> int:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    scan = WeakPhaseScan.make({"C10": -60.0}, n=12)
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            outcome = one(replace(scan), seed, refined="refine" in sys.argv)
        except PtyliveError as error:
            outcome = error.line()
        print(seed, outcome, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
