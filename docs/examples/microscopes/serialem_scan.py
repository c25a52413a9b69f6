"""SerialEM: moves the beam over a grid, records a pattern at each point, sends it. Not tried on SerialEM itself.

    python serialem_scan.py --rows 32 --columns 32 --step_A 20 --energy_eV 300e3

Runs beside SerialEM, whose PythonServerPort is set, or as a script within it. Camera and exposure are those of Record.
This is slow (a pattern takes as long as a record) and needs a beam shift that is calibrated.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import serialem as sem

import ptylive

A_PER_UM = 1e4


def patterns(rows: int, columns: int, step_A: float) -> Iterator[np.ndarray]:
    """A pattern (Qy, Qx) for each point, row by row; the beam ends where it began, whatever happens."""
    start, step_um = sem.ReportBeamShift()[:2], step_A / A_PER_UM
    try:
        for row in range(rows):
            for column in range(columns):
                sem.SetBeamShift(*start)
                sem.MoveBeamByMicrons(column * step_um, row * step_um)
                sem.Record()
                yield np.asarray(sem.bufferImage("A"))
    finally:
        sem.SetBeamShift(*start)


def run(asked: argparse.Namespace) -> str:
    """Record a scan and send it; its uid. A scan that is broken off ends as aborted."""
    metadata: dict[str, Any] = {"scan_step_A": asked.step_A, "energy_eV": asked.energy_eV}
    if asked.semiangle_mrad is not None:
        metadata["convergence_semiangle_mrad"] = asked.semiangle_mrad
    points = patterns(asked.rows, asked.columns, asked.step_A)
    first = next(points)
    with contextlib.closing(points), ptylive.Sender(asked.to, control=asked.control) as sender:
        uid = sender.open((asked.rows, asked.columns), first.shape, first.dtype, series="serialem", **metadata)
        for number, pattern in enumerate(itertools.chain([first], points)):
            sender.send(number, pattern)
    return uid


def parser() -> argparse.ArgumentParser:
    """What can be asked."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rows", type=int, default=32)
    made.add_argument("--columns", type=int, default=32)
    made.add_argument("--step_A", type=float, required=True, help="distance of the points, Å")
    made.add_argument("--energy_eV", type=float, required=True)
    made.add_argument("--semiangle_mrad", type=float, help="convergence semi-angle")
    made.add_argument("--to", default="tcp://127.0.0.1:9999", help="where the server takes frames")
    made.add_argument("--control", help="where it takes commands: with it, what it lost is sent again")
    made.add_argument("--port", type=int, default=48888, help="PythonServerPort of SerialEM")
    return made


if __name__ == "__main__":
    arguments = parser().parse_args()
    sem.ConnectToSEM(arguments.port, "127.0.0.1")
    run(arguments)
