"""From a scan and what is asked of it to trials: its maps, the settings all trials share, and the ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.application.offline import method_of, refinable
from ptylive.application.tuning.ranges import Asked, Range, ranges
from ptylive.application.tuning.trials import FORMAT, SETTINGS
from ptylive.application.tuning.tunables import SLICES, THICKNESS, metadata_of, settings_of
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide, measure
from ptylive.engine.refine.tuning.depth_choice import with_given_depth
from ptylive.engine.refine.tuning.held_out import central_part
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import of_trials
from ptylive.engine.refine.validation.settings_trial import Judge, check_enough
from ptylive.schema import Calibration, MetadataError
from ptylive.server.cluster.transfer import FileIdentity
from ptylive.server.refinement.maps_first import with_maps
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.streamer.source import open_source

PATTERNS, SWEEPS = 576, 6
"""Of a trial: docs/tune.md has how trials of this length and long ones agree."""
MOST_SWEEPS, MOST_TRIALS = 1000, 100_000
"""What may be asked for."""


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for. values: metadata that win over the file's; defaults: where it says nothing."""

    scan: Path
    folder: Path
    over: tuple[Asked, ...]
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
        """Where its maps are."""
        return (self.folder / f"{self.scan.stem}_results.h5").absolute()


@dataclass(frozen=True)
class Begun:
    """What trials are made of."""

    wanted: Wanted
    job: RefineJob
    over: tuple[Range, ...]
    part: Dataset
    """The patterns of the trials, as long as their file is open; what is known of them stays."""
    plan: Mapping[str, Any]
    """What all trials have in common, as plain values: those of another plan cannot be compared."""
    notes: tuple[str, ...]
    thick: Preset
    """The preset with its slices."""

    @property
    def start(self) -> dict[str, Any] | None:
        """The present values, where all have one inside its range."""
        values = {one.name: one.start for one in self.over}
        return values if all(one.holds(one.start) for one in self.over) else None

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a refinement with these values: what the preset said, and they."""
        said = self.wanted.preset.model_dump(exclude_unset=True, mode="json")
        own = {name: value for name, value in settings_of(self.thick, values).items() if value is not None}
        if THICKNESS in own or SLICES in own:
            said.pop("slice_distances_A", None)
            own.setdefault(SLICES, self.thick.object.slices)
        searches = {"defocus_A": "scan_defocus", THICKNESS: "scan_thickness", "rotation_deg": "scan_rotation"}
        return {**said, **own, **{search: False for name, search in searches.items() if name in values}}

    @property
    def details(self) -> dict[str, str]:
        """How it was found, for people."""
        wanted = self.wanted
        judged = "loss of held-out patterns" if wanted.judge is Judge.HELD_OUT else "correlation of half data"
        varied = [f"{one.title} {_spoken(one)}" for one in self.over]
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
        """Metadata with these values."""
        return metadata_of(self.part, values)


def _spoken(one: Range) -> str:
    """How far a value is varied, and where it begins."""
    if one.choices:
        return " or ".join(str(choice) for choice in one.choices)
    begins = "" if one.start is None else f", starting at {one.spoken(one.start)}"
    return f"from {one.low:.4g} to {one.spoken(one.high)}{begins}"


def begin(wanted: Wanted, tell: Callable[[str], None], should_stop: Callable[[], bool]) -> Begun:
    """Look at the scan, make its maps unless an earlier call did, and settle what all trials share.

    Raises InputFileError for a file that is damaged or no scan, MetadataError for missing optics and impossible ranges,
    PtyliveError where no map can be made or patterns are too few, OSError where the folder cannot be written.
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
        resume=True,  # maps that are there are taken
        command_line=wanted.command_line,
        methods=(method_of(preset.start.start_map),),
        defaults=wanted.defaults,
        ends_at_once=True,
    )

    def hear(message: dict[str, Any]) -> None:
        if "message" in message:
            tell(str(message["message"]))

    job = with_maps(job, hear, should_stop)
    with open_source(job.recording, job.values) as source:
        part = central_part(refinable(source, job.calibration), wanted.patterns)
        check_enough(part)
        thick, notes = _with_slices(part, preset, wanted.over)
        over = ranges(wanted.over, part, thick)
        base = _of_trials(part, thick, over)
    about = {"patterns": wanted.patterns, "sweeps": wanted.sweeps, "judge": str(wanted.judge)}
    identity = FileIdentity.of(job.recording)
    plan = {
        "format": FORMAT,
        "scan": [identity.file_bytes, identity.sampled],
        "over": [one.to_plain() for one in over],
        SETTINGS: base.model_dump(mode="json"),
        "calibration": job.calibration.to_plain(),
        **about,
    }
    job = replace(job, preset=base, start=None, methods=(), defaults={}, resume=False, trials=about)
    return Begun(wanted, job, over, part, plan, tuple(notes), thick)


def _with_slices(part: Dataset, preset: Preset, over: Sequence[Asked]) -> tuple[Preset, list[str]]:
    """The preset with a number of slices, which trials share unless it is tuned, and what to say of it."""
    asked = {one.tunable.name: one for one in over}
    thickness = asked.get(THICKNESS)
    known = preset.object.total_thickness_A is not None or preset.object.slice_distances_A is not None
    if thickness is not None and not known and thickness.low is not None and thickness.high is not None:
        middle = (max(thickness.low, thickness.high / 10) * thickness.high) ** 0.5
        preset = preset.model_copy(update={THICKNESS: middle})
        known = True
    if not known and (thickness is not None or SLICES in asked):
        raise MetadataError(
            "no thickness is known to start from", "give --set total_thickness_A=…, or thickness=LOW:HIGH"
        )
    if thickness is not None and preset.object.num_slices == "auto" and preset.object.slice_distances_A is None:
        return _for_what_may_be_found(part, preset, thickness), []
    preset = with_given_depth(part, preset)
    if preset.object.num_slices == "auto":
        note = (
            "one slice is used: if the specimen is thick, give num_slices and total_thickness_A, or tune the thickness"
        )
        return preset.model_copy(update={SLICES: 1}), [note]
    if thickness is not None and preset.object.slices == 1:
        preset = preset.model_copy(update={SLICES: 2})
    return preset, []


def _for_what_may_be_found(part: Dataset, preset: Preset, thickness: Asked) -> Preset:
    """The preset with slices for a thickness half way up the range: too few would seem at another defocus."""
    (found,) = ranges((thickness,), part, preset.model_copy(update={SLICES: 2}))
    thick = with_given_depth(part, preset.model_copy(update={THICKNESS: (found.start * found.high) ** 0.5}))
    return preset.model_copy(update={SLICES: max(2, thick.object.slices)})


def _of_trials(part: Dataset, preset: Preset, over: Sequence[Range]) -> Preset:
    """Settings of every trial: nothing refined that hides an error, steps that depend on no length of a run."""
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    modes = preset.probe.probe_modes
    if modes == "auto" and all(one.name != "probe_modes" for one in over):
        modes = decide(measure(part, quick), quick, has_start=False).coherence.modes
    return of_trials(quick, modes, frames=part.masks is None)
