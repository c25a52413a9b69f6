"""A simulated microscope for closed loops: aberrations as its state, scans of a simulated specimen, corrections that
are applied with a gain and after a delay.

    microscope = SimulatedMicroscope({"C10": -300.0, "C12a": 80.0}, gain=0.9, delay_s=2.0)
    patterns, metadata = microscope.scan()
    microscope.correct({"C10": 290.0, "C12a": -78.0})
    microscope.wait(2.0)

It has its own clock, which advances while it scans and during calls of ``wait``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.memory import check_fits
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import MetadataError
from ptylive.schema.model import Array
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.simulation.settings import SimulationSettings, located

MOST_CORRECTION_A = 1e8
"""Limit on corrections: no corrector goes farther."""
MOST_WAITING = 1000
"""Limit on corrections that have not taken effect yet."""
SENT_VALUES = ("energy_eV", "convergence_semiangle_mrad", "scan_step_A", "rotation_deg", "detector_transform")
"""Values a microscope knows about itself, in addition to its detector's pixel; its rotation was calibrated once."""
OWN_SETTINGS = {*ABERRATION_NAMES, "defocus_A", "astigmatism_A", "astigmatism_deg", "Cs_A", "seed", "tell"}
"""Settings of a simulation that are the microscope's state."""
MICROSECOND_S = 1e-6
DEFAULT_DWELL_US = 1000.0


class TakenScan(NamedTuple):
    """Patterns (rows, columns, Qy, Qx) as recorded, and the microscope's metadata for them, for `ptylive.open_scan`."""

    patterns: Array
    metadata: dict[str, Any]


class _Correction(NamedTuple):
    due_s: float
    changes: dict[str, float]


@dataclass
class SimulatedMicroscope:
    """Aberrations changed by corrections, and scans made with them.

    ``aberrations``: Krivanek coefficients, Å, the initial state. ``settings`` are those of a simulation
    (docs/simulate.md) except its aberrations. ``gain``: the fraction of a correction that is carried out; ``delay_s``:
    delay after the request. Every scan has its own noise and, for random specimens, another place, according to
    ``seed``. Raises MetadataError for impossible values.
    """

    aberrations: dict[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    gain: float = 1.0
    delay_s: float = 0.0
    seed: int = 1
    clock_s: float = field(default=0.0, init=False)
    scans: int = field(default=0, init=False)
    _waiting: list[_Correction] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Refuse values with which no scan could be made."""
        self.aberrations = {**dict.fromkeys(ABERRATION_NAMES, 0.0), **_checked(self.aberrations)}
        for name, value, least in (("gain", self.gain, -math.inf), ("delay_s", self.delay_s, 0.0)):
            if not (math.isfinite(value) and value >= least):
                raise MetadataError(
                    f"{name} = {value!r} is impossible", f"give a {name} of at least {max(least, 0.0):g}"
                )
        if owned := sorted(OWN_SETTINGS & set(located(self.settings))):
            raise MetadataError(
                f"{owned[0]} is controlled by the microscope", "give aberrations and seed separately from the settings"
            )

    def scan(self) -> TakenScan:
        """Take a scan with the current aberrations; the clock advances during the scan."""
        self._settle()
        wanted = self.settings_now()
        self.scans += 1
        made = SimulatedScan.of(wanted, Path("scan"))
        rows, cols = wanted.scan.scan_shape
        if made.header.frames != rows * cols:
            raise MetadataError("a microscope in a loop does not support flyback frames", "leave out flyback_frames")
        needed = float(made.header.frames) * made.readout.dtype.itemsize * math.prod(wanted.detector.detector_shape)
        check_fits(needed, f"a scan of {made.header.frames} patterns", "use fewer points")
        patterns = made.frames(np.arange(made.header.frames))
        self.clock_s += made.header.frames * (wanted.scan.dwell_time_us or DEFAULT_DWELL_US) * MICROSECOND_S
        metadata = {name: getattr(_group_of(wanted, name), name) for name in SENT_VALUES}
        metadata["detector_pixel_mrad"] = made.header.detector.pixel_mrad
        return TakenScan(patterns.reshape(rows, cols, *patterns.shape[1:]), metadata)

    def correct(self, changes: Mapping[str, float]) -> None:
        """Request a change of some coefficients, Å. Raises MetadataError for an unknown or impossible one."""
        if len(self._waiting) >= MOST_WAITING:
            raise MetadataError(f"{MOST_WAITING} corrections are already waiting", "wait until they have taken effect")
        self._waiting.append(_Correction(self.clock_s + self.delay_s, _checked(changes)))
        self._settle()

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises MetadataError for negative times."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise MetadataError(f"a wait of {seconds!r} s is impossible", "wait 0 s or longer")
        self.clock_s += seconds
        self._settle()

    def _settle(self) -> None:
        """Carry out the corrections that are due."""
        for correction in self._waiting:
            if correction.due_s <= self.clock_s:
                for name, change in correction.changes.items():
                    self.aberrations[name] += self.gain * change
        self._waiting = [pending for pending in self._waiting if pending.due_s > self.clock_s]

    def settings_now(self) -> SimulationSettings:
        """Settings of a scan taken now."""
        state = {name: value for name, value in self.aberrations.items() if name not in ("C10", "C30")}
        focus = {"defocus_A": -self.aberrations["C10"], "Cs_A": self.aberrations["C30"]}
        return SimulationSettings.of({**located(self.settings), **state, **focus, "seed": self.seed + self.scans})


def _checked(changes: Mapping[str, float]) -> dict[str, float]:
    """Return coefficients under known names. Raises MetadataError."""
    for name, value in changes.items():
        if name not in ABERRATION_NAMES:
            raise MetadataError(f"no corrector for {name!r}", f"use one of {', '.join(ABERRATION_NAMES)}")
        if not abs(value) <= MOST_CORRECTION_A:
            raise MetadataError(f"{name} = {value!r} Å is impossible", f"at most {MOST_CORRECTION_A:g} Å")
    return {name: float(value) for name, value in changes.items()}


def _group_of(settings: SimulationSettings, name: str) -> Any:
    return next(group for group in (settings.probe, settings.scan, settings.detector) if hasattr(group, name))
