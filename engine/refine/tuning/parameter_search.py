"""Scans of a calibration value before a long run: the loss on held-out patterns after a few sweeps, and its minimum.

A wrong defocus is not corrected by refining the probe, and a wrong thickness only if it is refined too; the loss after
one or two sweeps already has its minimum near the right value (docs/refinement.md, Before a long run).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.tuning.held_out import (
    LEAST_TRIED,
    HeldOutLoss,
    TrialContext,
    central_part,
    held_out_loss,
)
from ptylive.engine.refine.tuning.mode_choice import choose_modes
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.trial_settings import of_trials
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.advice.words import significant
from ptylive.schema.calibration import FOUND
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset
from ptylive.schema.scan import rotation_matrix

POINTS = 7
"""Number of values around the present one that a scan begins with."""
EXTENSIONS = 2
"""Number of times that a minimum at the end of the curve is followed."""
DEPTHS_OF_FOCUS = 0.5
"""Step of the defocus in units of wavelength / semi-angle^2."""
THICKNESS_STEP, SCALE_STEP, ROTATION_STEP_DEG = 0.15, 0.02, 1.0
"""Other steps: thickness as a share of the present one, scale as a share of the scan's step."""
SMALLEST_SHARE = 0.25
"""Minimum uncertainty as a share of the step: the curve is not an exact parabola."""

SWEEPS = {Scanned.THICKNESS: 3, Scanned.SLICES: 3}
"""Sweeps before the loss is evaluated; 2 for other quantities. After one sweep, thickness is biased."""


def tune(tuned: Tuned, context: TrialContext) -> Tuned:
    """Run the parameter scans that the preset requests; with both defocus and thickness, defocus is scanned again."""
    dataset, preset = tuned.dataset, tuned.preset
    scans = requested_scans(dataset, preset)
    if Scanned.DEFOCUS in scans and Scanned.THICKNESS in scans:
        scans = [*scans, Scanned.DEFOCUS]
    curves: list[Curve] = []
    for quantity in scans:
        finer = 0.5 if any(curve.quantity is quantity for curve in curves) else 1.0
        curve = measure_curve(dataset, preset, quantity, context, finer=finer)
        curves.append(curve)
        if curve.applied:
            dataset, preset = with_best(dataset, preset, curve)
    return replace(tuned, dataset=dataset, preset=preset, curves=tuple(curves))


def requested_scans(dataset: Dataset, preset: Preset) -> list[Scanned]:
    """Scans that the preset requests. ``auto`` scans a defocus that was only estimated, from enough patterns."""
    estimated = dataset.calibration.origin("C10") in FOUND and len(dataset.patterns) >= LEAST_TRIED
    defocus = estimated if isinstance(preset.start.scan_defocus, str) else preset.start.scan_defocus
    if preset.propagation.near_field:  # images have a defocus each, and no scan
        return []
    choices = [
        (defocus, Scanned.DEFOCUS),
        (preset.start.scan_thickness, Scanned.THICKNESS),
        (preset.start.scan_rotation, Scanned.ROTATION),
    ]
    return [quantity for requested, quantity in choices if requested]


def measure_curve(
    dataset: Dataset,
    preset: Preset,
    quantity: Scanned,
    context: TrialContext | None = None,
    *,
    values: Sequence[float] | None = None,
    finer: float = 1.0,
) -> Curve:
    """Measure the curve of one quantity, over ``values`` or around the present value; takes seconds.

    Raises RefinementError for a thickness if none is given.
    """
    resolved = context or TrialContext()
    frames = dataset.masks is None
    part, quick = central_part(dataset), of_trials(preset, _modes(dataset, preset, quantity, resolved), frames=frames)
    losses: dict[float, HeldOutLoss] = {}

    def measure(value: float) -> None:
        if value not in losses:
            resolved.before(f"{quantity} {value:.4g}")
            changed, settings = varied(part, quick, quantity, value)
            losses[value] = held_out_loss(changed, settings, SWEEPS.get(quantity, 2), resolved)

    present = present_value(dataset, preset, quantity)
    if values is not None:
        for value in values:
            measure(float(value))
    else:
        step = finer * first_step(dataset, preset, quantity)
        middle = 0  # in whole steps, so that a repeated value is exactly equal and not measured twice
        for _ in range(EXTENSIONS + 1):
            for k in range(middle - POINTS // 2, middle + POINTS // 2 + 1):
                value = present + k * step
                if value > 0 or quantity in (Scanned.DEFOCUS, Scanned.ROTATION):
                    measure(value)
            lowest = min(losses, key=lambda value: losses[value].mean)
            if min(losses) < lowest < max(losses):
                break
            middle = round((lowest - present) / step)
    return _read(quantity, present, losses)


def present_value(dataset: Dataset, preset: Preset, quantity: Scanned) -> float:
    """Present value of the quantity in the data set or the preset."""
    if quantity is Scanned.DEFOCUS:
        return -float(dataset.calibration.aberrations.get("C10", 0.0))
    if quantity is Scanned.THICKNESS:
        if preset.object.slices == 1:
            raise RefinementError("the thickness of one slice cannot be scanned", "set num_slices")
        return float(sum(preset.object.slice_thickness_A))
    return {Scanned.SLICES: float(preset.object.slices), Scanned.ROTATION: 0.0, Scanned.SCALE: 1.0}[quantity]


def first_step(dataset: Dataset, preset: Preset, quantity: Scanned) -> float:
    """Distance between neighbouring values of the scan."""
    if quantity is Scanned.DEFOCUS:
        dataset.calibration.require("convergence_semiangle_mrad", "the defocus scan")
        return DEPTHS_OF_FOCUS * (dataset.calibration.depth_of_focus_A or math.nan)
    if quantity is Scanned.THICKNESS:
        return THICKNESS_STEP * present_value(dataset, preset, quantity)
    return {Scanned.SLICES: 1.0, Scanned.ROTATION: ROTATION_STEP_DEG, Scanned.SCALE: SCALE_STEP}[quantity]


def varied(dataset: Dataset, preset: Preset, quantity: Scanned, value: float) -> tuple[Dataset, Preset]:
    """Data set and preset with another value; rotation is added to the present one, scale multiplies the step."""
    if quantity is Scanned.DEFOCUS:
        origin = dataset.calibration.origin("C10")  # its sign may be undecided
        origin = origin if origin in FOUND else Origin.ESTIMATED
        calibration = dataset.calibration.having(C10=Quantity(-value, origin))
        return replace(dataset, calibration=calibration), preset
    if quantity is Scanned.THICKNESS:
        factor = value / present_value(dataset, preset, quantity)
        distances = tuple(factor * distance for distance in preset.object.spacings_A)
        changes = {"total_thickness_A": None, "slice_distances_A": distances}
        return dataset, preset.model_copy(update=changes)
    if quantity is Scanned.SLICES:
        thickness = float(sum(preset.object.slice_thickness_A))
        number = {"num_slices": round(value), "total_thickness_A": thickness, "slice_distances_A": None}
        return dataset, preset.model_copy(update=number)
    middle = dataset.positions_A.mean(axis=0)  # the start of a trial stays under the patterns
    offsets_A = dataset.positions_A - middle
    moved = {Scanned.SCALE: offsets_A * value, Scanned.ROTATION: offsets_A @ rotation_matrix(value).T}[quantity]
    return replace(dataset, positions_A=middle + moved), preset


def with_best(dataset: Dataset, preset: Preset, curve: Curve) -> tuple[Dataset, Preset]:
    """Data set and preset with the result of a scan. A rotation keeps the first point, which places the results."""
    if curve.quantity is Scanned.ROTATION:
        return Orientation(transposed=False, turn_deg=curve.best).of(dataset), preset
    return varied(dataset, preset, curve.quantity, curve.best)


def _modes(dataset: Dataset, preset: Preset, quantity: Scanned, context: TrialContext) -> int:
    """Probe modes of the trials: as requested; if open, one, except for depth the number that predicts patterns better.

    One mode mistakes the blur of a source for depth: sto (100 Å, source and focal spread) seems 136 Å thick with one
    mode and 102 Å with four. The defocus is found with one.
    """
    if not isinstance(preset.probe.probe_modes, str):
        return preset.probe.probe_modes
    choice = choose_modes(dataset, preset, context) if quantity in (Scanned.THICKNESS, Scanned.SLICES) else None
    return 1 if choice is None else choice.modes


def _read(quantity: Scanned, present: float, losses: dict[float, HeldOutLoss]) -> Curve:
    """Minimum and uncertainty of a measured curve."""
    values = sorted(losses)
    mean = [losses[value].mean for value in values]
    best = vertex(values, mean)
    halves = [vertex(values, [losses[value].halves[half] for value in values]) for half in (0, 1)]
    step = float(np.median(np.diff(values))) if len(values) > 1 else 0.0
    uncertainty = max(abs(halves[0] - halves[1]) / 2, SMALLEST_SHARE * step)
    at_end = int(np.argmin(mean)) in (0, len(values) - 1)
    applied = not at_end and quantity is not Scanned.SLICES and abs(best - present) > uncertainty
    found, before = (significant(value, 4) for value in (best, present))
    words = f"{quantity} {found} ± {significant(uncertainty, 2)} by held-out loss, {before} before"
    if at_end:
        words += ": at the end of the scanned range, unchanged"
    elif not applied:
        words += ": unchanged"
    return Curve(quantity, tuple(values), tuple(mean), present, best, uncertainty, applied, words)


def vertex(values: Sequence[float], losses: Sequence[float] | DoubleArray) -> float:
    """Minimum of the parabola through the lowest point and its neighbours."""
    k = int(np.argmin(losses))
    if k in (0, len(values) - 1):
        return float(values[k])
    x, y = np.asarray(values[k - 1 : k + 2]), np.asarray(losses[k - 1 : k + 2])
    curvature, gradient, _ = np.polyfit(x - x[1], y, 2)
    return float(np.clip(x[1] - gradient / (2 * curvature), x[0], x[2])) if curvature > 0 else float(x[1])
