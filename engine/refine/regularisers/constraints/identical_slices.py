"""Identical slices: for a crystal along a zone axis, or the first stage of a thick specimen.

The slices of an object mode share one transmission T. With O_z = T the exact derivative by T is the sum of the
derivatives by the O_z; assigned to every slice it is their mean, which is the gradient projected onto the
subspace of identical slices. Steps, L-BFGS pairs and inner products stay in that subspace, so both solvers work on
the smaller problem, and the parameters keep their places when slices are released in a later epoch.

At the start T is the mean of the potentials of the slices, so that the product of all slices is preserved
(py4DSTEM and quantEM: ``identical_slices``, which take the mean of the transmissions after every iteration).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.engine.refine.regularisers.potentials import potentials, set_potentials
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting


@regulariser(
    "identical_slices",
    acts_on="parameters",
    kind="held",
    settings=(Setting("identical_slices", False, "keep all slices of the object identical (py4DSTEM, quantEM)"),),
)
@dataclass(frozen=True)
class IdenticalSlices:
    """O_z = T in every epoch with the setting on."""

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> IdenticalSlices | None:
        """The constraint for one epoch; None if it is off, or there is only one slice."""
        applies = context.settings.value("identical_slices") and context.layout.object_shape[0] > 1
        return cls() if applies else None

    def begin(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """Set every slice to the mean potentials of all slices. Changes ``vector``."""
        phase, absorption = potentials(layout, vector, xp)
        mean, absorbed = (part.mean(axis=1, keepdims=True) for part in (phase, absorption))
        shape = phase.shape
        set_potentials(layout, vector, xp.broadcast_to(mean, shape), xp.broadcast_to(absorbed, shape), xp)

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """See :class:`ptylive.engine.refine.parameters.constraint.Constraint`."""
        _level(layout, gradient)

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """See :class:`ptylive.engine.refine.parameters.constraint.Constraint`."""
        _level(layout, vector)


def _level(layout: ParameterLayout, vector: Any) -> None:
    """Replace the object's parameters by their mean over the slices."""
    slices, rows, columns = layout.object_shape
    block = layout.object_block(vector).reshape(-1, slices, rows, columns)  # first axis: parts * modes
    block[...] = block.mean(axis=1, keepdims=True)
