"""Record of a runner on a GPU: wall-clock seconds of each iteration, the projected phase after it, the memory."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


class Enough(Exception):
    """The time of a run is used up."""


@dataclass(frozen=True)
class Asked:
    """Request to a runner: INPUT.npz FOLDER JSON."""

    given: str
    folder: Path
    device: str
    """``cuda`` or ``cpu``."""
    iterations: int
    seconds: float
    """Time for iterations, after which no further one starts."""
    batch: int
    compiled: bool

    @classmethod
    def read(cls) -> "Asked":
        """Read the request to this process."""
        return cls(sys.argv[1], Path(sys.argv[2]), **json.loads(sys.argv[3]))


class WallClock:
    """Seconds of iterations only, including work pending on the GPU; writing results is not counted."""

    def __init__(
        self, request: Asked, wait: Callable[[], object], peak_MB: Callable[[], float | None], version: str
    ) -> None:
        """``wait``: returns when the GPU is idle; ``peak_MB``: peak memory of arrays on it so far."""
        self._request, self._wait, self._peak_MB = request, wait, peak_MB
        self.report: dict[str, Any] = {"version": version, "wall_s": []}
        self._began = 0.0

    def place(self, pixel_A: float, first_px: Any) -> None:
        """Record the side of the phase's pixels, and the position of the first scan point in it."""
        self.report |= {"pixel_A": pixel_A, "first_px": [float(value) for value in first_px]}

    def start(self) -> None:
        """Start an iteration."""
        self._wait()
        self._began = time.perf_counter()

    def lap(self, phase: Callable[[], Any]) -> None:
        """End an iteration, and start the next; ``phase``: (slices, y, x) in rad. Raises Enough."""
        self._wait()
        spent: list[float] = self.report["wall_s"]
        spent.append(time.perf_counter() - self._began)
        projected = np.asarray(phase(), np.float32).sum(0)
        np.save(self._request.folder / f"phase_{len(spent):04d}.npy", projected)
        self.write()
        if len(spent) >= self._request.iterations or sum(spent) >= self._request.seconds:
            raise Enough
        self.start()

    def write(self) -> None:
        """Write the results so far, so that an interrupted run leaves them, too."""
        self.report["host_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.report["arrays_MB"] = self._peak_MB()
        place = self._request.folder / "run.json"
        place.with_suffix(".part").write_text(json.dumps(self.report), encoding="utf-8")
        place.with_suffix(".part").replace(place)


def cupy_peak_MB() -> float | None:
    """Peak memory of the pool, which does not release memory on its own; None without a GPU."""
    import cupy

    return float(cupy.get_default_memory_pool().total_bytes()) / 1e6
