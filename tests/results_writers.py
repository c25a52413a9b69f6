"""Writers of one results file, to be run in separate processes."""

import time
from pathlib import Path

import numpy as np

from ptylive.engine import results_file
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.results import Run, add_refinement, write_maps
from ptylive.schema import Calibration, LiveMap
from ptylive.schema.preset import Preset

SETTINGS = {"version": "test"}


def small_result(number: float, side: int = 16) -> RefineResult:
    """A refinement whose object identifies it."""
    return RefineResult(
        object=np.full((1, 1, side, side), number, np.complex64),
        object_sampling_A=(0.2, 0.2),
        slice_thickness_A=(10.0,),
        origin_A=(0.0, 0.0),
        probe=np.ones((1, 1, 8, 8), np.complex64),
        positions_A=np.indices((2, 2)).reshape(2, -1).T.astype(float),
        loss=np.array([number]),
        phases=("sweep",),
        seconds=np.ones(1),
        evaluations=1.0,
        state="done",
        algorithm="lsq_sqrt",
        reason="",
        message="",
        backend="cpu",
    )


def save(path: Path, value: float = 1.0, side: int = 32) -> None:
    maps = [
        LiveMap(name, np.full((side, side), value, np.float32), "rad", (1.0, 1.0), 4, "bf") for name in ("bf", "obf")
    ]
    write_maps(path, maps, np.ones((side, side), bool), Calibration(), SETTINGS)


def refine(path: Path, number: float, name: str = "", side: int = 16):
    run = Run(name or results_file.reserve_run(path), Preset(), small_result(number, side))
    return add_refinement(path, run, Calibration(), SETTINGS)


def refine_many(path: Path, count: int) -> None:
    for number in range(count):
        refine(path, number)


def save_until(path: Path, stop: Path) -> None:
    while not stop.exists():
        save(path)


def append_for_ever(path: Path, ready: Path, side: int) -> None:
    """Write until killed."""
    ready.touch()
    for number in range(10**6):
        refine(path, number, side=side)
        save(path, number)


def hold(path: Path, ready: Path) -> None:
    with results_file.locked(path.resolve(), 10.0):
        ready.touch()
        time.sleep(600)
