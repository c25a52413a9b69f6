"""Amplitudes that mirror the phase: |O| <- r |O| + (1 - r) (1 - s max(phi, 0)^p), once per epoch.

PtyRAD: ``mirrored_amp`` with ``relax`` r, ``scale`` s, ``power`` p: absorption grows with a power of the potential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ptylive.engine.refine.regularisers.potentials import absorption_of, modulus
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting


@regulariser(
    "mirrored_amplitude",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting("mirrored_amp", False, "tie the object's modulus to a power of its phase (PtyRAD)"),
        Setting("mirrored_amp_scale", 0.03, "1 - modulus at a phase of 1 rad", at_least=0.0, at_most=1.0),
        Setting("mirrored_amp_power", 4.0, "power of the phase", at_least=0.0, at_most=100.0),
        Setting("mirrored_amp_relax", 0.1, "share of the modulus that mirrored_amp leaves", at_least=0.0, at_most=1.0),
    ),
    order=1070,
)
@dataclass(frozen=True)
class MirroredAmplitude:
    """Amplitude that mirrors the phase; see the module."""

    fixes_modulus: ClassVar[bool] = True

    scale: float
    power: float
    relax: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> MirroredAmplitude | None:
        """The projection for one epoch; None if it is off. Raises MetadataError for a pure phase object."""
        if not context.settings.value("mirrored_amp"):
            return None
        context.needs_modulus("mirrored_amp")
        names = ("mirrored_amp_scale", "mirrored_amp_power", "mirrored_amp_relax")
        return cls(*(float(context.settings.value(name)) for name in names))

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return phase and the changed absorption (modes, slices, Y, X)."""
        mirrored = 1 - self.scale * xp.maximum(phase, 0) ** self.power
        return phase, absorption_of(self.relax * modulus(absorption, xp) + (1 - self.relax) * mirrored, xp)
