"""Close the loop: take a scan, ask what to correct, correct it, until the uncertainty says that it is enough.

    python focus_loop.py --defocus 300 --astigmatism 80 --angle 29 --gain 0.9

drives a simulated microscope. For your own give `close_loop` an object with the three methods of :class:`Microscope`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

import ptylive
from ptylive.schema.advice import Advice, Verdict, advise

SCAN: Mapping[str, Any] = {
    "specimen": "atoms",
    "material": "Au",
    "coverage": 0.4,
    "energy_eV": 200e3,
    "convergence_semiangle_mrad": 30.0,
    "scan_shape": (48, 48),
    "scan_step_A": 0.6,
    "detector_shape": (32, 32),
    "detector_pixel_mrad": 2.0,
    "oversampling": 2,
    "reach": 1,
    "electrons_per_pattern": 1000,
}
"""Of the simulated microscope (docs/simulate.md): gold atoms at random, as on an amorphous film."""
SIGNIFICANT = 1.0
"""Uncertainties that a value exceeds to be corrected: fewer than for an operator, since the next scan looks again."""


class Microscope(Protocol):
    """What the loop needs of a microscope."""

    def scan(self) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Patterns (rows, columns, Qy, Qx), and what is known of them: energy_eV, scan_step_A, rotation_deg, …"""
        ...

    def correct(self, changes: Mapping[str, float]) -> None:
        """Add to the aberrations C10, C12a, C12b, …, in Å (docs/conventions.md)."""
        ...

    def wait(self, seconds: float) -> None:
        """Let corrections take effect."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How the loop ended, and what was advised after each scan."""

    words: str
    steps: tuple[Advice, ...]

    @property
    def corrections(self) -> int:
        """How often the microscope was corrected."""
        return sum(step.verdict is Verdict.CORRECT for step in self.steps)


def close_loop(microscope: Microscope, most_scans: int = 3, settle_s: float = 0.0) -> Outcome:
    """Correct what is above its uncertainty, after each of at most ``most_scans`` scans.

    settle_s: how long corrections take. Too short a time corrects the same twice.
    """
    steps: list[Advice] = []
    while len(steps) < most_scans:
        patterns, metadata = microscope.scan()
        maps = ptylive.open_scan(patterns, **metadata).reconstruct(["bf"])
        advice = advise(maps.calibration, SIGNIFICANT)
        steps.append(advice)
        if advice.verdict is not Verdict.CORRECT:
            return Outcome(str(advice.verdict), tuple(steps))
        microscope.correct(advice.correction)
        microscope.wait(settle_s)
    return Outcome(f"corrected after each of {most_scans} scans", tuple(steps))


def main() -> None:
    """Correct a simulated microscope, and say what was advised and what is left."""
    from ptylive.simulators.microscope import SimulatedMicroscope

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = {"defocus": 300.0, "astigmatism": 80.0, "angle": 29.0, "gain": 1.0, "delay": 0.0, "electrons": 1000.0}
    for name, value in options.items():
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--specimen", default=SCAN["specimen"])
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    double = 2 * math.radians(asked.angle)
    scan = dict(SCAN)
    if asked.specimen != scan["specimen"]:
        scan = {name: value for name, value in scan.items() if name not in ("material", "coverage")}
        scan["specimen"] = asked.specimen
    microscope = SimulatedMicroscope(
        {
            "C10": -asked.defocus,
            "C12a": asked.astigmatism * math.cos(double),
            "C12b": asked.astigmatism * math.sin(double),
        },
        {**scan, "electrons_per_pattern": asked.electrons},
        gain=asked.gain,
        delay_s=asked.delay,
        seed=asked.seed,
    )
    outcome = close_loop(microscope, settle_s=asked.delay)
    for number, advice in enumerate(outcome.steps, 1):
        sys.stdout.write(f"scan {number}: {advice.line}\n")
    state = microscope.aberrations
    left = f"C10 {state['C10']:.1f} Å, astigmatism {math.hypot(state['C12a'], state['C12b']):.1f} Å"
    sys.stdout.write(f"{outcome.words}; left: {left}\n")


if __name__ == "__main__":
    main()
