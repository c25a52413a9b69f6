"""Caches what Bokeh looks up anew for every model, although it is the same for all models of a kind.

A page has hundreds of models, each with some sixty properties. For every property Bokeh checks whether its default
could differ between models, and looks up the default itself, which it copies and validates. Nearly all are numbers,
words and colours that never change: they are cached here, for every kind of model. Defaults made anew for each model
(lists, nested models), and everything that a theme sets, are looked up as before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, TypeAlias

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.core.property.validation import validate

Descriptor: TypeAlias = PropertyDescriptor
Kind: TypeAlias = tuple[type[HasProps], Descriptor]
UNCHANGING = (int, float, str, bool, type(None))
"""Types of defaults that are immutable, and so can be given to every model."""


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
    """Cache immutable defaults (``instance_default``), once for each kind."""
    known: dict[Kind, Any] = {}

    @wraps(lookup)
    def instance_default(descriptor: Descriptor, model: HasProps) -> Any:
        if model.themed_values() is not None:
            return lookup(descriptor, model)
        kind = (type(model), descriptor)
        if kind in known:
            return known[kind]
        default = lookup(descriptor, model)
        if type(default) in UNCHANGING and not descriptor.has_unstable_default(model):
            known[kind] = default
        return default

    return instance_default


@cache
def remember_defaults() -> None:
    """Make Bokeh use the caches; a method that another version of Bokeh lacks is left alone."""
    remembering: dict[str, Callable[[Any], Any]] = {
        "has_unstable_default": with_known_kinds,
        "instance_default": with_known_defaults,
    }
    for name, remember in remembering.items():
        if hasattr(PropertyDescriptor, name):
            setattr(PropertyDescriptor, name, remember(getattr(PropertyDescriptor, name)))


def unchecked() -> AbstractContextManager[None]:
    """Store long lists of our own in models without validation: Bokeh checks every entry of them, several times over.

    Use it for nothing else: without validation, the name of a column is taken for a word.
    """
    context: AbstractContextManager[None] = validate(False)
    return context
