"""Reading the configuration of a server: TOML file < options of the command line < ``--set``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ptylive.application.extensions import Preset
from ptylive.schema import InputFileError, MetadataError, Scan, ScanHeader
from ptylive.schema.errors import PtyliveError, did_you_mean, rephrased
from ptylive.schema.files.small_files import read_text
from ptylive.schema.metadata import (
    NAMES,
    SECTIONS,
    array_name,
    arrays_and_numbers,
    check_given_once,
    overlay,
    typed,
)
from ptylive.schema.settings_text import MAX_TOML, as_table, flattened, read_toml
from ptylive.server.process.config import ServerConfig

COMMAND_LINE = "command line"
CORRECT = "correct the value or leave it out"

_TABLES = {
    "security": "[security]",
    "refine": "[refine]",
    "maps": "[maps]",
    "virtual_detectors": "[virtual_detectors]",
    "detector_files": "[detector]",
    "defaults": "[scan], [optics], [detector]",
    "overrides": "[scan], [optics], [detector]",
}
"""Settings that have separate tables in a configuration."""

_OF_THE_SERVER = {"cluster", "when_cluster_missing", "here", "workers"}
"""Keys under [refine] that determine where a refinement runs and are not settings of it."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """Sources of the values: a message names the file only if the value comes from it."""

    file: Path | None
    typed: frozenset[str]
    """Fields of the configuration given on the command line."""

    def of(self, field: str) -> str:
        """Return the source of a field's value, as the beginning of a message."""
        if self.file is None or field in self.typed:
            return COMMAND_LINE
        table = field if field in _TABLES else "server"
        return f"{self.file}: [{table}]" if field else str(self.file)

    @contextmanager
    def named(self, field: str) -> Iterator[None]:
        """Add the source of a value to errors about it."""
        try:
            yield
        except PtyliveError as error:
            raise MetadataError(f"{self.of(field)}: {error}", error.hint) from None


def load_config(path: Path | None, options: Mapping[str, Any], assignments: Mapping[str, Any]) -> ServerConfig:
    """Load the configuration from a TOML file, command-line options (None: not given) and ``--set`` assignments.

    Raises MetadataError naming the file and the key, with the nearest name for a misspelt key.
    """
    values = _from_toml(path) if path is not None else {}
    given = {name: value for name, value in options.items() if value is not None}
    if "security" in given:  # --keys leaves the tokens of the file as they are
        given["security"] = {**values.get("security", {}), **given["security"]}
    values.update(given)
    overrides = dict(values.get("overrides", {}))
    fields = set(given)
    for name, value in assignments.items():
        key = name.removeprefix("server.").replace("detector.distortion", "distortion")
        if key in ServerConfig.model_fields:
            field, values[key] = key, value
        elif name.startswith("refine.") and name.removeprefix("refine.") in _OF_THE_SERVER:
            field = name.replace(".", "_")
            values[field] = value
        elif name.startswith(("security.", "refine.")):
            field, _, inner = name.partition(".")
            values[field] = {**values.get(field, {}), inner: value}
        elif is_map_setting(name):
            field, values["maps"] = "maps", {**values.get("maps", {}), name: value}
        elif (image := array_name(name)) is not None:
            field, values["detector_files"] = "detector_files", {**values.get("detector_files", {}), image: value}
        else:
            field = "overrides"
            overrides |= typed({name: value})
        fields.add(field)
    values["overrides"] = overrides
    return _validated(values, _Sources(path, frozenset(fields)))


def _from_toml(path: Path) -> dict[str, Any]:
    """Read tables `server`, `security`, `refine`, `maps` and metadata sections (`scan`, `optics`, …) of a TOML file."""
    try:
        tables = read_toml(read_text(path, MAX_TOML), str(path))
    except InputFileError as error:
        raise MetadataError(str(error), "check --config") from None
    try:
        return _from_tables(tables)
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}", error.hint) from None


def _from_tables(tables: dict[str, Any]) -> dict[str, Any]:
    values = dict(as_table(tables.pop("server", {}), "server"))
    for name in values.keys() & _TABLES.keys():
        raise MetadataError(f"[server] {name} is not valid here", f"write it as {_TABLES[name]}")
    values["security"] = as_table(tables.pop("security", {}), "security")
    values["refine"] = dict(as_table(tables.pop("refine", {}), "refine"))
    for name in _OF_THE_SERVER & values["refine"].keys():
        values[f"refine_{name}"] = values["refine"].pop(name)
    values["maps"] = flattened(as_table(tables.pop("maps", {}), "maps"))
    values["virtual_detectors"] = dict(as_table(tables.pop("virtual_detectors", {}), "virtual_detectors"))
    defaults: dict[str, Any] = {}
    for section, content in tables.items():
        if section not in SECTIONS:
            raise _unknown_table(section, content)
        as_table(content, section)
        images, numbers = arrays_and_numbers(content) if section == "detector" else ({}, dict(content))
        values["detector_files"] = {**values.get("detector_files", {}), **images}
        if section == "detector" and "distortion" in numbers:
            values["distortion"] = numbers.pop("distortion")
        for key, value in numbers.items():
            defaults |= typed({f"{section}.{key}": value})
    check_given_once(defaults)
    values["defaults"] = defaults
    return values


def _unknown_table(name: str, content: Any) -> MetadataError:
    """Return the error for an unknown table, or for a line above all tables."""
    if isinstance(content, dict):
        known = ["server", "security", "refine", "maps", "virtual_detectors", *SECTIONS]
        return MetadataError(f"unknown table {name!r}", _nearest(name, known))
    if name in NAMES or name in ServerConfig.model_fields:
        table = NAMES[name][0] if name in NAMES else "server"
        return MetadataError(f"{name} is written above all tables", f"move it below the line [{table}]")
    known = [*ServerConfig.model_fields, *NAMES]
    return MetadataError(f"{name} is not in any table", did_you_mean(name, known, "move it below a line like [server]"))


def _validated(values: Mapping[str, Any], sources: _Sources) -> ServerConfig:
    for name in values:
        if name not in ServerConfig.model_fields:
            known = ServerConfig.model_fields
            raise MetadataError(f"{sources.of(name)}: unknown setting {name!r}", _nearest(name, known))
    from ptylive.engine.bases.choice import parse_basis

    try:
        config = ServerConfig.model_validate(dict(values))
    except ValidationError as error:
        raise _refused(error, sources) from None
    with sources.named("refine"):
        Preset.from_mapping(config.refine)
    for given, source in ((config.defaults, str(sources.file)), (config.overrides, COMMAND_LINE)):
        overlay(ScanHeader(uid="", series="", frames=0, scan=Scan()), given, source)
    with sources.named("basis"):
        parse_basis(config.basis)
    if config.virtual_detectors:
        # imports all code that makes maps, which no command needs to start
        from ptylive.application.detector_texts import read_detectors

        with sources.named("virtual_detectors"):
            read_detectors(config.virtual_detectors)
    with sources.named("maps"):
        return config.model_copy(update={"maps": checked_settings(config.maps)})


def _refused(error: ValidationError, sources: _Sources) -> MetadataError:
    """Return the error for the first reason a value is refused."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    message = rephrased(first)
    problem = f"{'.'.join(place)}: {message}" if place else message
    return MetadataError(f"{sources.of(place[0] if place else '')}: {problem}", CORRECT)


def is_map_setting(name: str) -> bool:
    """Return whether a name is METHOD.NAME of a method that makes live maps."""
    if "." not in name or name.partition(".")[0] in SECTIONS:
        return False
    from ptylive.engine.imaging.registry import is_of_a_map

    return is_of_a_map(name)


def checked_settings(values: Mapping[str, Any]) -> dict[str, float]:
    """Return validated settings of live maps. Raises MetadataError for an unknown or impossible setting."""
    if not values:
        return {}
    from ptylive.engine.imaging.registry import only_settings

    return only_settings(values)


def _nearest(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known, f"choose from {', '.join(known)}")
