"""Preparation of trials from a scan and a request: its maps, the settings all trials share, and the ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.application.offline import method_of, refinable
from ptylive.application.tuning.ranges import Range, RequestedRange, ranges
from ptylive.application.tuning.trials import FORMAT, SETTINGS
from ptylive.application.tuning.tunables import SLICES, THICKNESS, metadata_of, settings_of
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide, measure
from ptylive.engine.refine.tuning.depth.depth_choice import with_given_depth
from ptylive.engine.refine.tuning.held_out import central_part
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.trial_settings import of_trials
from ptylive.engine.refine.validation.settings_trial import Judge, check_enough
from ptylive.engine.refine.validation.trial_size import PATTERNS, SWEEPS
from ptylive.schema import Calibration, MetadataError
from ptylive.server.cluster.transfer import FileIdentity
from ptylive.server.refinement.maps_first import with_maps
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.streamer.source import open_source


@dataclass(frozen=True)
class Wanted:
    """A requested tuning. values: metadata that override the file's; defaults: used where the file has none."""

    scan: Path
    folder: Path
    over: tuple[RequestedRange, ...]
    preset: Preset
    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    judge: Judge = Judge.HELD_OUT
    patterns: int = PATTERNS
    sweeps: int = SWEEPS
    backend: str = "auto"
    threads: int = 1
    command_line: str = ""

    @property
    def results(self) -> Path:
        """Results file with the maps of the scan."""
        return (self.folder / f"{self.scan.stem}_results.h5").absolute()


@dataclass(frozen=True)
class Begun:
    """A prepared tuning: everything needed for trials."""

    wanted: Wanted
    job: RefineJob
    over: tuple[Range, ...]
    part: Dataset
    """The patterns of the trials, available while their file is open; their metadata remain."""
    plan: Mapping[str, Any]
    """What all trials have in common, as plain values; trials with another plan are not comparable."""
    notes: tuple[str, ...]
    thick: Preset
    """The preset with its number of slices."""

    @property
    def start(self) -> dict[str, Any] | None:
        """Current values, if every one exists and lies inside its range."""
        values = {varied.name: varied.start for varied in self.over}
        return values if all(varied.holds(varied.start) for varied in self.over) else None

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a refinement with these values: those of the preset, updated."""
        explicit = self.wanted.preset.model_dump(exclude_unset=True, mode="json")
        own = {name: value for name, value in settings_of(self.thick, values).items() if value is not None}
        if THICKNESS in own or SLICES in own:
            explicit.pop("slice_distances_A", None)
            own.setdefault(SLICES, self.thick.object.slices)
        searches = {"defocus_A": "scan_defocus", THICKNESS: "scan_thickness", "rotation_deg": "scan_rotation"}
        return {**explicit, **own, **{search: False for name, search in searches.items() if name in values}}

    @property
    def details(self) -> dict[str, str]:
        """How the result was found, for people."""
        wanted = self.wanted
        judged = "loss of held-out patterns" if wanted.judge is Judge.HELD_OUT else "correlation of half data"
        varied = [f"{varied_range.title} {_spoken(varied_range)}" for varied_range in self.over]
        preset = self.job.preset
        return {
            "scan": str(wanted.scan),
            "varied": "; ".join(varied),
            "judged by": judged,
            "a trial": f"{len(self.part.patterns)} patterns from the middle of the scan, {wanted.sweeps} sweeps",
            "slices": str(preset.object.slices),
            "probe modes": str(preset.probe.probe_modes),
            "command": wanted.command_line,
        }

    def corrections(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return metadata with these values."""
        return metadata_of(self.part, values)


def _spoken(varied: Range) -> str:
    """Return in words how far a value is varied, and where it starts."""
    if varied.choices:
        return " or ".join(str(choice) for choice in varied.choices)
    begins = "" if varied.start is None else f", starting at {varied.spoken(varied.start)}"
    return f"from {varied.low:.4g} to {varied.spoken(varied.high)}{begins}"


def begin(wanted: Wanted, tell: Callable[[str], None], should_stop: Callable[[], bool]) -> Begun:
    """Read the scan, make its maps unless an earlier call did, and decide what all trials share.

    Raises InputFileError for a file that is damaged or not a scan, MetadataError for missing optics and impossible
    ranges, PtyliveError if no map can be made or patterns are too few, OSError if the folder cannot be written.
    """
    wanted.folder.mkdir(parents=True, exist_ok=True)
    preset = wanted.preset.final.model_copy(update={"sequence": None})
    job = RefineJob(
        recording=wanted.scan.absolute(),
        results=wanted.results,
        run="",
        preset=preset,
        calibration=Calibration(),
        values=wanted.values,
        backend=wanted.backend,
        threads=wanted.threads,
        resume=True,  # use existing maps
        command_line=wanted.command_line,
        methods=(method_of(preset.start.start_map),),
        defaults=wanted.defaults,
        ends_at_once=True,
    )

    remarks: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if "message" in message:
            tell(str(message["message"]))
        if message["kind"] == "remark":
            remarks.append(str(message["message"]))

    job = with_maps(job, hear, should_stop)
    with open_source(job.recording, job.values) as source:
        part = central_part(refinable(source, job.calibration), wanted.patterns)
        check_enough(part)
        thick, notes = _with_slices(part, preset, wanted.over)
        over = ranges(wanted.over, part, thick)
        base = _of_trials(part, thick, over)
    trial_settings = {"patterns": wanted.patterns, "sweeps": wanted.sweeps, "judge": str(wanted.judge)}
    identity = FileIdentity.of(job.recording)
    plan = {
        "format": FORMAT,
        "scan": [identity.file_bytes, identity.sampled],
        "over": [varied.to_plain() for varied in over],
        SETTINGS: base.model_dump(mode="json"),
        "calibration": job.calibration.to_plain(),
        **trial_settings,
    }
    job = replace(job, preset=base, start=None, methods=(), defaults={}, resume=False, trials=trial_settings)
    return Begun(wanted, job, over, part, plan, (*remarks, *notes), thick)


def _with_slices(part: Dataset, preset: Preset, over: Sequence[RequestedRange]) -> tuple[Preset, list[str]]:
    """Return the preset with a number of slices, which trials share unless it is tuned, and notes about it."""
    requested = {varied.tunable.name: varied for varied in over}
    thickness = requested.get(THICKNESS)
    known = preset.object.total_thickness_A is not None or preset.object.slice_distances_A is not None
    if thickness is not None and not known and thickness.low is not None and thickness.high is not None:
        middle = (max(thickness.low, thickness.high / 10) * thickness.high) ** 0.5
        preset = preset.model_copy(update={THICKNESS: middle})
        known = True
    if not known and (thickness is not None or SLICES in requested):
        raise MetadataError(
            "no thickness is known to start from", "give --set total_thickness_A=…, or thickness=LOW:HIGH"
        )
    if thickness is not None and preset.object.num_slices == "auto" and preset.object.slice_distances_A is None:
        return _with_slices_for_range(part, preset, thickness), []
    preset = with_given_depth(part, preset)
    if preset.object.num_slices == "auto":
        note = (
            "one slice is used: if the specimen is thick, give num_slices and total_thickness_A, or tune the thickness"
        )
        return preset.model_copy(update={SLICES: 1}), [note]
    if thickness is not None and preset.object.slices == 1:
        preset = preset.model_copy(update={SLICES: 2})
    return preset, []


def _with_slices_for_range(part: Dataset, preset: Preset, thickness: RequestedRange) -> Preset:
    """Return the preset with slices for a thickness halfway up the range: too few would fit at another defocus."""
    (found,) = ranges((thickness,), part, preset.model_copy(update={SLICES: 2}))
    thick = with_given_depth(part, preset.model_copy(update={THICKNESS: (found.start * found.high) ** 0.5}))
    return preset.model_copy(update={SLICES: max(2, thick.object.slices)})


def _of_trials(part: Dataset, preset: Preset, over: Sequence[Range]) -> Preset:
    """Return the settings of every trial: no refined quantity hides an error, no step depends on the run length."""
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    modes = preset.probe.probe_modes
    if modes == "auto" and all(varied.name != "probe_modes" for varied in over):
        modes = decide(measure(part, quick), quick, has_start=False).coherence.modes
    return of_trials(quick, modes, frames=part.masks is None)
