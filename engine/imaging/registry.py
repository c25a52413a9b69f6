"""Registry of live maps: those of the files in `maps`, and those of installed packages."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ptylive.engine.imaging import maps
from ptylive.engine.imaging.declaration import PTYLIVE, MapSetting, MapWords, Method, Needs, declared
from ptylive.engine.imaging.plugins import from_packages
from ptylive.schema import MetadataError
from ptylive.schema.errors import brief, did_you_mean
from ptylive.schema.metadata import SECTIONS


@dataclass(frozen=True, eq=False)
class FoundMethods:
    """Methods by name, in the order in which they are made; and one line for each method of a package left out."""

    methods: Mapping[str, Method]
    problems: tuple[str, ...] = ()


@cache
def found() -> FoundMethods:
    """Return all methods, looked up once per process."""
    own_maps = list(own_methods())
    from_plugins, problems = from_packages(own_maps)
    all_methods = sorted((*own_maps, *from_plugins), key=lambda method: method.rank)
    return FoundMethods(MappingProxyType({method.name: method for method in all_methods}), tuple(problems))


def methods() -> Mapping[str, Method]:
    """Return every method by its name, in the order in which they are made."""
    return found().methods


def own_methods() -> Iterator[Method]:
    """Yield the methods of the files in `maps`. Raises ValueError if two have the same name."""
    names_used: set[str] = set()
    for module in sorted(module_info.name for module_info in pkgutil.iter_modules(maps.__path__)):
        for method in declared(import_module(f"{maps.__name__}.{module}")):
            names = {method.name, *method.outputs}
            if names & names_used:
                raise ValueError(f"{module}: the name {min(names & names_used)} is already used by another map")
            names_used |= names
            yield method


def method_name(word: str) -> str:
    """Return the method of that name, in any case, or the one so called by other programs, or the word itself."""
    lower = word.strip().lower()
    if lower in methods():
        return lower
    return next((name for name, method in methods().items() if lower in method.also), word)


def setting_name(name: str) -> str:
    """Return METHOD.NAME of a setting, also from other programs' words: ``parallax.kde_upsample_factor``."""
    prefix, dot, its_name = name.partition(".")
    method = methods().get(method_name(prefix))
    if not dot or method is None:
        return name
    aliases = {alias: full_name for full_name, map_setting in method.may_be_set.items() for alias in map_setting.also}
    return aliases.get(its_name, f"{method.name}.{its_name}")


def read_settings(values: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Split values into map settings (``wdd.epsilon``), validated, and all others. Raises MetadataError."""
    for name in values:
        section, dot, _ = name.partition(".")
        if dot and section not in SECTIONS and not is_of_a_map(name) and did_you_mean(section, methods()):
            setting(name)  # raises, suggesting the nearest method: no metadata resemble it
    others = {name: value for name, value in values.items() if not is_of_a_map(name)}
    return only_settings({name: value for name, value in values.items() if name not in others}), others


def is_of_a_map(name: str) -> bool:
    """Return whether a name is METHOD.SETTING of an existing method, whether the setting exists or not."""
    method, dot, _ = name.partition(".")
    return bool(dot) and method_name(method) in methods()


def setting(name: str) -> MapSetting:
    """Return the setting METHOD.NAME. Raises MetadataError if there is none."""
    if not is_of_a_map(name):
        method, dot, _ = name.partition(".")
        written = "write METHOD.NAME, as wdd.epsilon"
        near = did_you_mean(method, methods(), written) if dot else written
        raise MetadataError(f"{brief(name)} is not a map setting", near)
    full_name = setting_name(name)
    method, _, its_name = full_name.partition(".")
    settings = methods()[method].may_be_set
    if full_name not in settings:
        known = f"it has {', '.join(settings) or 'none'}"
        similar = did_you_mean(
            its_name, [known_name.partition(".")[2] for known_name in settings]
        )  # the shared method does not count
        hint = did_you_mean(full_name, settings, known) if similar else known
        raise MetadataError(f"{method} has no setting {brief(its_name)}", hint)
    return settings[full_name]


def only_settings(values: Mapping[str, Any]) -> dict[str, float]:
    """Validate map settings, by their full names. Raises MetadataError for others, and for one given twice."""
    chosen: dict[str, float] = {}
    for name, value in values.items():
        full_name, declaration = setting_name(name), setting(name)
        if full_name in chosen:
            raise MetadataError(f"{full_name} is given twice", f"leave {brief(name)} or its other name out")
        chosen[full_name] = declaration.checked(full_name, value)
    return chosen


def settings_table() -> str:
    """Return the settings of the built-in maps as a Markdown table."""
    rows = ["| setting | default | from, to | what it does |", "| --- | --- | --- | --- |"]
    for method in sorted(own_methods(), key=lambda one: one.rank):
        for name, one in method.may_be_set.items():
            about = " ".join([one.about, ", ".join(f"{word} ({n})" for n, word in enumerate(one.words))]).strip() + (
                f" (`{'`, `'.join(one.also)}`)" if one.also else ""
            )
            rows.append(f"| `{name}` | {_value(one)} | {one.low:g}, {one.high:g} | {about} |")
    return "\n".join(rows) + "\n"


def describe(chosen: Iterable[Method] | None = None) -> list[dict[str, Any]]:
    """Return the description of every map for viewers, plain values, in the order of a chooser (docs/protocol.md)."""
    pairs = [(method, words) for method in (methods().values() if chosen is None else chosen) for words in method.maps]
    return [
        _described(method, words) for method, words in sorted(pairs, key=lambda pair: (pair[1].place, pair[1].name))
    ]


def _described(method: Method, words: MapWords) -> dict[str, Any]:
    return {
        "name": words.name,
        "label": words.label,
        "units": words.units,
        "colour_map": str(words.colours),
        "place": words.place,
        "shows": words.shows,
        "trust": words.trust,
        "method": method.name,
        "afterwards": method.afterwards or bool(words.deviation_of),
        "linear": method.linear,
        "source": method.source,
        "settings": [
            {
                "name": name,
                "default": setting.default,
                "low": setting.low,
                "high": setting.high,
                "whole": setting.whole,
                "about": setting.meaning,
            }
            for name, setting in method.may_be_set.items()
        ],
    }


def table(chosen: Iterable[Method] | None = None) -> str:
    """Return the maps as a Markdown table; by default the built-in ones."""
    rows = ["| map | unit | shows | trust it | made from |", "| --- | --- | --- | --- | --- |"]
    for method in sorted(own_methods(), key=lambda one: one.rank) if chosen is None else chosen:
        for one in method.maps:
            if one.deviation_of:
                continue  # deviation maps all have the same description
            cells = (f"`{one.name}`", one.units, one.shows, one.trust, _made_from(method))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _value(value: MapSetting | float | str) -> str:
    if isinstance(value, MapSetting):
        return "chosen" if value.default is None else f"{value.default:g}"
    return str(value)


def _made_from(method: Method) -> str:
    parts = [str(method.needs)]
    if method.optics and method.needs is not Needs.FILTERS:
        parts.append("with " + ", ".join(method.optics))
    parts += [f"{name} = {_value(value)}" for name, value in method.settings.items()]
    parts += ["when the scan has ended"] if method.afterwards else []
    parts += [f"by {method.source}"] if method.source != PTYLIVE else []
    return "; ".join(parts)
