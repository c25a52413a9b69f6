"""What a refinement is asked to do: PyPty's names with the unit appended, every value and its range (settings.md)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, Self, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)

from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.added import added_words, declared
from ptylive.schema.preset.probe import Illumination
from ptylive.schema.preset.projections import Projections
from ptylive.schema.preset.propagation import ForwardModel
from ptylive.schema.preset.refined import Refinables
from ptylive.schema.preset.regularisers import Constraints
from ptylive.schema.preset.schedules import NARROWING, WORDS, parsed, schedulable, taken_apart
from ptylive.schema.preset.solver import Solver
from ptylive.schema.preset.start import Start
from ptylive.schema.schedule import Schedule
from ptylive.schema.units import in_unit_of
from ptylive.schema.word_schedule import WordSchedule


class Preset(Illumination, Start, Solver, Projections, Constraints, Refinables, ForwardModel):
    """Settings of one refinement. ``auto`` is chosen from the data, and the choice is stated with its reason.

    A setting that follows a schedule has, as its own value, that of epoch 0; switches are on where the schedule may
    ever switch them on, and what only holds something back is off. :meth:`at` gives the settings of one epoch.
    Settings of regularisers that bring their own (:mod:`ptylive.schema.preset.added`) are fields of :meth:`full`.
    """

    schedules: dict[str, str] = Field(
        default={}, description="settings that follow the epoch, each as an expression in epoch"
    )

    @model_validator(mode="before")
    @classmethod
    def _schedules_apart(cls, values: Any) -> Any:
        """Texts such as ``epoch > 5`` are schedules; their value in epoch 0 stands in for them."""
        if not isinstance(values, Mapping):
            return values
        try:
            plain, schedules = taken_apart(values)
            starts = {name: cls._standing_in(name, schedule) for name, schedule in schedules.items()}
        except MetadataError as error:
            raise ValueError(error.line()) from None
        return {**plain, **starts, "schedules": {name: schedule.text for name, schedule in schedules.items()}}

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Expressions in the place of the values they give, so that a setting written anew replaces its schedule."""
        values = handler(self)
        return {name: self.schedules.get(name, value) for name, value in values.items() if name != "schedules"}

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        moving = [name for name in type(self).model_fields if name.startswith("update_")]
        if not any(getattr(self, name) is True for name in moving):
            raise ValueError("update_obj, update_probe and every other update_… are off: nothing would be refined")
        return self

    @model_validator(mode="after")
    def _one_kind_of_object(self) -> Self:
        if self.weakly_damped_obj and self.phase_only_obj is True:
            raise ValueError("weakly_damped_obj and phase_only_obj exclude each other")
        if (self.update_slice_distances or self.scan_thickness) and self.num_slices == 1:
            raise ValueError("update_slice_distances and scan_thickness need num_slices of at least 2")
        return self

    @model_validator(mode="after")
    def _thickness_known(self) -> Self:
        if self.slice_distances_A is not None and len(self.slice_distances_A) not in (1, self.num_slices - 1):
            raise ValueError(
                f"slice_distances_A has {len(self.slice_distances_A)} values: give one, or num_slices - 1"
                f" = {self.num_slices - 1}"
            )
        if self.num_slices > 1 and self.total_thickness_A is None and self.slice_distances_A is None:
            raise ValueError(f"num_slices = {self.num_slices} needs total_thickness_A or slice_distances_A")
        return self

    def at(self, epoch: int) -> Preset:
        """The settings of one epoch, no schedule left. Raises MetadataError where a value is out of its range."""
        if not self.schedules:
            return self
        values = {name: _cast(type(self), name, parsed(name, text).at(epoch)) for name, text in self.schedules.items()}
        try:
            return Preset.from_mapping({**self.model_dump(), **values})
        except MetadataError as error:
            raise MetadataError(f"epoch {epoch}: {error}", error.hint) from None

    @classmethod
    def _standing_in(cls, name: str, schedule: Schedule | WordSchedule) -> Any:
        """What a setting that follows a schedule is by itself: the value of epoch 0; a switch is on."""
        if name in NARROWING:
            return NARROWING[name]
        if name not in schedulable() | WORDS:
            raise MetadataError(f"{name} cannot follow a schedule", "docs/settings.md lists what can")
        return True if cls.model_fields[name].annotation is bool else _cast(cls, name, schedule.at(0))

    @classmethod
    def full(cls) -> type[Preset]:
        """The preset with every setting and word that regularisers and data terms add."""
        return _extended(tuple(declared()), tuple(added_words("algorithm").items()))

    @classmethod
    def kind_for(cls, values: Mapping[str, Any]) -> type[Preset]:
        """The preset that has the names of ``values``, as far as any has: nobody is asked for what it has itself."""
        own = set(values) <= Preset.model_fields.keys() and values.get("algorithm", "auto") in _OWN_ALGORITHMS
        return cls if own else cls.full()

    def value(self, name: str) -> Any:
        """A setting by its name; the default of an added one that nobody spoke of. Raises KeyError for none."""
        if name in type(self).model_fields:
            return getattr(self, name)
        return declared()[name].default

    @property
    def spacings_A(self) -> tuple[float, ...]:
        """Free space behind each slice but the last, Å: num_slices - 1 values."""
        gaps = self.num_slices - 1
        if self.slice_distances_A is not None:
            return self.slice_distances_A if len(self.slice_distances_A) == gaps else self.slice_distances_A * gaps
        return ((self.total_thickness_A or 0.0) / self.num_slices,) * gaps

    @property
    def slice_thickness_A(self) -> tuple[float, ...]:
        """Thickness of each slice, Å; 0 for a single slice of unknown thickness."""
        if self.num_slices == 1:
            return (self.total_thickness_A or sum(self.slice_distances_A or ()),)
        return (*self.spacings_A, self.spacings_A[-1])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Preset:
        """A preset from names and values as people write them; MetadataError names the field and the remedy."""
        kind = cls.kind_for(values)
        for name in values:
            if name not in kind.model_fields:
                near = difflib.get_close_matches(name, kind.model_fields, n=1)
                raise MetadataError(
                    f"unknown refinement setting {name!r}",
                    f"did you mean {near[0]!r}?" if near else "docs/settings.md lists the settings",
                )
        try:
            return kind.model_validate({name: in_unit_of(name, value) for name, value in values.items()})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"][:1])
            message = first["msg"].removeprefix("Value error, ")
            raise MetadataError(
                f"refinement setting {field}: {message}" if field else f"refinement settings: {message}",
                "correct the value or leave it out",
            ) from None


_OWN_ALGORITHMS: tuple[str, ...] = get_args(Preset.model_fields["algorithm"].annotation)


@lru_cache(maxsize=8)
def _extended(names: tuple[str, ...], algorithms: tuple[tuple[str, str], ...]) -> type[Preset]:
    """The preset with the added settings ``names`` and data terms ``algorithms``, each with its meaning."""
    settings = declared()
    fields: dict[str, Any] = {name: settings[name].field() for name in names}
    if algorithms:
        own = Preset.model_fields["algorithm"]
        words = (*get_args(own.annotation), *(name for name, _ in algorithms))
        described = "; ".join([own.description or "", *(f"{name}: {meaning}" for name, meaning in algorithms)])
        fields["algorithm"] = (Literal[words], Field(default=own.default, description=described))
    return create_model("Preset", __base__=Preset, **fields) if fields else Preset


def _cast(kind: type[Preset], name: str, value: float | str) -> Any:
    """The value of a schedule as a setting takes it: truth values for switches, whole numbers and words as such."""
    if isinstance(value, str):
        return value
    if kind.model_fields[name].annotation is bool or name == "phase_only_obj":
        return bool(value)
    return int(value) if value.is_integer() else value
