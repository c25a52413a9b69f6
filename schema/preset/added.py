"""Settings and words that the preset gets from others: regularisers and data terms say what they need themselves.

The schema knows none of them. Who does hands over a function (:func:`provided_by`) that declares them all
(:func:`declare`, :func:`declare_choice`). It is called when somebody asks for a name the preset does not have by
itself, or for all names; what it does after the first time is up to it.
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
    """One setting of a regulariser, as it stands among the others of a preset."""

    name: str
    """As people write it; a unit goes to its end (``_A``, ``_px``, ``_mrad``), as everywhere."""
    default: Value
    """Its type is the type of the setting."""
    help: str
    """One line."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    """The words a text may be; none: any text."""
    schedulable: bool = True
    """Whether an expression in ``epoch`` may stand instead of a value; texts never follow the epoch."""
    unit: str = ""
    """Where the name does not end in one."""
    pypty: str = ""
    """What PyPty calls it, where it has it."""

    @property
    def follows_epoch(self) -> bool:
        """Whether it takes an expression in ``epoch``."""
        return self.schedulable and not isinstance(self.default, str)

    def field(self) -> tuple[Any, FieldInfo]:
        """Type and field, as pydantic takes them."""
        kind: Any = Literal[self.choices] if self.choices else type(self.default)
        bounds = {"ge": self.at_least, "gt": self.above, "le": self.at_most, "lt": self.below}
        given: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
        described = f"{self.help} (PyPty: {self.pypty})" if self.pypty else self.help
        return kind, Field(default=self.default, description=described, **given)


@dataclass
class _Declared:
    """What has been declared so far."""

    settings: dict[str, Setting]
    owners: dict[str, str]
    choices: dict[str, dict[str, str]]
    """Setting -> word -> what it means."""
    sources: list[Callable[[], None]]


_declared = _Declared({}, {}, {}, [])
_lock = threading.Lock()


def provided_by(source: Callable[[], None]) -> None:
    """Have ``source`` declare what it knows when that is asked for first."""
    if source not in _declared.sources:
        _declared.sources.append(source)


def declare(owner: str, settings: Iterable[Setting], taken: Iterable[str]) -> None:
    """Add the settings of ``owner``: all of them or, with a MetadataError, none.

    ``taken``: names that are nobody's to give.
    """
    wanted, reserved = tuple(settings), frozenset(taken)
    with _lock:
        for setting in wanted:
            _check(owner, setting)
            if setting.name in reserved or setting.name in _declared.settings:
                whose = _declared.owners.get(setting.name, "the preset itself")
                raise MetadataError(f"{owner}: the setting {setting.name} is taken, by {whose}", "give it another name")
        if len({setting.name for setting in wanted}) < len(wanted):
            raise MetadataError(f"{owner} names a setting twice", "name each once")
        _declared.settings.update({setting.name: setting for setting in wanted})
        _declared.owners.update({setting.name: owner for setting in wanted})


def declare_choice(owner: str, setting: str, word: str, meaning: str) -> None:
    """Let ``setting`` be ``word`` too. Raises MetadataError for a word that somebody declared before."""
    with _lock:
        words = _declared.choices.setdefault(setting, {})
        if word in words:
            raise MetadataError(f"{owner}: {setting} = {word} is taken", "give it another name")
        words[word] = " ".join(meaning.split())


def declared(*, ask: bool = True) -> Mapping[str, Setting]:
    """The settings that were added, by name; with ``ask`` the sources have their turn first."""
    _had_their_turn(ask=ask)
    return dict(_declared.settings)


def added_words(setting: str) -> Mapping[str, str]:
    """The words that were added to a setting, and what they mean."""
    _had_their_turn(ask=True)
    return dict(_declared.choices.get(setting, {}))


def _had_their_turn(*, ask: bool) -> None:
    for source in tuple(_declared.sources) if ask else ():
        source()


def _check(owner: str, setting: Setting) -> None:
    if not _NAME.fullmatch(setting.name):
        raise MetadataError(f"{owner}: {brief(setting.name)} is no name for a setting", "letters, digits and _ only")
    if setting.choices and setting.default not in setting.choices:
        raise MetadataError(f"{owner}: the default of {setting.name} is none of its choices", "correct one of them")
    if not isinstance(setting.default, bool | int | float | str) or not setting.help.strip():
        raise MetadataError(
            f"{owner}: {setting.name} needs a default (truth, number or text) and a line of help", "give both"
        )
