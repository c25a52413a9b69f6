"""py4DSTEM's ptychography on a GPU, timed by the wall clock: INPUT.npz FOLDER JSON. Runs in py4DSTEM's environment.

As run_timed_py4dstem.py, with the requested batch and device; all iterations are in one call, so that plans and GPU
memory are kept. An iteration before the counted ones includes initial loading and planning.
"""

import sys
import types
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.peers.wall_clock import Asked, Enough, WallClock, cupy_peak_MB


def main() -> None:
    request = Asked.read()
    stand_in_for_hdf5plugin()
    import py4DSTEM

    from benchmarks.zoo.run_py4dstem import STEP, prepared

    on_card = request.device == "cuda"
    on_device(py4DSTEM.process.phase, "gpu" if on_card else "cpu")
    run = prepared(request.given)
    settings = {"reset": True, "max_batch_size": request.batch, "step_size": STEP, "seed_random": 0}
    settings |= {"progress_bar": False, "store_iterations": False}
    run.reconstruct(num_iter=1, **settings)
    clock = WallClock(
        request, waiting() if on_card else lambda: None, cupy_peak_MB if on_card else lambda: None, version("py4DSTEM")
    )
    clock.place(float(run.sampling[0]), host(run._positions_px[0]))  # noqa: SLF001
    constrain = run._constraints  # noqa: SLF001  (the last thing that an iteration does)

    def timed(*arguments: Any, **options: Any) -> Any:
        found = constrain(*arguments, **options)
        clock.lap(lambda: phase_of(found[0]))
        return found

    run._constraints = timed  # noqa: SLF001
    clock.start()
    try:
        run.reconstruct(num_iter=request.iterations, **settings)
    except Enough:
        pass


def phase_of(found: Any) -> np.ndarray:
    """Object potential (slices, y, x) as a numpy array, from either device."""
    array = host(found)
    return np.reshape(array, (-1, *array.shape[-2:]))


def host(array: Any) -> np.ndarray:
    """A numpy array of an array on either device."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def waiting() -> Any:
    """Function that waits for the GPU."""
    import cupy

    return cupy.cuda.Device().synchronize


def on_device(phase: Any, device: str) -> None:
    """Run the zoo's reconstructions on another device, without changing its runner, on which kept results depend."""
    for name in ("SingleslicePtychography", "MultislicePtychography"):
        setattr(phase, name, _on_chosen_device(getattr(phase, name), device))


def _on_chosen_device(factory: Any, device: str) -> Any:
    return lambda **options: factory(**{**options, "device": device})


def stand_in_for_hdf5plugin() -> None:
    """Stand-in: only files that are not read here require it."""
    if find_spec("hdf5plugin") is None:
        sys.modules["hdf5plugin"] = types.ModuleType("hdf5plugin")


if __name__ == "__main__":
    main()
