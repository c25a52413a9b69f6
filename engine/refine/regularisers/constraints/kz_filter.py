"""Filter of the layers by their frequencies along the beam, once per epoch: modulus and phase times

    W = (1 - 2/pi arctan((beta k_z)^2 / (k_r^2 + 1e-3))) exp(-alpha k_r^2)

k_z in cycles per slice, k_r in cycles per pixel, periodic along the beam; the modulus then becomes 1 + 0.9 (|O| - 1).
fold_slice: ``regularize_layers`` (beta; alpha 1); PtyRAD: ``kz_filter``. ``beta_wedge`` removes the same wedge in
true frequencies, without the blur, the constant and the pull of the modulus: beta_wedge = beta * distance of slices /
pixel; so does py4DSTEM's ``kz_regularization_gamma``, with optional padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.deconvolution import filtered
from ptylive.engine.refine.regularisers.potentials import absorption_of, modulus
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting

ROUNDING_OF_AXIS = 1e-3
"""Added to k_r^2; it preserves part of the component that does not vary across the beam (fold_slice)."""
KEPT = 0.9
"""Share of |O| - 1 that is kept (fold_slice)."""


@regulariser(
    "kz_filter",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting(
            "kz_filter_beta",
            0.0,
            "blend the layers: steepness of the wedge, pixels per slice (fold_slice: regularize_layers); 0: never",
            at_least=0.0,
            at_most=1e6,
        ),
        Setting("kz_filter_alpha", 1.0, "accompanying blur across the beam", at_least=0.0, at_most=1e6),
        Setting(
            "kz_filter_part",
            "both",
            "part of the object it acts on (PtyRAD: obj_type)",
            choices=("both", "phase", "amplitude"),
        ),
    ),
    order=1040,
)
@dataclass(frozen=True)
class KzFilter:
    """Filter along the beam; see the module."""

    beta: float
    alpha: float
    part: str = "both"

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> KzFilter | None:
        """The filter for one epoch; None if it is off, or there is only one slice."""
        beta = float(context.settings.value("kz_filter_beta"))
        if beta <= 0 or context.layout.object_shape[0] == 1:
            return None
        part = str(context.settings.value("kz_filter_part"))
        if part == "amplitude":
            context.needs_modulus("kz_filter_part = amplitude")
        return cls(beta, float(context.settings.value("kz_filter_alpha")), part)

    def transfer(self, shape: tuple[int, int, int], xp: Any) -> Any:
        """W (slices, Y, X), zero frequency at [0, 0, 0]."""
        k_z, k_y, k_x = (xp.fft.fftfreq(size) for size in shape)
        lateral = (k_y[:, None] ** 2 + k_x[None, :] ** 2)[None]
        axial = (self.beta * k_z[:, None, None]) ** 2
        wedge = 1 - 2 / np.pi * xp.arctan(axial / (lateral + ROUNDING_OF_AXIS))
        return (wedge * xp.exp(-self.alpha * lateral)).astype(np.float32)

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return the filtered phase and absorption (modes, slices, Y, X)."""
        transfer = self.transfer(phase.shape[-3:], xp)
        if self.part != "phase":
            size = filtered(modulus(absorption, xp), transfer, xp)
            absorption = absorption_of(1 + KEPT * (size - 1), xp)
        return (phase if self.part == "amplitude" else filtered(phase, transfer, xp)), absorption
