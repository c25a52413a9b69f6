"""Creation of the regularisers that the settings switch on. The others are not created and cost nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.parameters.constraint import Constraint
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.engine.refine.parameters.terms import Term
from ptylive.engine.refine.regularisers.missing_wedge import wedge_between
from ptylive.engine.refine.regularisers.penalty import Penalties
from ptylive.engine.refine.regularisers.registration import Kind, Registration, RegulariserContext
from ptylive.engine.refine.regularisers.registry import registered
from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.preset.regularisers import RegulariserSettings


@dataclass(frozen=True)
class Regularisation:
    """Data that regularisers need in addition to their settings."""

    grid: ObjectGrid
    scan: ScanArrangement
    k_radius: DoubleArray
    """(P, P) spatial frequencies of the window, 1/Å."""
    semiangle_invA: float
    spacings_A: tuple[float, ...]
    """Free space behind each slice but the last, Å."""
    phase_per_A: DoubleArray
    """(P, P) phase added by 1 Å of free space between slices, rad."""

    def terms(self, settings: RegulariserSettings, layout: ParameterLayout) -> tuple[Term, ...]:
        """Terms of the loss for the settings of one epoch. Raises MetadataError for unusable masks."""
        instances = self.made(settings, layout, "penalty")
        of_object = tuple(each for registration, each in instances if registration.acts_on == "object")
        of_probe = tuple(each for registration, each in instances if registration.acts_on == "probe")
        terms: list[Term] = [Penalties(of_object, of_probe)] if of_object or of_probe else []
        terms += [each for registration, each in instances if registration.acts_on == "parameters"]
        return tuple(terms)

    def held(self, settings: RegulariserSettings, layout: ParameterLayout) -> tuple[Constraint, ...]:
        """Constraints that hold throughout an epoch with these settings."""
        return tuple(each for _, each in self.made(settings, layout, "held"))

    def made(
        self, settings: RegulariserSettings, layout: ParameterLayout, kind: Kind
    ) -> list[tuple[Registration, Any]]:
        """Regularisers of one kind that the settings of an epoch switch on, in order."""
        context = RegulariserContext(settings, layout, **vars(self))
        instances: list[tuple[Registration, Any]] = []
        for registration in registered():
            if registration.kind == kind and registration.on(settings):
                instances += [(registration, each) for each in _instances(registration, context)]
        return instances

    @staticmethod
    def owns(term: Term) -> bool:
        """Whether a term of the loss was created by :meth:`terms`."""
        own_types = (each.made_by for each in registered() if each.acts_on == "parameters" and each.kind == "penalty")
        return isinstance(term, (Penalties, *own_types))

    @staticmethod
    def curvature_of_positions(settings: RegulariserSettings, grid: ObjectGrid) -> float:
        """Upper bound of the curvature that the regularisers of positions add to the loss along one displacement."""
        types = [each.made_by for each in registered() if hasattr(each.made_by, "curvature_of_positions")]
        return sum(float(each.curvature_of_positions(settings, grid)) for each in types)

    def wedge(self, shape: tuple[int, int, int], beta: float) -> FloatArray:
        """Weights of the missing wedge (slices, Y, X). Raises MetadataError if slices are unevenly spaced."""
        return wedge_between(self.spacings_A, shape, self.grid.pixel_A, beta)


def _instances(registration: Registration, context: RegulariserContext) -> tuple[Any, ...]:
    """The instances that a regulariser creates for an epoch's settings."""
    with registration.at_work():
        created = registration.made_by.of_preset(context)
    instances = created if isinstance(created, tuple) else () if created is None else (created,)
    if not all(isinstance(each, registration.made_by) for each in instances):
        raise RefinementError(
            f"the regulariser {registration.name} makes something else", "its of_preset must make its class"
        )
    return instances
