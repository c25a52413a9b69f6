"""What a runner on a card keeps: wall-clock seconds of each iteration, the projected phase after it, the memory."""

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
    """The seconds of a run are spent."""


@dataclass(frozen=True)
class Asked:
    """What a runner is asked to do: INPUT.npz FOLDER JSON."""

    given: str
    folder: Path
    device: str
    """``cuda`` or ``cpu``."""
    iterations: int
    seconds: float
    """Of iterations, after which no further one begins."""
    batch: int
    compiled: bool

    @classmethod
    def read(cls) -> "Asked":
        """Of this process."""
        return cls(sys.argv[1], Path(sys.argv[2]), **json.loads(sys.argv[3]))


class WallClock:
    """Seconds of iterations alone: what was begun on the card is waited for, writing down is not counted."""

    def __init__(
        self, asked: Asked, wait: Callable[[], object], peak_MB: Callable[[], float | None], version: str
    ) -> None:
        """``wait``: until the card has nothing to do; ``peak_MB``: the most that arrays on it took so far."""
        self._asked, self._wait, self._peak_MB = asked, wait, peak_MB
        self.said: dict[str, Any] = {"version": version, "wall_s": []}
        self._began = 0.0

    def place(self, pixel_A: float, first_px: Any) -> None:
        """Side of the phase's pixels, and where in it the first scan point is."""
        self.said |= {"pixel_A": pixel_A, "first_px": [float(value) for value in first_px]}

    def start(self) -> None:
        """An iteration begins."""
        self._wait()
        self._began = time.perf_counter()

    def lap(self, phase: Callable[[], Any]) -> None:
        """An iteration has ended, and the next begins; ``phase``: (slices, y, x) in rad. Raises Enough."""
        self._wait()
        spent: list[float] = self.said["wall_s"]
        spent.append(time.perf_counter() - self._began)
        projected = np.asarray(phase(), np.float32).sum(0)
        np.save(self._asked.folder / f"phase_{len(spent):04d}.npy", projected)
        self.write()
        if len(spent) >= self._asked.iterations or sum(spent) >= self._asked.seconds:
            raise Enough
        self.start()

    def write(self) -> None:
        """Leave what is known so far, for a run that is broken off too."""
        self.said["host_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.said["arrays_MB"] = self._peak_MB()
        place = self._asked.folder / "run.json"
        place.with_suffix(".part").write_text(json.dumps(self.said), encoding="utf-8")
        place.with_suffix(".part").replace(place)


def cupy_peak_MB() -> float | None:
    """Of the pool, which gives nothing back by itself; None without a card."""
    import cupy

    return float(cupy.get_default_memory_pool().total_bytes()) / 1e6
