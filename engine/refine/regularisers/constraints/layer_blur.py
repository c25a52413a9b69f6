"""Blur of the layers along the beam, once per epoch: O <- exp((1 - w) ln O + w G * ln O), slice by slice.

G is a Gaussian over slices at their mean distance, cut at two standard deviations. Beyond the first and the last slice
it repeats them, so that one surface does not affect the other. PtyRAD: ``obj_zblur`` (``std`` in slices; 1
corresponds to ``kernel_size`` 5; it blurs the modulus, not its logarithm). phaser: ``regularize_layers`` (``sigma`` in
Å; ``weight`` w, with which it mixes the transmissions themselves).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.model import FloatArray
from ptylive.schema.preset.added import Setting

REACH = 2.0
"""Standard deviations at which the Gaussian is cut."""
WIDEST = 100
"""Standard deviation in numbers of slices: a wider Gaussian is practically the same."""


@regulariser(
    "layer_blur",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting(
            "obj_zblur_A",
            0.0,
            "blur the object along the beam, standard deviation (PtyRAD, phaser: regularize_layers); 0: never",
            at_least=0.0,
            at_most=1e5,
        ),
        Setting("obj_zblur_weight", 1.0, "share of the blurred layers in the result", at_least=0.0, at_most=1.0),
        Setting(
            "obj_zblur_part",
            "both",
            "part of the object that is blurred (PtyRAD: obj_type)",
            choices=("both", "phase", "amplitude"),
        ),
    ),
    order=1020,
)
@dataclass(frozen=True)
class LayerBlur:
    """Blur along the beam; see the module."""

    kernel: FloatArray
    """(slices, slices) share of each slice in each blurred one; rows sum to 1."""
    part: str = "both"

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> LayerBlur | None:
        """The projection for one epoch; None if it is off, or there is only one slice."""
        sigma_A, weight = (float(context.settings.value(name)) for name in ("obj_zblur_A", "obj_zblur_weight"))
        if sigma_A <= 0 or weight <= 0 or not context.spacings_A:
            return None
        part = str(context.settings.value("obj_zblur_part"))
        if part == "amplitude":
            context.needs_modulus("obj_zblur_part = amplitude")
        slices = len(context.spacings_A) + 1
        blur = gaussian_rows(slices, sigma_A / float(np.mean(context.spacings_A)))
        return cls(((1 - weight) * np.eye(slices) + weight * blur).astype(np.float32), part)

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return the blurred phase and absorption (modes, slices, Y, X)."""
        kernel = xp.asarray(self.kernel, dtype=phase.dtype)
        mixed = [xp.einsum("zs,msyx->mzyx", kernel, values) for values in (phase, absorption)]
        return (phase if self.part == "amplitude" else mixed[0]), (absorption if self.part == "phase" else mixed[1])


def gaussian_rows(slices: int, sigma: float) -> FloatArray:
    """(slices, slices) Gaussian of ``sigma`` slices around each slice; the outermost slices continue outwards."""
    sigma = min(sigma, WIDEST * slices)
    reach = math.ceil(REACH * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    share = np.concatenate([[0], np.cumsum(weights / weights.sum())])  # offsets below -reach, -reach + 1, …
    edges = np.arange(slices + 1)[None, :] - np.arange(slices)[:, None]
    below = share[np.clip(edges + reach, 0, 2 * reach + 1)]
    below[:, 0], below[:, -1] = 0, 1
    return np.diff(below, axis=1)
