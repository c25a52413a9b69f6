"""Whether held-out patterns confirm a calibration that nobody stated; if they do not, this is reported.

Under a wrong rotation or defocus an object can be refined too, and looks like one. But overlapping patterns agree with
each other under the right calibration only: it predicts held-out patterns better than the same trial with the scan
turned by 90° or with the detector's axes exchanged. Right calibrations do so by 3.6 to 60 standard deviations, wrong
ones by chance. A probe in focus must not be better.

The trials have one slice, also for a thick specimen: it is then in the middle of the slices, where thick specimens are
in focus if refined in one slice. Focused at the entrance surface, it would predict worse than a probe in focus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, has_oriented_start
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, TrialContext, held_out_loss
from ptylive.engine.refine.tuning.mode_choice import are_enough_frames, modes_or_one
from ptylive.engine.refine.tuning.optics.freed_optics import with_optics, with_optics_moved
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.trial_settings import in_one_slice, of_trials
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Calibration, Origin
from ptylive.schema.advice.cannot_tell import cannot_tell_words
from ptylive.schema.advice.words import significant, with_doubt
from ptylive.schema.calibration import FOUND
from ptylive.schema.preset import Preset

PATTERNS, SWEEPS, BATCHES = 576, 4, 16
"""Size of the trials, in the middle of the scan."""
BEYOND_DOUBT = 6.0
"""Standard deviations over the scan turned by 90° above which nothing else is tested."""
IN_FOCUS = 0.5
"""Depths of focus below which a defocus cannot be distinguished from none."""
TURNED = Orientation(transposed=False, turn_deg=90.0)
MIRRORED = (Orientation(transposed=True, turn_deg=0.0), Orientation(transposed=True, turn_deg=90.0))


def with_confirmed_calibration(tuned: Tuned, context: TrialContext) -> Tuned:
    """Add a sentence on anything that could not be determined, which becomes undecided."""
    dataset, preset = tuned.dataset, tuned.preset
    if not _was_looked_for(dataset.calibration, preset):
        return tuned
    if dataset.calibration.origin("C10") is Origin.DEFAULT:
        why = "no value explains the bright field better than chance, and 0 is assumed"
        return _doubted(tuned, cannot_tell_words("the defocus", why, "defocus_A"))
    if (words := _contradicted(dataset, preset, replace(context, start=None))) is not None:
        return _doubted(tuned, words)
    if not half_turn_is_open(dataset, preset) or tuned.half_turn_settled:
        return tuned
    if dataset.calibration.origin("rotation_deg") is not Origin.UNDECIDED:
        return tuned
    skewed = tuned.skewed_by
    shown = "" if skewed is None else f", nor does the phase (skewed by {skewed:.1f} standard deviations)"
    depth = ", nor does depth" if preset.object.slices > 1 else ""
    why = f"the dark field does not show it{shown}{depth}, and contrast may be inverted"
    return _doubted(tuned, cannot_tell_words("the half turn of the scan", why, "rotation_deg or defocus_A"))


def _was_looked_for(calibration: Calibration, preset: Preset) -> bool:
    """Whether the calibration had to find rotation or defocus, and the run starts only from what it found."""
    if preset.propagation.near_field or preset.probe.aberrations_array_A is not None:
        return False
    defocus, rotation = calibration.origin("C10"), calibration.origin("rotation_deg")
    found = defocus in (*FOUND, Origin.DEFAULT) and rotation is not None
    return (found or rotation in FOUND) and not has_oriented_start(preset)


def _contradicted(dataset: Dataset, preset: Preset, context: TrialContext) -> str | None:
    """What held-out patterns do not confirm, in words; None if they confirm it or cannot be used."""
    if dataset.scan_of is not None or not are_enough_frames(dataset):
        return None
    found, dataset = dataset.calibration, _focused_on_the_middle(dataset, preset)
    trials = _Trials(dataset, preset, context)
    for rival in _rivals(dataset):
        gain = trials.gain_over(rival)
        if rival.orientation is TURNED and gain.exceeds(BEYOND_DOUBT):
            return None
        if gain.opposite.certain if rival.orientation is None else not gain.certain:
            verdict = "predicts held-out patterns " + ("better" if gain.opposite.certain else "just as well")
            why = f"{rival.words} {verdict} (gain {gain.opposite})"
            return cannot_tell_words(_found_words(found), why, "rotation_deg and defocus_A")
    return None


def _focused_on_the_middle(dataset: Dataset, preset: Preset) -> Dataset:
    """The same with the defocus of the middle of several slices, where the one slice of a trial is in focus."""
    if preset.object.slices == 1 or dataset.calibration.origin("C10") not in FOUND:
        return dataset
    return with_optics_moved(dataset, {"C10": sum(preset.object.slice_thickness_A) / 2})


@dataclass(frozen=True)
class _Rival:
    """Another calibration of the same patterns, in words; without an orientation: a probe in focus."""

    words: str
    orientation: Orientation | None = None


def _rivals(dataset: Dataset) -> Iterator[_Rival]:
    """Calibrations that the one found has to be better than."""
    calibration, depth_A = dataset.calibration, dataset.calibration.depth_of_focus_A
    if calibration.origin("rotation_deg") in FOUND:
        yield _Rival("the scan turned by 90°", TURNED)
        if calibration.origin("detector_transform") in FOUND:
            for mirrored in MIRRORED:
                turn = f" and turned by {mirrored.turn_deg:.0f}°" if mirrored.turn_deg else ""
                yield _Rival(f"the detector transposed{turn}", mirrored)
    c10_A = float(calibration.get("C10") or 0.0)
    if calibration.origin("C10") in FOUND and depth_A is not None and abs(c10_A) > IN_FOCUS * depth_A:
        yield _Rival("a probe in focus")


class _Trials:
    """Trials in one slice and one mode, from an empty object."""

    def __init__(self, dataset: Dataset, preset: Preset, context: TrialContext) -> None:
        self._preset = of_trials(in_one_slice(preset, {"start_from_map": False}), modes_or_one(preset), frames=True)
        self._part, self._context = context.cache.central_part(dataset, PATTERNS), context
        self._present_loss: HeldOutLoss | None = None

    def gain_over(self, rival: _Rival) -> Gain:
        """Gain of the present calibration over a rival."""
        if self._present_loss is None:
            self._present_loss = self._loss(self._part, "the present calibration")
        part = with_optics(self._part, {"C10": 0.0}) if rival.orientation is None else rival.orientation.of(self._part)
        return Gain.over(self._loss(part, rival.words).groups, self._present_loss.groups)

    def _loss(self, part: Dataset, words: str) -> HeldOutLoss:
        self._context.before(words)
        return held_out_loss(part, self._preset, SWEEPS, self._context, batches=BATCHES)


def _found_words(calibration: Calibration) -> str:
    """Describe rotation and defocus as they were found."""
    rotation, c10 = calibration.entries.get("rotation_deg"), calibration.entries.get("C10")
    parts = []
    if rotation is not None and rotation.origin in FOUND:
        doubt = "" if rotation.uncertainty is None else f" ± {significant(rotation.uncertainty, 1)}"
        parts.append(f"the rotation ({float(rotation.value):.1f}{doubt}°)")
    if c10 is not None and c10.origin in FOUND:
        parts.append(f"C10 ({with_doubt(float(c10.value), c10.uncertainty)})")
    return " and ".join(parts)


def _doubted(tuned: Tuned, words: str) -> Tuned:
    """Add a sentence, and mark rotation and defocus as undecided if they were found."""
    calibration = tuned.dataset.calibration
    found = {name: entry for name in ("rotation_deg", "C10") if (entry := calibration.entries.get(name)) is not None}
    open_ = {name: replace(entry, origin=Origin.UNDECIDED) for name, entry in found.items() if entry.origin in FOUND}
    dataset = replace(tuned.dataset, calibration=calibration.having(**open_))
    return replace(tuned, dataset=dataset, words=(*tuned.words, words))
