"""Record of a timed runner: CPU seconds of each iteration, the phase after it, peak memory."""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Clock:
    """CPU seconds of iterations only: set-up comes before the first one, and writing results is not counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = 0.0
        self.cpu_s: list[float] = []

    def start(self) -> None:
        """Start an iteration."""
        self._began = time.process_time()

    def lap(self, phase: Callable[[], Any]) -> None:
        """End an iteration, and start the next; ``phase``: (slices, y, x) in rad."""
        self.cpu_s.append(time.process_time() - self._began)
        np.save(self._folder / f"phase_{len(self.cpu_s):04d}.npy", np.asarray(phase(), np.float32))
        self.start()

    def finish(self, version: str, pixel_A: float, first_px: Any) -> None:
        """Finish; ``first_px``: position of the first scan point in the phase."""
        report = {
            "version": version,
            "pixel_A": pixel_A,
            "first_px": [float(value) for value in first_px],
            "cpu_s": self.cpu_s,
            "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        (self._folder / "run.json").write_text(json.dumps(report), encoding="utf-8")
