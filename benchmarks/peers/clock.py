"""What a timed runner keeps: CPU seconds of each iteration, the phase after it, the peak of the memory."""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Clock:
    """CPU seconds of iterations alone: set-up lies before the first one, writing down is not counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = 0.0
        self.cpu_s: list[float] = []

    def start(self) -> None:
        """An iteration begins."""
        self._began = time.process_time()

    def lap(self, phase: Callable[[], Any]) -> None:
        """An iteration has ended, and the next begins; ``phase``: (slices, y, x) in rad."""
        self.cpu_s.append(time.process_time() - self._began)
        np.save(self._folder / f"phase_{len(self.cpu_s):04d}.npy", np.asarray(phase(), np.float32))
        self.start()

    def finish(self, version: str, pixel_A: float, first_px: Any) -> None:
        """All is done; ``first_px``: place of the first scan point in the phase."""
        said = {
            "version": version,
            "pixel_A": pixel_A,
            "first_px": [float(value) for value in first_px],
            "cpu_s": self.cpu_s,
            "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        (self._folder / "run.json").write_text(json.dumps(said), encoding="utf-8")
