"""The settings of a refinement: PyPty's names with the unit appended, every value and its range (settings.md).

Inside the program settings are in groups, and code that needs some takes their group. Outside (keywords, files, the
wire, results) they are side by side under their own names: :class:`Preset` reads and writes them in this form. The
class that declares a setting determines its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import (
    Field,
    SerializationInfo,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ptylive.schema.errors import MetadataError, brief, did_you_mean, rephrased
from ptylive.schema.metadata import NAMES
from ptylive.schema.model import StrictModel
from ptylive.schema.preset.added import added_words, declared
from ptylive.schema.preset.loss import LossSettings
from ptylive.schema.preset.object import ObjectSettings
from ptylive.schema.preset.patterns import PatternSettings, ScansSettings
from ptylive.schema.preset.probe import ProbeSettings
from ptylive.schema.preset.propagation import InstrumentSettings, PropagationSettings
from ptylive.schema.preset.refined import RefinedSettings
from ptylive.schema.preset.regularisers import RegulariserSettings
from ptylive.schema.preset.schedules import NARROWING, WORDS, parsed, schedulable, taken_apart
from ptylive.schema.preset.solver import PriorSettings, SolverSettings
from ptylive.schema.preset.stages import NAME, Stage, checked_tables, titled
from ptylive.schema.preset.start import StartSettings, gathered
from ptylive.schema.schedule import Schedule
from ptylive.schema.units import in_unit_of
from ptylive.schema.word_schedule import WordSchedule


class Preset(StrictModel):
    """Settings of one refinement. ``auto`` is chosen from the data, and the choice is stated with its reason.

    The own value of a setting that follows a schedule is that of epoch 0; a switch is on if the schedule may ever
    switch it on, and a setting that only holds something back is off. :meth:`at` gives the settings of one epoch.
    Settings that regularisers add (:mod:`ptylive.schema.preset.added`) are settings of :meth:`full`.
    """

    object: ObjectSettings = ObjectSettings()
    probe: ProbeSettings = ProbeSettings()
    patterns: PatternSettings = PatternSettings()
    propagation: PropagationSettings = PropagationSettings()
    instrument: InstrumentSettings = InstrumentSettings()
    refined: RefinedSettings = RefinedSettings()
    loss: LossSettings = LossSettings()
    solver: SolverSettings = SolverSettings()
    prior: PriorSettings = PriorSettings()
    regularisers: RegulariserSettings = RegulariserSettings()
    start: StartSettings = StartSettings()
    scans: ScansSettings = ScansSettings()
    schedules: dict[str, str] = Field(
        default={}, description="settings that follow the epoch, each as an expression in epoch"
    )
    stages: tuple[dict[str, Any], ...] = Field(
        default=(), description="successive refinements, each with its own settings and a name"
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None:
            """Accepts settings by their own names, and whole groups."""

    @classmethod
    def settings(cls) -> Mapping[str, FieldInfo]:
        """Every setting by its own name, group after group."""
        return _settings(cls)

    @classmethod
    def groups(cls) -> Mapping[str, type[StrictModel]]:
        """The groups by name."""
        return _groups(cls)

    @model_validator(mode="wrap")
    @classmethod
    def _into_groups(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Treat texts such as ``epoch > 5`` as schedules; their value in epoch 0 stands in for them."""
        if not isinstance(values, Mapping):
            return handler(values)
        try:
            plain, schedules = taken_apart(values)
            starts = {name: cls._initial_value(name, schedule) for name, schedule in schedules.items()}
            if "stages" in plain:
                plain["stages"] = checked_tables(plain["stages"])
        except MetadataError as error:
            raise ValueError(error.line()) from None
        texts = {name: schedule.text for name, schedule in schedules.items()}
        try:
            return handler({**_grouped(cls, {**plain, **starts}), "schedules": texts})
        except ValidationError as error:
            raise _relocated(error, cls) from None

    @model_serializer(mode="plain")
    def _as_written(self, info: SerializationInfo) -> dict[str, Any]:
        """Write expressions in place of their values, so that a setting written anew replaces its schedule."""
        values: dict[str, Any] = {}
        for group in _groups(type(self)):
            values |= getattr(self, group).model_dump(
                mode=info.mode,
                exclude_unset=info.exclude_unset,
                exclude_defaults=info.exclude_defaults,
                exclude_none=info.exclude_none,
            )
        if self.stages:
            values["stages"] = [dict(table) for table in self.stages]
        wanted = set(values) if info.include is None else set(values) & set(info.include)
        wanted -= set(info.exclude or ())
        return {name: self.schedules.get(name, value) for name, value in values.items() if name in wanted}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, given by their own names, unchecked. Raises KeyError for unknown names."""
        changed: dict[str, Any] = {}
        for name, value in _grouped(type(self), update or {}).items():
            if name not in type(self).model_fields:
                raise KeyError(name)
            in_group = name in _groups(type(self)) and isinstance(value, dict)
            changed[name] = getattr(self, name).model_copy(update=value) if in_group else value
        return super().model_copy(update=changed, deep=deep)

    @model_validator(mode="after")
    def _slices_there(self) -> Self:
        self.check_slices()
        return self

    def check_slices(self) -> None:
        """Raise ValueError if what is refined of the slices does not go with their number and thickness."""
        if (self.refined.update_slice_distances or self.start.scan_thickness) and self.object.slices == 1:
            raise ValueError("update_slice_distances and scan_thickness need num_slices of at least 2")
        self._check_thickness()

    def _check_thickness(self) -> None:
        if self.refined.update_thickness is not True:
            return
        if self.refined.update_slice_distances:
            raise ValueError("update_thickness and update_slice_distances exclude each other")
        if len(set(self.object.slice_thickness_A)) > 1:
            raise ValueError("update_thickness needs equal slices: update_slice_distances refines each distance")

    @model_validator(mode="after")
    def _stages_possible(self) -> Self:
        try:
            self.in_stages()
        except MetadataError as error:
            raise ValueError(error.line()) from None
        return self

    def in_stages(self) -> tuple[Stage, ...]:
        """Return the successive refinements, this preset alone if it has no stages; none has stages in turn.

        Raises MetadataError, which names the stage, where its own settings conflict with the common ones.
        """
        if not self.stages:
            return (Stage("", self, frozenset(self.model_dump(exclude_unset=True))),)
        shared = self.model_dump(exclude_unset=True, exclude={"stages"})
        found = []
        for number, table in enumerate(self.stages, 1):
            own_values = {name: value for name, value in table.items() if name != NAME}
            name = str(table.get(NAME, ""))
            try:
                found.append(Stage(name, Preset.from_mapping({**shared, **own_values}), frozenset(own_values)))
            except MetadataError as error:
                raise MetadataError(f"{titled(number, name)}: {error}", error.hint) from None
        return tuple(found)

    @property
    def final(self) -> Preset:
        """The settings of the last stage."""
        return self.in_stages()[-1].preset

    def at(self, epoch: int) -> Preset:
        """Return the settings of one epoch, without schedules. Raises MetadataError if a value is out of range."""
        if not self.schedules:
            return self
        values = {name: _cast(type(self), name, _parsed(name, text).at(epoch)) for name, text in self.schedules.items()}
        if not self.stages:
            with suppress(ValueError):  # checking the whole preset names what is wrong
                return self._with_values(values)
        try:
            return Preset.from_mapping({**self.model_dump(), **values})
        except MetadataError as error:
            raise MetadataError(f"epoch {epoch}: {error}", error.hint) from None

    def _with_values(self, values: Mapping[str, Any]) -> Preset:
        """Return a copy without schedules, with other values; only their groups are checked. Raises ValueError.

        It is the one that writing all settings and reading them again would give, in a fraction of the time.
        """
        changed, groups = _grouped(type(self), values), dict[str, Any]()
        for name in _groups(type(self)):
            group = getattr(self, name)
            settings = {each: getattr(group, each) for each in type(group).model_fields}
            own = changed.get(name)
            groups[name] = (
                group.model_copy(update=settings) if own is None else group.model_validate({**settings, **own})
            )
        made = type(self).model_construct({*groups, "schedules"}, **groups, schedules={}, stages=())
        made.check_slices()
        return made

    @classmethod
    def _initial_value(cls, name: str, schedule: Schedule | WordSchedule) -> Any:
        """Own value of a setting that follows a schedule: the value of epoch 0; a switch is on."""
        if name in NARROWING:
            return NARROWING[name]
        if name not in schedulable() | WORDS:
            raise MetadataError(f"{name} cannot follow a schedule", "docs/settings.md lists the settings that can")
        return True if _is_switch(cls, name) else _cast(cls, name, schedule.at(0))

    @classmethod
    def full(cls) -> type[Preset]:
        """Return the preset with every setting and word that regularisers and data terms add."""
        return _extended(tuple(declared()), tuple(added_words("algorithm").items()))

    @classmethod
    def kind_for(cls, values: Mapping[str, Any]) -> type[Preset]:
        """Return the preset with the names of ``values``, as far as any has them; sources are called only if needed."""
        own = set(values) <= Preset.settings().keys() and values.get("algorithm", "auto") in _OWN_ALGORITHMS
        return cls if own else cls.full()

    def value(self, name: str) -> Any:
        """Return a setting by its name; an unset added one has its default. Raises KeyError if there is none."""
        group = _homes(type(self)).get(name)
        if group is not None:
            return getattr(getattr(self, group), name)
        return getattr(self, name) if name in BESIDE_GROUPS else declared()[name].default

    @classmethod
    def check_names(cls, values: Mapping[str, Any]) -> type[Preset]:
        """Return the preset with all names of ``values``. Raises MetadataError if one is not the name of a setting."""
        kind = cls.kind_for(values)
        for name in values:
            if name not in kind.settings():
                meant = USUAL_WORDS.get(name.lower().removeprefix("n_").removeprefix("num_").removeprefix("max_"))
                hint = f"did you mean {meant!r}?" if meant else did_you_mean(name, kind.settings(), SETTINGS_LISTED)
                hint = "it describes the scan: give it with the scan" if name in NAMES else hint
                raise MetadataError(f"unknown refinement setting {name!r}", hint)
        return kind

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Preset:
        """Make a preset from names and values as people write them; MetadataError names the field and the remedy."""
        if not isinstance(values, Mapping):
            raise MetadataError(f"a preset cannot be {brief(values)}", "give a table of settings and their values")
        values = gathered(values, cls.settings())
        kind = cls.check_names(values)
        try:
            return kind.model_validate({name: in_unit_of(name, value) for name, value in values.items()})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"][:1])
            message = rephrased(first).removesuffix(f": {CORRECT}")  # of a stage
            raise MetadataError(
                f"refinement setting {field}: {message}" if field else f"refinement settings: {message}",
                CORRECT,
            ) from None


CORRECT = "correct the value or leave it out"
SETTINGS_LISTED = "docs/settings.md lists the settings"
USUAL_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("epoch", "epochs", "iter", "iters", "iterations", "niter"), "epoch_max"),
    **dict.fromkeys(("slice", "slices"), "num_slices"),
    **dict.fromkeys(("thickness", "thickness_a"), "total_thickness_A"),
    **dict.fromkeys(("mode", "modes"), "probe_modes"),
    **dict.fromkeys(("positions", "refine_positions"), "update_probe_pos"),
    **dict.fromkeys(("loss", "data_term"), "algorithm"),
    **dict.fromkeys(("batch", "batchsize"), "batch_size"),
}
"""Settings by the words that the page, the command line and other programs have for them."""
BESIDE_GROUPS = ("schedules", "stages")
"""Settings about settings, which belong to no group."""
_OWN_ALGORITHMS: tuple[str, ...] = get_args(LossSettings.model_fields["algorithm"].annotation)


def reserved_names() -> frozenset[str]:
    """Names that no added setting may have: those of settings, and attributes of presets and regularisers."""
    return frozenset({*Preset.settings(), *Preset.model_fields, *dir(Preset), *dir(RegulariserSettings)})


@lru_cache(maxsize=16)
def _groups(kind: type[Preset]) -> Mapping[str, type[StrictModel]]:
    """The groups of a preset by name."""
    kinds = {name: field.annotation for name, field in kind.model_fields.items()}
    return {name: each for name, each in kinds.items() if isinstance(each, type) and issubclass(each, StrictModel)}


@lru_cache(maxsize=16)
def _homes(kind: type[Preset]) -> Mapping[str, str]:
    """The group of every setting."""
    return {name: group for group, settings in _groups(kind).items() for name in settings.model_fields}


@lru_cache(maxsize=16)
def _settings(kind: type[Preset]) -> Mapping[str, FieldInfo]:
    """Every setting, the schedules and the stages."""
    found = {name: field for settings in _groups(kind).values() for name, field in settings.model_fields.items()}
    return MappingProxyType({**found, **{name: kind.model_fields[name] for name in BESIDE_GROUPS}})


def _grouped(kind: type[Preset], values: Mapping[str, Any]) -> dict[str, Any]:
    """Sort settings into their groups; a whole group contributes the values set in it. Other names stay."""
    homes, groups = _homes(kind), _groups(kind)
    found: dict[str, dict[str, Any]] = {}
    remaining: dict[str, Any] = {}
    for name, value in values.items():
        if name in homes:
            found.setdefault(homes[name], {})[name] = value
        elif name in groups and isinstance(value, StrictModel):
            found.setdefault(name, {}).update({each: getattr(value, each) for each in value.model_fields_set})
        else:
            remaining[name] = value
    return {**remaining, **found}


def _unknown(problem: ErrorDetails, kind: type[Preset]) -> PydanticCustomError:
    hint = did_you_mean(str(problem["loc"][-1]), kind.settings(), SETTINGS_LISTED)
    return PydanticCustomError("unknown_setting", "unknown setting: {hint}", {"hint": hint})


def _relocated(error: ValidationError, kind: type[Preset]) -> ValidationError:
    """The same errors located at the settings' own names, without their group; unknown names get the nearest one."""
    groups = _groups(kind)
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                type=_unknown(each, kind) if each["type"] == "extra_forbidden" else each["type"],
                loc=each["loc"][1:] if each["loc"] and each["loc"][0] in groups else each["loc"],
                input=each["input"],
                ctx=each.get("ctx", {}),
            )
            for each in error.errors(include_url=False)
        ],
    )


@lru_cache(maxsize=8)
def _extended(names: tuple[str, ...], algorithms: tuple[tuple[str, str], ...]) -> type[Preset]:
    """The preset with the added settings ``names`` and data terms ``algorithms``, each with its meaning."""
    settings, changed = declared(), dict[str, Any]()
    if names:
        added: dict[str, Any] = {name: settings[name].field() for name in names}
        regularisers = create_model("RegulariserSettings", __base__=RegulariserSettings, **added)
        changed["regularisers"] = (regularisers, regularisers())
    if algorithms:
        own = LossSettings.model_fields["algorithm"]
        words = (*get_args(own.annotation), *(name for name, _ in algorithms))
        described = "; ".join([own.description or "", *(f"{name}: {meaning}" for name, meaning in algorithms)])
        algorithm: Any = (Literal[words], Field(default=own.default, description=described))
        loss = create_model("LossSettings", __base__=LossSettings, algorithm=algorithm)
        changed["loss"] = (loss, loss())
    return create_model("Preset", __base__=Preset, **changed) if changed else Preset


_parsed = lru_cache(maxsize=256)(parsed)
"""Schedules by name and text, which are requested several times in every epoch."""


def _is_switch(kind: type[Preset], name: str) -> bool:
    """Whether a setting is true or false, possibly with further values."""
    annotation = kind.settings()[name].annotation
    return annotation is bool or bool in get_args(annotation)


def _cast(kind: type[Preset], name: str, value: float | str) -> Any:
    """Convert the value of a schedule to the type of its setting: booleans for switches, integers and words as such."""
    if isinstance(value, str):
        return value
    if _is_switch(kind, name):
        return bool(value)
    return int(value) if value.is_integer() else value
