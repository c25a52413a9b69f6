"""Ours on a GPU, its epochs timed by the wall clock: INPUT.npz FOLDER JSON.

The preset is that of refine_vs_peers.py. One run keeps the phase after each epoch and includes initial compilation; the
next, without keeping phases, is timed by its progress reports, from the first one after the trials.
"""

import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from benchmarks.peers.wall_clock import Asked, WallClock, cupy_peak_MB
from benchmarks.refine_vs_peers import dataset_of
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.refine import refine
from ptylive.engine.refine.run.history import History
from ptylive.schema.preset import Preset


@dataclass(frozen=True)
class Kept(History):
    """Phases of all epochs, in memory."""

    phases: dict[int, np.ndarray] = field(default_factory=dict)

    def keep(self, epoch: int, make: Any) -> None:
        """Keep the phase of the epoch that has ended."""
        if epoch:
            self.phases[epoch] = np.angle(make().object[0]).astype(np.float32).sum(0)


@dataclass
class Marks:
    """Reported end times of epochs, and the number of passes over the data until then."""

    wait: Any
    ends: dict[int, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, progress: Any) -> None:
        """Record a progress report."""
        if progress.phase != "trial" and progress.epoch not in self.ends:
            self.wait()
            self.ends[progress.epoch] = (time.perf_counter(), progress.evaluations)


def main() -> None:
    request = Asked.read()
    use_persistent_cache()
    with np.load(request.given) as given:
        dataset, known = dataset_of(given)
    preset = Preset.from_mapping(known | {"probe_modes": 1})  # the data are coherent, and the peers use one mode, too
    backend, wait, peak_MB = backend_of(request.device)
    clock = WallClock(request, wait, peak_MB, own_version())
    kept = Kept(request.folder)
    began = time.perf_counter()
    first = refine(dataset, preset, backend=backend, history=kept)
    clock.report["first_run_s"] = time.perf_counter() - began
    marks = Marks(wait)
    began = time.perf_counter()
    result = refine(dataset, preset, backend=backend, on_progress=marks)
    clock.report["whole_run_s"] = time.perf_counter() - began
    clock.report |= {"reason": result.reason, "first_is_as_long": first.evaluations == result.evaluations}
    rows, _ = result.object_sampling_A
    clock.place(rows, [-value / rows for value in result.origin_A])
    epochs = sorted(set(kept.phases) & set(marks.ends))
    before = [marks.ends[epoch - 1] for epoch in epochs]
    clock.report["wall_s"] = [marks.ends[epoch][0] - start for epoch, (start, _) in zip(epochs, before, strict=True)]
    clock.report["passes"] = [marks.ends[epoch][1] - passes for epoch, (_, passes) in zip(epochs, before, strict=True)]
    for number, epoch in enumerate(epochs, 1):
        np.save(request.folder / f"phase_{number:04d}.npy", kept.phases[epoch])
    clock.write()


def own_version() -> str:
    """Version of ptylive; empty if the sources are used without being installed."""
    try:
        return version("ptylive")
    except PackageNotFoundError:
        return ""


def backend_of(device: str) -> tuple[str, Any, Any]:
    """Name of the backend; a function that waits for the GPU; peak memory of arrays on it."""
    if device == "cpu":
        return "cpu", lambda: None, lambda: None
    import cupy

    return "gpu", cupy.cuda.Device().synchronize, cupy_peak_MB


if __name__ == "__main__":
    main()
