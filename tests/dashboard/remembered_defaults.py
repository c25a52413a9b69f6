"""What Bokeh finds out anew for every model of a page, found out once for all pages of the tests.

A page has a thousand models with some twenty properties each, most of which stay at the default of their class. Bokeh
reads that default, validates and wraps it for each model: a third of the time that it takes to make a page, and tests
make hundreds of pages. Remembered are defaults that cannot be changed in place, of models without a theme; whatever is
set is validated as ever.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor

UNCHANGING = (type(None), bool, int, float, str)
USED = [(HasProps, "_overridden_defaults"), (PropertyDescriptor, "_get_default")]
USED += [(PropertyDescriptor, "has_unstable_default")]


def remember_defaults() -> None:
    """For this process and what is forked from it; nothing where this release of Bokeh does not work like that."""
    if not all(hasattr(owner, name) for owner, name in USED):
        return
    found_by_bokeh, asked_of_bokeh = PropertyDescriptor._get_default, PropertyDescriptor.has_unstable_default
    known: dict[tuple[type[HasProps], str], Any] = {}
    unstable: dict[tuple[type[HasProps], str], bool] = {}

    def get_default(self: PropertyDescriptor[Any], model: HasProps) -> Any:
        if model.themed_values() is not None:
            return found_by_bokeh(self, model)
        key = (type(model), self.name)
        if key not in known:
            value = found_by_bokeh(self, model)
            if type(value) not in UNCHANGING or self.name in model._unstable_default_values:
                return value
            known[key] = value
        return known[key]

    def has_unstable_default(self: PropertyDescriptor[Any], model: HasProps) -> bool:
        key = (type(model), self.name)
        if key not in unstable:
            unstable[key] = asked_of_bokeh(self, model)
        return unstable[key]

    PropertyDescriptor._get_default = get_default
    PropertyDescriptor.has_unstable_default = has_unstable_default
    HasProps._overridden_defaults = classmethod(cache(HasProps._overridden_defaults.__func__))
