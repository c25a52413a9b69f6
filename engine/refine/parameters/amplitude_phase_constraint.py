"""Constraints for single epochs: an object of fixed modulus, or a probe of fixed modulus or phase.

The parameters remain real and imaginary parts. With u = z / |z| of a coefficient z at the beginning of the epoch, the
gradient g is projected onto the free directions, and the fixed part is restored after every step:

    phase alone       g <- i v Re((i v)* g), v = z / |z| now        z <- |z_0| z / |z|
    amplitude alone   g <- u Re(u* g)                               z <- u Re(u* z)

To first order this is a step along the phase or the amplitude, as PyPty takes it (|O| exp(i (arg O + alpha d)),
docs/theory/refinement.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout
from ptylive.engine.refine.parameters.probe_model import ProbeForm
from ptylive.schema.preset.object import ObjectSettings
from ptylive.schema.preset.probe import ProbeSettings

SMALLEST = 1e-30


@dataclass(frozen=True, eq=False)
class AmplitudePhaseConstraint:
    """What is fixed in an epoch; attributes that are None fix nothing."""

    object_modulus: Any = None
    """|O| (planes, Y, X)."""
    probe_modulus: Any = None
    """|P| in the aperture plane (probes * modes, P, P)."""
    probe_direction: Any = None
    """P / |P| (2, probes * modes, P, P)."""

    @classmethod
    def of(
        cls, form: ObjectSettings, probe: ProbeSettings, layout: ParameterLayout, vector: Any, xp: Any
    ) -> AmplitudePhaseConstraint | None:
        """What an epoch's settings fix, at the values of its start parameters; None if they fix nothing.

        Objects and probes that are refined as phases or amplitudes from the start need no constraint.
        """
        objects = layout.object_block(vector).reshape(2, -1) if layout.object_form is ObjectForm.COMPLEX else None
        probes = layout.probe_block(vector) if layout.probe.form is ProbeForm.COMPLEX else None
        fixed = cls(
            _modulus(objects, xp) if objects is not None and form.phase_only_obj is True else None,
            _modulus(probes, xp) if probes is not None and probe.probe_part == "phase" else None,
            _direction(probes, xp) if probes is not None and probe.probe_part == "amplitude" else None,
        )
        is_empty = fixed.object_modulus is None and fixed.probe_modulus is None and fixed.probe_direction is None
        return None if is_empty else fixed

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """Project a gradient onto the free directions. Changes ``gradient``."""
        if self.object_modulus is not None:
            _keep_tangential(
                layout.object_block(vector).reshape(2, -1), layout.object_block(gradient).reshape(2, -1), xp
            )
        if self.probe_modulus is not None:
            _keep_tangential(layout.probe_block(vector), layout.probe_block(gradient), xp)
        if self.probe_direction is not None:
            probe = layout.probe_block(gradient)
            probe[...] = self.probe_direction * (self.probe_direction * probe).sum(axis=0)

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """Restore the fixed parts. Changes ``vector``."""
        if self.object_modulus is not None:
            planes = layout.object_block(vector).reshape(2, -1)
            planes *= self.object_modulus / xp.maximum(_modulus(planes, xp), SMALLEST)
        if self.probe_modulus is not None:
            planes = layout.probe_block(vector)
            planes *= self.probe_modulus / xp.maximum(_modulus(planes, xp), SMALLEST)
        if self.probe_direction is not None:
            planes = layout.probe_block(vector)
            planes[...] = self.probe_direction * (self.probe_direction * planes).sum(axis=0)


def _modulus(planes: Any, xp: Any) -> Any:
    """|z| of planes (2, …)."""
    return xp.hypot(planes[0], planes[1])


def _direction(planes: Any, xp: Any) -> Any:
    """Z / |z| of planes (2, …); real where z is 0, so that an amplitude can grow there."""
    modulus = _modulus(planes, xp)
    empty = modulus < SMALLEST
    divisor = xp.where(empty, 1, modulus)
    return xp.stack([xp.where(empty, 1, planes[0] / divisor), planes[1] / divisor]).astype(planes.dtype)


def _keep_tangential(planes: Any, gradient: Any, xp: Any) -> None:
    """Gradient <- i v Re((i v)* gradient), v = z / |z|."""
    power = xp.maximum(planes[0] ** 2 + planes[1] ** 2, SMALLEST)
    tangential = (planes[0] * gradient[1] - planes[1] * gradient[0]) / power
    gradient[0], gradient[1] = -tangential * planes[1], tangential * planes[0]
