"""The tilt of a specimen, looked for before the run: refine, stand columns up, refine again from what slices share.

Depth is resolved poorly along the beam, and slices that are mixed along it lean too little: the first refinement finds
most of a tilt. Begun again from columns that stand and are alike in every slice, a short second one leans by the rest.
The run itself then starts there (docs/forward-model.md, Tilt of the specimen).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ptylive.engine.refine.results import RefineResult
from ptylive.engine.refine.warm_start import WarmStart
from ptylive.schema.preset import Preset

REST_EPOCHS = 8
"""L-BFGS epochs of the second refinement."""

Once = Callable[[Preset, WarmStart | None], RefineResult]
"""Refines once under a preset, from a warm start where one is given."""


@dataclass(frozen=True)
class FoundTilt:
    """The preset with the tilt that was found, and columns that stand, to begin from."""

    preset: Preset
    start: WarmStart


def find_tilt(preset: Preset, once: Once) -> FoundTilt:
    """Look for the tilt inside a specimen of several slices: about the time of one default run more."""
    first = once(preset, None)
    rest = {"sweeps": 0, "epoch_max": REST_EPOCHS}
    second = once(_tilted(preset, first).model_copy(update=rest), _alike(first))
    return FoundTilt(_tilted(preset, second), _alike(second))


def _tilted(preset: Preset, result: RefineResult) -> Preset:
    """The preset with the tilts of a result."""
    if result.refined is None or result.refined.tilts_mrad is None:
        return preset
    tilts = tuple(tuple(float(tilt) for tilt in row) for row in result.refined.tilts_mrad)
    return preset.model_copy(update={"tilts_mrad": tilts})


def _alike(result: RefineResult) -> WarmStart:
    """The mean of the slices in place of each: modulus and phase by themselves."""
    slices = result.object
    turned = slices * np.exp(-1j * np.angle(slices.sum(axis=(2, 3), keepdims=True)))
    mean = np.abs(slices).mean(axis=1, keepdims=True) * np.exp(1j * np.angle(turned).mean(axis=1, keepdims=True))
    alike = np.broadcast_to(mean, slices.shape).astype(np.complex64)
    return WarmStart(alike, result.object_sampling_A[0], result.origin_A, result.probe[0])
