"""What the server says of itself, as the dashboard reads it: typed, and forgiving about what is missing."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ptylive.schema.units import mrad_to_invA, wavelength_A

FINAL_STATES = frozenset({"complete", "incomplete", "aborted", "failed"})


class Message(BaseModel):
    """Unknown keys are ignored, infinities are let through: a status must never fail to be shown."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True)


class WaitingRun(Message):
    """A refinement in line."""

    run: str
    uid: str = ""
    series: str = ""


class RefinementSummary(Message):
    """The refinement as the status map tells it."""

    state: str = "none"
    run: str | int | None = None
    epoch: int | None = None
    loss: float | None = None
    message: str | None = None
    place: str = ""
    """Where it runs, in words; empty where that is the server's machine as it was asked."""
    workers: int = 0
    waiting: list[WaitingRun] = Field(default_factory=list)


class Place(Message):
    """Where refinements may run, and what people call that."""

    name: str
    words: str = ""


class ScanSummary(Message):
    """Shape (rows, columns) and step (row, column) in Å of the scan."""

    shape: tuple[int, int] | None = None
    step_A: tuple[float, float] | None = None


class OpticsSummary(Message):
    """The beam."""

    energy_eV: float | None = None
    convergence_semiangle_mrad: float | None = None


class CalibrationEntry(Message):
    """One calibrated value with its origin."""

    value: Any = None
    origin: str = ""
    uncertainty: float | None = None


class Dose(Message):
    """Mean dose of the scan."""

    per_A2: float | None = None
    unit: str = "counts"
    saturated_frames: int = 0
    curve: dict[str, Any] | None = None
    """What it brings, and more would, as `dose` events tell it."""


class Drift(Message):
    """Of a scan against the first one of its place, and what is too much; Å."""

    A: float
    bound_A: float
    since: str = ""


class DetectorEntry(Message):
    """A virtual detector, pixels of the recorded pattern."""

    name: str
    center_px: tuple[float, float] | None = None
    """None: one that is told in words."""
    inner_px: float = 0.0
    outer_px: float = 1.0
    what: str = ""


class ServerState(Message):
    """The status map of the control protocol (docs/protocol.md); everything has a default."""

    state: str = "waiting"
    series: str | None = None
    uid: str | None = None
    expected: int | None = None
    received: int | None = None
    frames: int | None = None
    lost: int | None = None
    refused: int | None = None
    """Frames or messages of this scan."""
    late: int | None = None
    duplicates: int | None = None
    rejected: dict[str, int] = Field(default_factory=dict)
    frames_per_s: float | None = None
    lag_s: float | None = None
    ring_fill: float | None = None
    recording: str | None = None
    results: str | None = None
    record: bool | None = None
    data: str = ""
    """Where frames are awaited."""
    protocol: str = "native"
    refinement: RefinementSummary = Field(default_factory=RefinementSummary)
    places: list[Place] = Field(default_factory=list)
    """The first is the one that is taken where none is asked for."""
    scan: ScanSummary = Field(default_factory=ScanSummary)
    optics: OpticsSummary = Field(default_factory=OpticsSummary)
    calibration: dict[str, CalibrationEntry] = Field(default_factory=dict)
    pinned: dict[str, Any] = Field(default_factory=dict)
    contradicted: dict[str, Any] = Field(default_factory=dict)
    """What the header says of values that are pinned otherwise."""
    given: dict[str, str] = Field(default_factory=dict)
    """Who gave a value that was given: typed, sent or configured."""
    map_settings: dict[str, float] = Field(default_factory=dict)
    detectors: list[DetectorEntry] | None = None
    dose: Dose = Field(default_factory=Dose)
    drift: Drift | None = None
    message: str | None = None

    @property
    def progress(self) -> float:
        """Part of the scan that is on the maps, 0 to 1."""
        done = self.frames if self.frames is not None else self.received
        if not self.expected or done is None:
            return 0.0
        return min(1.0, max(0.0, done / self.expected))

    @property
    def seconds_left(self) -> float | None:
        """Time until the scan ends at the present rate; None when it is not scanning or the rate is unknown."""
        if self.state != "scanning" or not self.expected or not self.frames_per_s or self.received is None:
            return None
        return max(0.0, (self.expected - self.received) / self.frames_per_s)

    @property
    def aperture_invA(self) -> float | None:
        """Radius of the probe-forming aperture, 1/Å, where energy and semi-angle are known."""
        energy, angle = self.optics.energy_eV, self.optics.convergence_semiangle_mrad
        return mrad_to_invA(angle, wavelength_A(energy)) if energy and angle else None

    def calibrated(self, name: str) -> Any:
        """A calibration value, or None."""
        entry = self.calibration.get(name)
        return None if entry is None else entry.value


class RefinementState(Message):
    """Progress of a refinement without its pictures, which travel as pictures."""

    uid: str | None = None
    run: str | int | None = None
    state: str = "none"
    phase: Literal["trial", "sweep", "lbfgs", "dgp"] | str | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    losses: list[float] = Field(default_factory=list)
    phases: list[str] = Field(default_factory=list)
    stages: list[int] = Field(default_factory=list)
    """Epochs before each stage that has begun; empty where there is only one."""
    falling: bool = False
    """Whether a run that is done had not come to rest."""
    seconds: float | None = None
    seconds_left: float | None = None
    evaluations: float | None = None
    """Passes over the whole data so far, in evaluations of loss and gradient."""
    message: str | None = None


class LogLine(Message):
    """One line of the server's log."""

    time: float = Field(default_factory=time.time)
    level: str = "info"
    message: str = ""
