"""Settings and words added to the preset from outside: regularisers and data terms declare what they need themselves.

The schema does not contain them. A provider registers a function (:func:`provided_by`) that declares them all
(:func:`declare`, :func:`declare_choice`). It is called when a name that the preset itself lacks is requested, or all
names are; what it does on later calls is up to it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from ptylive.schema.errors import MetadataError, brief

Value = bool | int | float | str
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,59}")


@dataclass(frozen=True)
class Setting:
    """One setting of a regulariser, on a par with the others of a preset."""

    name: str
    """Name as people write it; a unit is appended (``_A``, ``_px``, ``_mrad``), as everywhere."""
    default: Value
    """Default value; its type is the type of the setting."""
    help: str
    """Help text of one line."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    """Allowed words of a text setting; empty: any text."""
    schedulable: bool = True
    """Whether an expression in ``epoch`` may replace a value; texts never follow the epoch."""
    unit: str = ""
    """Unit, if the name does not end in one."""
    pypty: str = ""
    """PyPty's name for it, if any."""

    @property
    def follows_epoch(self) -> bool:
        """Whether it accepts an expression in ``epoch``."""
        return self.schedulable and not isinstance(self.default, str)

    def field(self) -> tuple[Any, FieldInfo]:
        """Return type and field in the form pydantic needs."""
        kind: Any = Literal[self.choices] if self.choices else type(self.default)
        bounds = {"ge": self.at_least, "gt": self.above, "le": self.at_most, "lt": self.below}
        given: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
        described = f"{self.help} (PyPty: {self.pypty})" if self.pypty else self.help
        return kind, Field(default=self.default, description=described, **given)


@dataclass
class _Declared:
    """Everything that has been declared so far."""

    settings: dict[str, Setting]
    owners: dict[str, str]
    choices: dict[str, dict[str, str]]
    """Setting -> word -> its meaning."""
    sources: list[Callable[[], None]]


_declared = _Declared({}, {}, {}, [])
_lock = threading.Lock()


def provided_by(source: Callable[[], None]) -> None:
    """Register ``source``, which declares its settings when these are first requested."""
    if source not in _declared.sources:
        _declared.sources.append(source)


def declare(owner: str, settings: Iterable[Setting], taken: Iterable[str]) -> None:
    """Add the settings of ``owner``: all of them or, with a MetadataError, none.

    ``taken``: reserved names.
    """
    wanted, reserved = tuple(settings), frozenset(taken)
    with _lock:
        for setting in wanted:
            _check(owner, setting)
            if setting.name in reserved or setting.name in _declared.settings:
                whose = _declared.owners.get(setting.name, "the preset itself")
                raise MetadataError(
                    f"{owner}: the setting {setting.name} is already used by {whose}", "give it another name"
                )
        if len({setting.name for setting in wanted}) < len(wanted):
            raise MetadataError(f"{owner} names a setting twice", "name each once")
        _declared.settings.update({setting.name: setting for setting in wanted})
        _declared.owners.update({setting.name: owner for setting in wanted})


def declare_choice(owner: str, setting: str, word: str, meaning: str) -> None:
    """Add ``word`` to the values of ``setting``. Raises MetadataError for a word that was declared before."""
    with _lock:
        words = _declared.choices.setdefault(setting, {})
        if word in words:
            raise MetadataError(f"{owner}: {setting} = {word} is already used", "give it another name")
        words[word] = " ".join(meaning.split())


def declared(*, ask: bool = True) -> Mapping[str, Setting]:
    """The added settings by name; with ``ask`` the sources are called first."""
    _load_sources(ask=ask)
    return dict(_declared.settings)


def added_words(setting: str) -> Mapping[str, str]:
    """The words that were added to a setting, and their meanings."""
    _load_sources(ask=True)
    return dict(_declared.choices.get(setting, {}))


def _load_sources(*, ask: bool) -> None:
    for source in tuple(_declared.sources) if ask else ():
        source()


def _check(owner: str, setting: Setting) -> None:
    if not _NAME.fullmatch(setting.name):
        raise MetadataError(
            f"{owner}: {brief(setting.name)} is not a valid name for a setting", "letters, digits and _ only"
        )
    if setting.choices and setting.default not in setting.choices:
        raise MetadataError(f"{owner}: the default of {setting.name} is not one of its choices", "correct one of them")
    if not isinstance(setting.default, bool | int | float | str) or not setting.help.strip():
        raise MetadataError(
            f"{owner}: {setting.name} needs a default (truth, number or text) and a line of help", "give both"
        )
