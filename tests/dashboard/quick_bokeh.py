"""Pages in less time: what Bokeh works out anew for every model is the same for all models of a class.

A page is a thousand models, each of a hundred properties. Of each Bokeh gathers which defaults the classes of a model
change, asks whether its default is made anew for each model, and copies and validates it where it is not.
"""

from typing import Any

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor

CHANGED = (
    (HasProps, "_overridden_defaults"),
    (PropertyDescriptor, "has_unstable_default"),
    (PropertyDescriptor, "instance_default"),
)
"""Bokeh's own: where another version lacks one of them, pages take their time."""


def remember() -> None:
    """Work these out once for each class, from now on; values that the program gives are looked at as always."""
    if not all(name in vars(owner) for owner, name in CHANGED):
        return
    defaults = HasProps._overridden_defaults.__func__
    unstable, of_instance = PropertyDescriptor.has_unstable_default, PropertyDescriptor.instance_default
    of_classes: dict[type, dict[str, Any]] = {}
    made_anew: dict[tuple[type, str], bool] = {}
    the_same: dict[tuple[type, str], Any] = {}

    def overridden_defaults(cls: type) -> dict[str, Any]:
        if cls not in of_classes:
            of_classes[cls] = defaults(cls)
        return of_classes[cls]

    def has_unstable_default(self: Any, obj: Any) -> bool:
        key = type(obj), self.name
        if key not in made_anew:
            made_anew[key] = unstable(self, obj)
        return made_anew[key]

    def instance_default(self: Any, obj: Any) -> Any:
        if obj.themed_values() or has_unstable_default(self, obj):
            return of_instance(self, obj)
        key = type(obj), self.name
        if key not in the_same:
            the_same[key] = of_instance(self, obj)
        return the_same[key]

    HasProps._overridden_defaults = classmethod(overridden_defaults)
    PropertyDescriptor.has_unstable_default = has_unstable_default
    PropertyDescriptor.instance_default = instance_default
