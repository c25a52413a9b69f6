"""Moduli of the transmission between two limits.

A modulus at a limit stays there if a step against the gradient would push it through: that part of the gradient is
left out, and steps end within the limits (:class:`AmplitudeLimits`). With a share r > 0 the limits are soft, and act
once per epoch as in PtyRAD: |O| <- r |O| + (1 - r) clip(|O|, low, high) (:class:`SoftAmplitudeLimits`).

PtyRAD: ``obja_thresh`` with ``thresh`` and ``relax``; phaser: ``clamp_object_amplitude`` (low 0); py4DSTEM and quantEM
keep |O| at or below 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout
from ptylive.engine.refine.regularisers.potentials import FAINTEST, absorption_of, modulus
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.added import Setting

AT_LIMIT = 1e-6
"""Share of a modulus within which it counts as at a limit: eight times single-precision rounding."""
LIMITS = (
    Setting("obja_thresh", False, "keep moduli of the object between obja_thresh_min and _max (PtyRAD, phaser)"),
    Setting("obja_thresh_min", 0.96, "least modulus of obja_thresh", at_least=0.0, at_most=1.0),
    Setting("obja_thresh_max", 1.04, "largest modulus of obja_thresh", at_least=1.0, at_most=1e6),
)


def _limits(context: RegulariserContext, *, soft: bool) -> tuple[float, float] | None:
    """The limits, if they are on, soft or hard as requested, and the object has a modulus; they include vacuum."""
    settings, share = context.settings, context.settings.value("obja_thresh_relax")
    if not settings.value("obja_thresh") or (share > 0) is not soft or context.layout.object_form is ObjectForm.PHASE:
        return None
    low, high = settings.value("obja_thresh_min"), settings.value("obja_thresh_max")
    if low >= high:
        raise MetadataError(
            "obja_thresh_min and obja_thresh_max exclude every modulus",
            "set phase_only_obj=true, or change one of them",
        )
    return float(low), float(high)


@regulariser("amplitude_limits", acts_on="parameters", kind="held", settings=LIMITS, order=1010)
@dataclass(frozen=True)
class AmplitudeLimits:
    """Hard limits low <= |O| <= high."""

    fixes_modulus: ClassVar[bool] = True

    low: float
    high: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> AmplitudeLimits | None:
        """The constraint for one epoch; None if it is off or soft, or for a pure phase object. Raises MetadataError."""
        limits = _limits(context, soft=False)
        return None if limits is None else cls(*limits)

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """See :class:`ptylive.engine.refine.parameters.constraint.Constraint`."""
        if layout.object_form is ObjectForm.DAMPED:
            absorption, derivative = layout.absorption_block(vector), layout.absorption_block(gradient)
            leaving = (absorption >= -math.log(max(self.low, FAINTEST)) - AT_LIMIT) & (derivative < 0)
            derivative[leaving] = 0  # absorptions are bounded by 0 anyway
            return
        planes = layout.object_block(vector).reshape(2, -1)
        derivative = layout.object_block(gradient).reshape(2, -1)
        size = xp.maximum(xp.hypot(planes[0], planes[1]), FAINTEST)
        radial = (planes * derivative).sum(axis=0) / size
        leaving = ((size >= (1 - AT_LIMIT) * self.high) & (radial < 0)) | (
            (size <= (1 + AT_LIMIT) * self.low) & (radial > 0)
        )
        derivative -= xp.where(leaving, radial / size, 0) * planes

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """See :class:`ptylive.engine.refine.parameters.constraint.Constraint`."""
        if layout.object_form is ObjectForm.DAMPED:
            absorption = layout.absorption_block(vector)
            xp.minimum(absorption, -math.log(max(self.low, FAINTEST)), out=absorption)
            return
        planes = layout.object_block(vector).reshape(2, -1)
        size = xp.hypot(planes[0], planes[1])
        empty = size < FAINTEST  # no meaningful phase: real
        planes *= xp.where(empty, 0, xp.clip(size, self.low, self.high) / xp.maximum(size, FAINTEST))
        planes[0] += xp.where(empty, max(self.low, FAINTEST), 0)


@regulariser(
    "soft_amplitude_limits",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting(
            "obja_thresh_relax",
            0.0,
            "share of the excess that obja_thresh leaves in each epoch (PtyRAD: relax); 0: strict limits",
            at_least=0.0,
            at_most=1.0,
        ),
    ),
    order=1090,
)
@dataclass(frozen=True)
class SoftAmplitudeLimits:
    """Soft limits |O| <- relax |O| + (1 - relax) clip(|O|, low, high)."""

    fixes_modulus: ClassVar[bool] = True

    low: float
    high: float
    relax: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> SoftAmplitudeLimits | None:
        """The projection for one epoch; None if it is off or hard, or for a pure phase object. Raises MetadataError."""
        limits = _limits(context, soft=True)
        return None if limits is None else cls(*limits, float(context.settings.value("obja_thresh_relax")))

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return phase and the changed absorption (modes, slices, Y, X)."""
        size = modulus(absorption, xp)
        return phase, absorption_of(self.relax * size + (1 - self.relax) * xp.clip(size, self.low, self.high), xp)
