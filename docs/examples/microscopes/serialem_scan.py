"""SerialEM: moves the beam over a grid, records a pattern at each point, sends it. Not tried on SerialEM itself.

    python serialem_scan.py --rows 32 --columns 32 --step_A 20 --energy_eV 300e3

Runs beside SerialEM, whose PythonServerPort is set, or as a script within it. Camera and exposure are those of Record.
This is slow (a pattern takes as long as a record) and needs a beam shift that is calibrated.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import serialem as sem

import ptylive
from ptylive.schema import Detector, Optics, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.streamer.wire import EndMessage

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
    points = patterns(asked.rows, asked.columns, asked.step_A)
    first = next(points)
    header, sent = header_of(asked, first), 0
    with contextlib.closing(points), ptylive.Sender(asked.to) as sender:
        sender.arm(header)
        try:
            for number, pattern in enumerate(itertools.chain([first], points)):
                sender.patterns(number, pattern[np.newaxis])
                sent += 1
        finally:
            sender.end(EndMessage(header.uid, sent, "complete" if sent == header.frames else "aborted"))
    return header.uid


def header_of(asked: argparse.Namespace, pattern: np.ndarray) -> ScanHeader:
    """What is known of the scan, once the first pattern is there."""
    scan = Scan(shape=(asked.rows, asked.columns))
    detector = Detector(shape=pattern.shape, dtype=pattern.dtype.str)
    header = ScanHeader(str(uuid.uuid4()), "serialem", scan.frames, scan, Optics(), detector)
    metadata: dict[str, Any] = {"scan_step_A": asked.step_A, "energy_eV": asked.energy_eV}
    if asked.semiangle_mrad is not None:
        metadata["convergence_semiangle_mrad"] = asked.semiangle_mrad
    return overlay(header, metadata)


def parser() -> argparse.ArgumentParser:
    """What can be asked."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rows", type=int, default=32)
    made.add_argument("--columns", type=int, default=32)
    made.add_argument("--step_A", type=float, required=True, help="distance of the points, Å")
    made.add_argument("--energy_eV", type=float, required=True)
    made.add_argument("--semiangle_mrad", type=float, help="convergence semi-angle")
    made.add_argument("--to", default="tcp://127.0.0.1:9999", help="where the server takes frames")
    made.add_argument("--port", type=int, default=48888, help="PythonServerPort of SerialEM")
    return made


if __name__ == "__main__":
    arguments = parser().parse_args()
    sem.ConnectToSEM(arguments.port, "127.0.0.1")
    run(arguments)
