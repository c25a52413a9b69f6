"""Absorption proportional to the phase, as in a specimen of one material: a = C phi, once per epoch.

    a <- (1 - alpha1) a + alpha1 C phi          phi <- (1 - alpha2) phi + alpha2 a / C

Both right-hand sides use the previous values. C is given, or estimated each time as sum |a| / sum |phi| over the whole
object. PtyRAD: ``complex_ratio`` with ``alpha1`` and ``alpha2``, for phases that are positive in matter, after Clark et
al., Optics Express 18 (2010) 1981.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting

SMALLEST = 1e-8
"""Added to divisors, as in PtyRAD."""


@regulariser(
    "complex_ratio",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting("complex_ratio", False, "tie the object's absorption to its phase by one factor (PtyRAD)"),
        Setting(
            "complex_ratio_alpha1",
            1.0,
            "share of the absorption that follows from the phase",
            at_least=0.0,
            at_most=1.0,
        ),
        Setting(
            "complex_ratio_alpha2",
            0.0,
            "share of the phase that follows from the absorption",
            at_least=0.0,
            at_most=1.0,
        ),
        Setting(
            "complex_ratio_factor",
            0.0,
            "absorption over phase, if known; 0: estimated",
            at_least=0.0,
            at_most=1.0,
        ),
    ),
    order=1060,
)
@dataclass(frozen=True)
class ComplexRatio:
    """Coupling of absorption and phase; see the module."""

    fixes_modulus: ClassVar[bool] = True

    alpha1: float
    alpha2: float
    factor: float = 0.0
    """C; 0: estimated."""

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> ComplexRatio | None:
        """The projection for one epoch; None if it is off. Raises MetadataError for a pure phase object."""
        if not context.settings.value("complex_ratio"):
            return None
        context.needs_modulus("complex_ratio")
        names = ("complex_ratio_alpha1", "complex_ratio_alpha2", "complex_ratio_factor")
        return cls(*(float(context.settings.value(name)) for name in names))

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return the changed phase and absorption (modes, slices, Y, X)."""
        factor: Any = self.factor
        if not factor:
            factor = float(abs(absorption).sum(dtype="float64") / (abs(phase).sum(dtype="float64") + SMALLEST))
        mixed = (1 - self.alpha1) * absorption + self.alpha1 * factor * phase
        return (1 - self.alpha2) * phase + self.alpha2 / (factor + SMALLEST) * absorption, mixed
