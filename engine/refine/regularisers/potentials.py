"""The object of a parameter vector as potentials: phase phi and absorption a of O = exp(i phi - a), slice by slice.

Phases computed from real and imaginary parts are within (-pi, pi]; phases that are parameters may have any value.
"""

from __future__ import annotations

from typing import Any

from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout

FAINTEST = 1e-6
"""|O| below which the absorption is no longer resolved."""


def potentials(layout: ParameterLayout, vector: Any, xp: Any) -> tuple[Any, Any]:
    """Phase and absorption (object modes, slices, Y, X) of the object of a vector."""
    shape = (layout.object_modes, *layout.object_shape)
    block = layout.object_block(vector)
    if layout.object_form is ObjectForm.PHASE:
        phase = block.reshape(shape)
        return phase, xp.zeros_like(phase)
    first, second = block.reshape(2, *shape)
    if layout.object_form is ObjectForm.DAMPED:
        return first, second
    return xp.arctan2(second, first), -xp.log(xp.maximum(xp.hypot(first, second), FAINTEST))


def set_potentials(layout: ParameterLayout, vector: Any, phase: Any, absorption: Any, xp: Any) -> None:
    """Set the potentials of a vector's object. Changes ``vector``; pure phase objects ignore the absorption."""
    if layout.object_form is ObjectForm.PHASE:
        parts = [phase]
    elif layout.object_form is ObjectForm.DAMPED:
        parts = [phase, absorption]
    else:
        modulus = xp.exp(-absorption)
        parts = [modulus * xp.cos(phase), modulus * xp.sin(phase)]
    layout.object_block(vector)[...] = xp.stack(parts).ravel()


def change_object(layout: ParameterLayout, vector: Any, change: Any, xp: Any) -> None:
    """Apply a linear change to the complex transmission, or to the potentials if these are refined."""
    shape = (layout.object_modes, *layout.object_shape)
    if layout.object_form is ObjectForm.COMPLEX:
        real, imaginary = layout.object_block(vector).reshape(2, *shape)
        changed = change(real + 1j * imaginary)
        layout.object_block(vector)[...] = xp.stack([changed.real, changed.imag]).ravel()
        return
    phase, absorption = potentials(layout, vector, xp)
    damped = layout.object_form is ObjectForm.DAMPED
    set_potentials(layout, vector, change(phase), change(absorption) if damped else absorption, xp)


def modulus(absorption: Any, xp: Any) -> Any:
    """|O| from an absorption."""
    return xp.exp(-absorption)


def absorption_of(modulus: Any, xp: Any) -> Any:
    """The absorption -ln |O| from a modulus; moduli below ``FAINTEST`` count as ``FAINTEST``."""
    return -xp.log(xp.maximum(modulus, FAINTEST))
