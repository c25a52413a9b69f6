"""The server's state as the dashboard reads it: typed, and tolerant of missing fields."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ptylive.schema.calibration import Origin
from ptylive.schema.units import mrad_to_invA, wavelength_A

FINAL_STATES = frozenset({"complete", "incomplete", "aborted", "failed"})
BUSY = frozenset({"queued", "running", "stopping"})
"""States of a refinement that has not ended."""


class Message(BaseModel):
    """Unknown keys are ignored and infinities are accepted: showing a status must never fail."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True)


class WaitingRun(Message):
    """A refinement waiting in line."""

    run: str
    uid: str = ""
    series: str = ""


class RefinementSummary(Message):
    """The refinement as the status map reports it."""

    state: str = "none"
    run: str | int | None = None
    uid: str = ""
    series: str = ""
    """The scan that is, or was, refined; it need not be the one on display."""
    epoch: int | None = None
    loss: float | None = None
    message: str | None = None
    place: str = ""
    """Where the run is, in words; empty if it is on the server's machine, as requested."""
    workers: int = 0
    waiting: list[WaitingRun] = Field(default_factory=list)


class Place(Message):
    """A place where refinements may run, and its label."""

    name: str
    words: str = ""


class ScanSummary(Message):
    """Shape (rows, columns) and step (row, column) in Å of the scan."""

    shape: tuple[int, int] | None = None
    step_A: tuple[float, float] | None = None


class OpticsSummary(Message):
    """Properties of the beam."""

    energy_eV: float | None = None
    convergence_semiangle_mrad: float | None = None


class CalibrationEntry(Message):
    """A calibrated value with its origin."""

    value: Any = None
    origin: str = ""
    uncertainty: float | None = None


class Dose(Message):
    """Mean dose of the scan."""

    per_A2: float | None = None
    unit: str = "counts"
    saturated_frames: int = 0
    curve: dict[str, Any] | None = None
    """Resolution gained by the dose, and by more, as `dose` events report it."""


class Drift(Message):
    """Drift of a scan against the first one of its place, and the bound above which it is too large; Å."""

    A: float
    bound_A: float
    since: str = ""


class DetectorEntry(Message):
    """A virtual detector, in pixels of the recorded pattern."""

    name: str
    center_px: tuple[float, float] | None = None
    """None for a detector defined in words."""
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
    """Number of frames or messages of this scan that were refused."""
    late: int | None = None
    duplicates: int | None = None
    rejected: dict[str, int] = Field(default_factory=dict)
    frames_per_s: float | None = None
    silent_s: float | None = None
    """How long a scan in progress has been without new frames; None while that is ordinary."""
    lag_s: float | None = None
    ring_fill: float | None = None
    recording: str | None = None
    recording_state: str = ""
    results: str | None = None
    record: bool | None = None
    data: str = ""
    """Address at which frames are awaited."""
    protocol: str = "native"
    refinement: RefinementSummary = Field(default_factory=RefinementSummary)
    places: list[Place] = Field(default_factory=list)
    """The first place is used if none is requested."""
    scan: ScanSummary = Field(default_factory=ScanSummary)
    optics: OpticsSummary = Field(default_factory=OpticsSummary)
    calibration: dict[str, CalibrationEntry] = Field(default_factory=dict)
    pinned: dict[str, Any] = Field(default_factory=dict)
    contradicted: dict[str, Any] = Field(default_factory=dict)
    """Values of the header that differ from pinned values."""
    given: dict[str, str] = Field(default_factory=dict)
    """Who gave each given value: typed, sent or configured."""
    map_settings: dict[str, float] = Field(default_factory=dict)
    detectors: list[DetectorEntry] | None = None
    dose: Dose = Field(default_factory=Dose)
    drift: Drift | None = None
    message: str | None = None
    restarts: int | None = None
    """How often the receiving process has died and been restarted."""
    recovering: bool = False
    """Whether the server is still reading what an earlier process has received."""

    @property
    def silent(self) -> bool:
        """Whether a scan in progress has been without frames for unusually long."""
        return self.state == "scanning" and self.silent_s is not None

    @property
    def progress(self) -> float:
        """Fraction of the scan that is on the maps, 0 to 1."""
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
        """Radius of the probe-forming aperture in 1/Å; None if energy or semi-angle is unknown."""
        energy, angle = self.optics.energy_eV, self.optics.convergence_semiangle_mrad
        return mrad_to_invA(angle, wavelength_A(energy)) if energy and angle else None

    @property
    def of_patterns(self) -> bool:
        """Whether patterns were examined: then at least the disc radius is found or assumed; before, all is given."""
        return any(entry.origin != Origin.GIVEN for entry in self.calibration.values())

    def calibrated(self, name: str) -> Any:
        """A calibration value, or None."""
        entry = self.calibration.get(name)
        return None if entry is None else entry.value


RESTARTING = "restarting"
"""State on the page of a scan whose receiving process has died, until its successor has read it from the disk."""
_OF_THE_SERVER = (
    "rejected",
    "lag_s",
    "ring_fill",
    "record",
    "data",
    "protocol",
    "refinement",
    "places",
    "pinned",
    "map_settings",
    "message",
    "restarts",
    "recovering",
)


def after_restart(before: ServerState, state: ServerState) -> ServerState:
    """Return what to show of ``state``: the last scan stays while a restarted receiving process knows no scan."""
    if state.uid or not before.uid or not state.restarts:
        return state
    unfinished = RESTARTING if state.recovering else "waiting"
    word = before.state if before.state in FINAL_STATES else unfinished
    return before.model_copy(update={**{name: getattr(state, name) for name in _OF_THE_SERVER}, "state": word})


class RefinementState(Message):
    """Progress of a refinement without its arrays, which travel as pictures."""

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
    """Number of epochs before each stage that has begun; empty if there is only one stage."""
    falling: bool = False
    """Whether the loss was still falling when the run ended."""
    converged: bool | None = None
    """Whether a run that is done had converged; None: unknown."""
    resumable: bool = True
    """Whether a run that was stopped or failed can be continued; servers of earlier versions do not say."""
    seconds: float | None = None
    seconds_left: float | None = None
    evaluations: float | None = None
    """Passes over all data so far, in evaluations of loss and gradient."""
    message: str | None = None


class LogLine(Message):
    """A line of the server's log."""

    arrived: float = Field(default_factory=time.monotonic)
    """By a clock that nobody sets; that of the server may differ, and both may be corrected."""
    time: float = Field(default_factory=time.time)
    level: str = "info"
    message: str = ""
