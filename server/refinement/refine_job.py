"""Messages between server and refinement process: a job in, progress and an end out, as a msgpack stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.application.extensions import Preset
from ptylive.schema import Calibration, CommandError
from ptylive.schema.errors import brief
from ptylive.server.wire.messages import array_from_plain, array_to_plain

if TYPE_CHECKING:
    from ptylive.engine.refine.data.start_guess import StartGuess
    from ptylive.engine.refine.results.refinement_result import Progress

PICTURES = ("object", "probe", "slices", "slice_amplitudes", "object_deviation", "object_amplitude")
"""Pictures of a run, by the names under which they are sent; ``object_deviation`` only at its end."""
MAX_JOB_BYTES = 2**30
MOST_SLICE_PIXELS = 16 * 2**20
"""Maximum pixels over all slices; of larger objects only the sum of the slices is sent."""


@dataclass(frozen=True)
class RefineJob:
    """Everything the refinement process needs, except the patterns, which it reads from the recording."""

    recording: Path
    results: Path
    run: str
    preset: Preset
    calibration: Calibration
    start: StartGuess | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    threads: int = 1
    checkpoint: Path | None = None
    resume: bool = False
    command_line: str = ""
    journal: Path | None = None
    """Journal of a running scan: begin with the rows that have arrived, and wait for the job of the whole scan."""

    methods: tuple[str, ...] = ()
    """Maps to make from the recording and store first; calibration and start then come from them."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    """With ``methods``: metadata used where the recording has none."""

    ends_at_once: bool = False
    """Whether to end at once when the requester is gone, because the last checkpoint suffices to continue elsewhere."""

    trials: Mapping[str, Any] | None = None
    """Makes the job a series of trials of settings, run as they are received, instead of a refinement
    (:mod:`ptylive.server.refinement.trial_worker`)."""

    judged: bool = False
    """Whether its quality is measured at its end (:mod:`ptylive.engine.refine.validation.held_out_quality`)."""

    decides: bool = False
    """Whether to run only the trials before a refinement, which find thickness and slices
    (:func:`ptylive.server.refinement.trial_worker.decided`)."""

    place: str = ""
    """Place where the server was asked to run it (:mod:`ptylive.server.commands.placement`); empty: the default."""

    takes_maps: bool = False
    """With ``methods``: whether to use maps already in the results file as they are, with their calibration."""

    map_settings: Mapping[str, float] = field(default_factory=dict)
    """With ``methods``: settings of all maps made; the preset also holds those of the map to start from."""

    detectors: Mapping[str, str] = field(default_factory=dict)
    """With ``methods``: virtual detectors, as :mod:`ptylive.application.detector_texts` reads them."""

    beside: tuple[RefineJob, ...] = ()
    """Scans of the same place refined together with this one, at the preset's tilts; only the fields that identify and
    describe each scan are used (:mod:`ptylive.server.refinement.scans_together`)."""

    history: int = 0
    """Interval in epochs at which object, probe and positions are kept next to the recording; 0: never."""

    known: tuple[int, ...] = ()
    """State of the recording that the server vouches for (:func:`ptylive.streamer.vetting.known_files.known_as`)."""

    series: str = ""
    """Name of the scan, for messages."""

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for the pipe."""
        start = self.start
        return {
            "recording": str(self.recording),
            "results": str(self.results),
            "run": self.run,
            "preset": self.preset.model_dump(mode="json"),
            "calibration": self.calibration.to_plain(),
            "start": None
            if start is None
            else {
                "phase": array_to_plain(start.phase),
                "sampling_A": list(start.sampling_A),
                "rotation_deg": start.rotation_deg,
                "origin_A": list(start.origin_A),
                **({} if start.amplitude is None else {"amplitude": array_to_plain(start.amplitude)}),
            },
            "values": dict(self.values),
            "backend": self.backend,
            "threads": self.threads,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "resume": self.resume,
            "command_line": self.command_line,
            "journal": None if self.journal is None else str(self.journal),
            "methods": list(self.methods),
            "defaults": dict(self.defaults),
            "ends_at_once": self.ends_at_once,
            "trials": None if self.trials is None else dict(self.trials),
            "decides": self.decides,
            "judged": self.judged,
            "place": self.place,
            "takes_maps": self.takes_maps,
            "map_settings": dict(self.map_settings),
            "detectors": dict(self.detectors),
            "history": self.history,
            "known": list(self.known),
            "series": self.series,
            "beside": [scan.to_plain() for scan in self.beside],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RefineJob:
        """Make a job from plain values; inverse of :meth:`to_plain`."""
        from ptylive.engine.refine.data.start_guess import StartGuess

        start = plain["start"]
        return cls(
            recording=Path(plain["recording"]),
            results=Path(plain["results"]),
            run=plain["run"],
            preset=Preset.from_mapping(plain["preset"]),
            calibration=Calibration.from_plain(plain["calibration"]),
            start=None
            if start is None
            else StartGuess(
                np.array(array_from_plain(start["phase"])),
                tuple(start["sampling_A"]),
                float(start["rotation_deg"]),
                tuple(start["origin_A"]),
                np.array(array_from_plain(start["amplitude"])) if "amplitude" in start else None,
            ),
            values=plain["values"],
            backend=plain["backend"],
            threads=plain["threads"],
            checkpoint=None if plain["checkpoint"] is None else Path(plain["checkpoint"]),
            resume=plain["resume"],
            command_line=plain["command_line"],
            journal=None if plain["journal"] is None else Path(plain["journal"]),
            methods=tuple(plain["methods"]),
            defaults=plain["defaults"],
            ends_at_once=plain["ends_at_once"],
            trials=plain["trials"],
            decides=plain["decides"],
            judged=plain["judged"],
            place=plain["place"],
            takes_maps=plain["takes_maps"],
            map_settings=plain["map_settings"],
            detectors=plain["detectors"],
            history=int(plain["history"]),
            known=tuple(plain["known"]),
            series=plain["series"],
            beside=tuple(cls.from_plain(scan) for scan in plain["beside"]),
        )


def history_of(recording: Path, run: str) -> Path:
    """Return the folder for the history of a refinement. Raises CommandError for an invalid name of a run."""
    if not run.isidentifier():
        raise CommandError(f"{brief(run)} is not a refinement", "see the command runs")
    return recording.with_name(f"{recording.stem}_{run}.history")


def progress_to_plain(progress: Progress, told: int = 0) -> dict[str, Any]:
    """Return a step of a refinement as a payload; with pictures only if the refinement offers them.

    ``told``: number of epochs whose losses were reported earlier; those of later epochs are in the payload.
    """
    new = max(0, progress.epoch - told)
    plain: dict[str, Any] = {
        "kind": "progress",
        "state": progress.state,
        "phase": progress.phase,
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "loss": progress.loss if np.isfinite(progress.loss) else None,
        "seconds": progress.seconds,
        "seconds_left": progress.seconds_left if np.isfinite(progress.seconds_left) else None,
        "evaluations": progress.evaluations,
        "message": progress.message,
        "warning": progress.warning,
        "stages": list(progress.stages),
        "losses": [float(loss) for loss in progress.losses[-new:]] if new else [],
        "phases": list(progress.phases[-new:]) if new else [],
    }
    if progress.preview is not None:
        preview = progress.preview()
        sampling = [preview.object_sampling_A] * 2
        plain["object"] = {**array_to_plain(preview.object_phase), "sampling_A": sampling}
        plain["probe"] = {**array_to_plain(preview.probe), "sampling_A": sampling}
        if preview.deviation is not None:
            plain["object"]["deviation"] = float(preview.deviation.median_rad)
            plain["object"]["deviation_is_lower_bound"] = preview.deviation.lower_bound
            plain["object_deviation"] = {**array_to_plain(preview.deviation.map_rad), "sampling_A": sampling}
        if preview.amplitude is not None:
            plain["object_amplitude"] = {**array_to_plain(preview.amplitude.astype(np.float16)), "sampling_A": sampling}
        if len(preview.slices) > 1 and preview.slices.size <= MOST_SLICE_PIXELS:
            plain["slices"] = {**array_to_plain(preview.slices.astype(np.float16)), "sampling_A": sampling}
            if preview.slice_amplitudes is not None:
                each = array_to_plain(preview.slice_amplitudes.astype(np.float16))
                plain["slice_amplitudes"] = {**each, "sampling_A": sampling}
    return plain
