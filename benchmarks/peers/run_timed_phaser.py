"""phaser's gradient engine, its iterations timed: INPUT.npz FOLDER ITERATIONS. Runs in phaser's environment.

Adam with momentum on the Poisson likelihood, batches of 32, the probe from the third iteration on; by JAX on the CPU.
Only for raster scans whose axes are the detector's.
"""

import json
import logging
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from phaser.execute import execute_plan
from phaser.observer import Observer
from phaser.plan import ReconsPlan

from benchmarks.peers.clock import Clock

RATE = 1e-2
BATCH = 32


class Watch(Observer):  # type: ignore[misc]
    """Reports every iteration to the clock, and records the position of the object."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pixel_A = 0.0
        self.first_px = np.zeros(2)

    def start_engine(self, _: Any) -> None:
        """Called before the first iteration."""
        self._clock.start()

    def update_iteration(self, state: Any, *_: Any) -> None:
        """Called after each iteration."""
        self._clock.lap(lambda: np.angle(np.asarray(state.object.data)))
        grid = state.object.sampling
        first = np.asarray(state.scan.data).reshape(-1, 2)[0]
        self.pixel_A = float(grid.sampling[0])
        self.first_px = (first - np.asarray(grid.corner)) / np.asarray(grid.sampling)


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    with np.load(sys.argv[1]) as given:
        patterns, calibration = given["patterns"], json.loads(str(given["calibration"]))
    watch = Watch(clock := Clock(Path(sys.argv[2])))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "patterns.npy")
        np.save(raw, patterns)
        plan_plain = plan(raw, patterns.shape[:2], calibration, int(sys.argv[3]))
        execute_plan(ReconsPlan.from_data(plan_plain), seed=1, override_observers=[watch])
    clock.finish(version("phaserEM"), watch.pixel_A, watch.first_px)


def plan(raw: Path, shape: tuple[int, int], calibration: dict[str, Any], iterations: int) -> dict[str, Any]:
    """The plan that it executes."""
    adam = {"type": "adam", "learning_rate": RATE, "nesterov": True}
    engine = {
        "type": "gradient",
        "niter": iterations,
        "grouping": BATCH,
        "probe_modes": 1,
        "buffer_n_groups": None,
        "update_probe": {"after": 2},
        "bwlim_frac": None,
        "noise_model": {"type": "poisson", "eps": 1e-1},
        "solvers": {"object": adam, "probe": dict(adam)},
        "regularizers": [],
        "iter_constraints": [],
        "group_constraints": [],
    }
    plain = {
        "name": "bench",
        "backend": "jax",
        "dtype": "float32",
        "raw_data": {
            "type": "manual",
            "path": str(raw),
            "diff_step": calibration["pixel_mrad"],
            "kv": calibration["energy_eV"] / 1e3,
            "adu": 1.0,
        },
        "init": {
            "scan": {"type": "raster", "shape": list(shape), "step_size": calibration["step_A"]},
            # its defocus is positive for overfocus
            "probe": {
                "type": "focused",
                "conv_angle": calibration["semiangle_mrad"],
                "defocus": -calibration["defocus_A"],
            },
        },
        "engines": [engine],
    }
    if calibration["slices"] > 1:
        plain["slices"] = {
            "n": calibration["slices"],
            "total_thickness": calibration["slices"] * calibration["slice_A"],
        }
    return plain


if __name__ == "__main__":
    main()
