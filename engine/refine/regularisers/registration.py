"""Registration of a regulariser: a class in a file of its own, decorated with :func:`regulariser`.

    @regulariser("smoothness", acts_on="object", settings=(Setting("smoothness_weight", 0.0, "…", at_least=0.0),))
    @dataclass(frozen=True)
    class Smoothness:
        weight: float

        @classmethod
        def of_preset(cls, context):
            weight = context.weight("smoothness_weight")
            return cls(weight) if weight > 0 else None

        def of(self, wave, xp):
            ...                                          # Penalised(value, gradient)

``of_preset`` returns None if the settings of the epoch do not use it. The object it returns has, by ``acts_on``,

    object, probe   ``of(wave, xp)`` of a penalty (:class:`~ptylive.engine.refine.regularisers.penalty.Penalty`), or
                    ``changed(wave, xp)`` of a projection: the projected complex array, of the same shape
    object          ``potentials_changed(phase, absorption, xp)`` of a projection: both (modes, slices, Y, X) after the
                    projection; instead of ``changed`` or, in addition to it, for objects whose potentials are refined
    both            ``all_changed(phase, absorption, probe, xp)`` of a projection: all three after the projection
    parameters      ``add`` of a term of the loss (:class:`~ptylive.engine.refine.parameters.terms.Term`), which sees
                    the whole vector; several terms as a tuple

A projection acts before an epoch begins; a ``lasting`` one also acts on the result. A constraint that holds
throughout the epoch is of the kind ``held``, and acts on parameters: ``project_gradient`` and ``restore_fixed`` of
:class:`~ptylive.engine.refine.parameters.constraint.Constraint` and, if it must be imposed at first by another change
than ``restore_fixed``, ``begin(layout, vector, xp)``, which changes the vector.

A class may also have ``curvature_of_positions(settings, grid)``, its contribution to the curvature along one
displacement, and ``fixes_modulus = True`` if it determines the object's modulus: probe and object then keep the factor
between them, which is otherwise set by the counts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ptylive.engine.plugins import at_work
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout
from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset.added import Setting
from ptylive.schema.preset.regularisers import RegulariserSettings

ActsOn = Literal["object", "probe", "both", "parameters"]
Kind = Literal["penalty", "projection", "held"]
MARK = "ptylive_regulariser"
LAST = 1000
"""Order of a regulariser that sets none: after those that do, sorted by name."""
_Class = TypeVar("_Class", bound=type[Any])


@dataclass(frozen=True)
class RegulariserContext:
    """The settings of an epoch, and the other data that regularisers need."""

    settings: RegulariserSettings
    """Settings of all regularisers, including added ones."""
    layout: ParameterLayout
    grid: ObjectGrid
    scan: ScanArrangement
    k_radius: DoubleArray
    """(P, P) spatial frequencies of the window, 1/Å."""
    semiangle_invA: float
    spacings_A: tuple[float, ...]
    """Free space behind each slice but the last, Å."""
    phase_per_A: DoubleArray
    """(P, P) phase added by 1 Å of free space between slices, rad, zero frequency at [0, 0]."""

    def weight(self, name: str) -> float:
        """Return a weight relative to that of the patterns (``loss_weight``)."""
        return 1 / self.settings.loss_weight * float(self.settings.value(name))

    def needs_modulus(self, setting: str) -> None:
        """Raise MetadataError if the object is a pure phase, to which a setting does not apply."""
        if self.layout.object_form is ObjectForm.PHASE:
            raise MetadataError(f"{setting} needs an object with a modulus", "set phase_only_obj=false")

    @property
    def preset(self) -> RegulariserSettings:
        """The settings, under their former name, which plug-ins may use."""
        return self.settings


Asked = RegulariserContext
"""The former name, which plug-ins may import."""


@dataclass(frozen=True)
class Registration:
    """The registration of one regulariser."""

    name: str
    acts_on: ActsOn
    kind: Kind
    settings: tuple[Setting, ...]
    """Settings that it adds to the preset."""
    switches: tuple[str, ...]
    """Settings that switch it on when they are not 0 (or false)."""
    order: int
    made_by: Any
    """The class of the regulariser."""
    lasting: bool = False
    """For a projection: whether it also acts on the result."""

    def at_work(self) -> AbstractContextManager[None]:
        """Context in which code of the class runs: exceptions of plug-ins become one-line errors."""
        return at_work(self.made_by)

    def on(self, settings: RegulariserSettings) -> bool:
        """Whether an epoch's settings switch it on."""
        return any(settings.value(name) for name in self.switches)

    def same(self, before: RegulariserSettings, now: RegulariserSettings) -> bool:
        """Whether its settings are equal in two epochs."""
        names = {*self.switches, *(setting.name for setting in self.settings)}
        return all(before.value(name) == now.value(name) for name in names)

    @property
    def missing(self) -> tuple[str, ...]:
        """Methods that the class should have, but does not."""
        needed = {
            ("penalty", "parameters"): ("add",),
            ("held", "parameters"): ("project_gradient", "restore_fixed"),
            ("projection", "both"): ("all_changed",),
        }.get((self.kind, self.acts_on), ("of",) if self.kind == "penalty" else ("changed",))
        methods = {name for name in dir(self.made_by) if callable(getattr(self.made_by, name))}
        if self.kind == "projection" and self.acts_on == "object" and "potentials_changed" in methods:
            needed = ()
        return tuple(name for name in ("of_preset", *needed) if name not in methods)


def regulariser(
    name: str,
    *,
    acts_on: ActsOn,
    settings: tuple[Setting, ...] = (),
    switches: tuple[str, ...] = (),
    kind: Kind = "penalty",
    order: int = LAST,
    lasting: bool = False,
) -> Callable[[_Class], _Class]:
    """Declare a class a regulariser; ``switches``: by default its first setting; may belong to other regularisers."""

    def declared(made_by: _Class) -> _Class:
        on = switches or tuple(setting.name for setting in settings[:1])
        setattr(made_by, MARK, Registration(name, acts_on, kind, settings, on, order, made_by, lasting))
        return made_by

    return declared
