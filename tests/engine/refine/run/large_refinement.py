"""A large scan refined in its own process; prints its peak memory in bytes.

Patterns come from a view, as from a file. Every evaluation uses a few patterns only, so that the run takes a minute
rather than an hour; arrays have their full size. ``--check`` also prints the expected memory after the peak;
``--bright`` uses counts that do not fit in a byte; ``--small`` uses few patterns, to leave compiled code behind.
"""

import resource
import sys

import numpy as np

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import check, refine
from ptylive.engine.refine.data.pattern_view import PatternView
from ptylive.engine.refine.solvers import objective
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset

SIDE, PIXELS, SLICES = 16 if "--small" in sys.argv else 128, 256, 8
EVERY = 256
GIVEN = {
    "energy_eV": 200e3,
    "convergence_semiangle_mrad": 20.0,
    "detector_pixel_invA": 0.04,
    "C10": -100.0,
    "rotation_deg": 0.0,
}


def dataset() -> Dataset:
    count = SIDE * SIDE
    block = np.random.default_rng(0).poisson(2, (64, PIXELS, PIXELS)).astype(np.uint16)
    block[0, 0, 0] = 300 if "--bright" in sys.argv else 0
    view = PatternView((count, PIXELS, PIXELS), np.dtype(np.uint16), lambda index: block[index % 64])
    points = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(-1, 2)
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in GIVEN.items()})
    centre, bad = np.array([128.0, 128.0]), np.zeros((PIXELS, PIXELS), bool)
    return Dataset(view.as_array(), np.arange(count), 0.4 * points, bad, centre, (SIDE, SIDE), calibration)


def main() -> None:
    use_persistent_cache()
    whole = CompiledMultislice.loss_and_gradient

    def thinned(self, planes, probe, indices=None, **keywords):  # type: ignore[no-untyped-def]
        chosen = np.arange(SIDE * SIDE) if indices is None else indices
        return whole(self, planes, probe, chosen[::EVERY], **keywords)

    CompiledMultislice.loss_and_gradient = thinned  # type: ignore[method-assign]
    objective.PORTION = 1 << 34  # pauses inside an evaluation cost more than the few patterns it uses
    preset = Preset(num_slices=SLICES, total_thickness_A=160.0, sweeps=1, epoch_max=13, batch_size=4096)
    data = dataset()
    expected = check(data, preset, TrialContext("cpu")).memory_bytes if "--check" in sys.argv else 0
    result = refine(data, preset, backend="cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(peak, expected, *result.object.shape, len(result.loss))


if __name__ == "__main__":
    main()
