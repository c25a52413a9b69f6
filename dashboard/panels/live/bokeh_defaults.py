"""Caches what Bokeh looks up anew for every model, although it is the same for all models of a kind.

A page has hundreds of models, each with some sixty properties. For every property Bokeh checks whether its default
could differ between models, and looks up the default itself, which it copies and validates. Nearly all are numbers,
words and colours that never change, or empty lists: they are cached here, for every kind of model. Other defaults made
anew for each model (nested models), and everything that a theme sets, are looked up as before. Whether a theme sets
anything is looked up where it would be stored: Bokeh asks for an attribute that is nearly always missing, which takes
long.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, TypeAlias

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.core.property.validation import validate
from bokeh.core.property.wrappers import PropertyValueDict, PropertyValueList, PropertyValueSet

Descriptor: TypeAlias = PropertyDescriptor
Kind: TypeAlias = tuple[type[HasProps], Descriptor]
UNCHANGING = (int, float, str, bool, type(None))
"""Types of defaults that are immutable, and so can be given to every model."""
CONTAINERS = (PropertyValueList, PropertyValueDict, PropertyValueSet)
"""Types of containers that Bokeh has checked and that tell their models of changes."""


def with_known_kinds(lookup: Callable[[Descriptor, HasProps], bool]) -> Callable[[Descriptor, HasProps], bool]:
    """Cache whether defaults can differ between models (``has_unstable_default``), once for each kind."""
    known: dict[Kind, bool] = {}

    @wraps(lookup)
    def has_unstable_default(descriptor: Descriptor, model: HasProps) -> bool:
        kind = (type(model), descriptor)
        if kind not in known:
            known[kind] = lookup(descriptor, model)
        return known[kind]

    return has_unstable_default


def with_known_defaults(lookup: Callable[[Descriptor, HasProps], Any]) -> Callable[[Descriptor, HasProps], Any]:
    """Cache immutable defaults (``instance_default``), once for each kind, and which of them is a new empty container:
    Bokeh copies, checks and wraps one for every model, and most models have several.
    """
    known: dict[Kind, Any] = {}
    empty: dict[Kind, type] = {}

    @wraps(lookup)
    def instance_default(descriptor: Descriptor, model: HasProps) -> Any:
        if model.themed_values() is not None:
            return lookup(descriptor, model)
        kind = (type(model), descriptor)
        if kind in known:
            return known[kind]
        if kind in empty:
            return empty[kind]()
        default = lookup(descriptor, model)
        if type(default) in UNCHANGING and not descriptor.has_unstable_default(model):
            known[kind] = default
        elif type(default) in CONTAINERS and not default:
            empty[kind] = type(default)
        return default

    return instance_default


def with_theme_at_hand(lookup: Callable[[HasProps], Any]) -> Callable[[HasProps], Any]:
    """Look up what a theme has set (``themed_values``) without raising and catching an error."""

    @wraps(lookup)
    def themed_values(model: HasProps) -> Any:
        return vars(model).get("__themed_values__")

    return themed_values


def with_known_overrides(lookup: Any) -> Any:
    """Cache the defaults that a kind of model overrides (``_overridden_defaults``); Bokeh only reads them."""
    known: dict[type[HasProps], Any] = {}

    @wraps(lookup.__func__)
    def overridden(kind: type[HasProps]) -> Any:
        if kind not in known:
            known[kind] = lookup.__func__(kind)
        return known[kind]

    return classmethod(overridden)


REMEMBERED: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (PropertyDescriptor, "has_unstable_default", with_known_kinds),
    (PropertyDescriptor, "instance_default", with_known_defaults),
    (HasProps, "themed_values", with_theme_at_hand),
    (HasProps, "_overridden_defaults", with_known_overrides),
)
"""Methods of Bokeh, and what replaces each."""


@cache
def remember_defaults() -> None:
    """Make Bokeh use the caches; a method that another version of Bokeh lacks is left alone."""
    for owner, name, remember in REMEMBERED:
        if name in vars(owner):
            setattr(owner, name, remember(vars(owner)[name]))


def unchecked() -> AbstractContextManager[None]:
    """Store long lists of our own in models without validation: Bokeh checks every entry of them, several times over.

    Use it for nothing else: without validation, the name of a column is taken for a word.
    """
    context: AbstractContextManager[None] = validate(False)
    return context
