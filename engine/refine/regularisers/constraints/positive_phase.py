"""Phases at or above 0 for objects that also have a modulus, once per epoch (PtyRAD: ``objp_postiv``).

Pure phase objects have ``non_negative_phase``, a bound that holds in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting


@regulariser(
    "positive_phase",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting("objp_postiv", False, "set negative phases of the object to 0 (PtyRAD)"),
        Setting(
            "objp_postiv_relax", 0.0, "share of a negative phase that objp_postiv leaves", at_least=0.0, at_most=1.0
        ),
        Setting(
            "objp_postiv_mode",
            "clip_neg",
            "clip_neg: negative phases become 0; subtract_min: the lowest phase is subtracted from all phases",
            choices=("clip_neg", "subtract_min"),
        ),
    ),
    order=1100,
)
@dataclass(frozen=True)
class PositivePhase:
    """phi <- relax phi + (1 - relax) max(phi, 0), or with phi - min phi instead of the maximum."""

    relax: float
    subtract: bool = False

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> PositivePhase | None:
        """The projection for one epoch; None if it is off."""
        settings = context.settings
        if not settings.value("objp_postiv"):
            return None
        return cls(float(settings.value("objp_postiv_relax")), settings.value("objp_postiv_mode") == "subtract_min")

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return the changed phase, and absorption (modes, slices, Y, X)."""
        positive = phase - phase.min() if self.subtract else xp.maximum(phase, 0)
        return self.relax * phase + (1 - self.relax) * positive, absorption
