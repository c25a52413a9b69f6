"""What a browser may change on its page: every message is checked before Bokeh sees it.

Bokeh lets a client set any property of any model, add and remove roots, or replace the whole document. Here a message
may set the few properties that a person can operate, to values that their widgets offer, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from bokeh.document import Document
from bokeh.model import Model
from bokeh.models import (
    Button,
    ColumnDataSource,
    Plot,
    RadioButtonGroup,
    Range1d,
    ScaleBar,
    Select,
    Selection,
    Span,
    TextInput,
    Toggle,
)

from ptylive.dashboard.models import Asked, Shown
from ptylive.dashboard.panels.detectors import HANDLES, MOST_HANDLES
from ptylive.dashboard.requests import MAX_REQUEST_CHARACTERS

MOST_EVENTS = 200
"""Largest number of changes in one message: a page sends one, or a few at once."""
MOST_CHARACTERS = 64
"""Largest length of the text typed into a field without a bound of its own (``max_length``)."""
FARTHEST = 1e12
"""Upper bound of all coordinates of a picture, in Å, 1/Å, scan points or detector pixels."""
Plain = dict[str, Any]
Check = Callable[[Any, Any], bool]


class Refused(Exception):
    """A message that no page of ours sends; the text says what it tried."""


def is_finite(value: Any) -> bool:
    """Whether a value is a number that can be a coordinate on a picture."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FARTHEST


def is_text(value: Any, most: int = MOST_CHARACTERS) -> bool:
    """Whether a value is a text that can be passed on: not too long, no lone surrogates."""
    return isinstance(value, str) and len(value) <= most and value.encode(errors="replace").decode() == value


def _is_count(_model: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_choice(model: Select, value: Any) -> bool:
    offered = [option if isinstance(option, str) else option[0] for option in model.options]
    return isinstance(value, str) and value in offered


def _is_button_of(model: RadioButtonGroup, value: Any) -> bool:
    return _is_count(model, value) and value < len(model.labels)


def _fits_its_field(model: TextInput, value: Any) -> bool:
    return is_text(value, model.max_length or MOST_CHARACTERS)


OPERATED: Mapping[type[Model], Mapping[str, Check]] = MappingProxyType(
    {
        Asked: {"content": lambda _, value: is_text(value, MAX_REQUEST_CHARACTERS)},
        Shown: {"number": _is_count},
        Range1d: {"start": lambda _, value: is_finite(value), "end": lambda _, value: is_finite(value)},
        RadioButtonGroup: {"active": _is_button_of},
        Select: {"value": _is_choice},
        TextInput: {"value": _fits_its_field},
        Toggle: {"active": lambda _, value: isinstance(value, bool)},
    }
)
"""What a person operates, and the values it may be set to."""
REPORTED: Mapping[type[Model], frozenset[str]] = MappingProxyType(
    {
        Plot: frozenset({"inner_width", "inner_height", "outer_width", "outer_height"}),
        TextInput: frozenset({"value_input"}),
        ScaleBar: frozenset({"label_text_font_size", "bar_line_width"}),
        Span: frozenset({"location", "visible"}),
        Selection: frozenset({"indices", "line_indices", "multiline_indices", "image_indices", "view"}),
    }
)
"""What a browser reports or sets automatically (session.js)."""


class PageMessages:
    """Checks the messages of one page; ``read_only``: nothing that affects others is admitted."""

    def __init__(self, document: Document, *, read_only: bool) -> None:
        self._document, self._read_only = document, read_only

    def admitted(self, content: Any) -> list[Plain]:
        """Return the changes of a patch message that are to be applied, rebuilt from what was checked.

        Raises Refused for a message with any other change.
        """
        events = content.get("events") if isinstance(content, dict) else None
        if not isinstance(events, list) or len(events) > MOST_EVENTS:
            raise Refused("a message that is not a list of changes")
        checked = (self._checked(event) for event in events)
        return [event for event in checked if event is not None]

    def _checked(self, event: Any) -> Plain | None:
        kind = event.get("kind") if isinstance(event, dict) else None
        if kind == "ModelChanged":
            return self._change(event)
        if kind == "ColumnDataChanged":
            return self._columns(event)
        if kind == "MessageSent":
            return self._event(event)
        raise Refused(f"a change of kind {_short(kind)}")

    def _model(self, reference: Any) -> Model:
        name = reference.get("id") if isinstance(reference, dict) else None
        model = self._document.models.get_by_id(name) if isinstance(name, str) else None
        if model is None:
            raise Refused(f"a change of an unknown model {_short(name)}")
        return model

    def _change(self, event: Plain) -> Plain | None:
        model, attribute, value = self._model(event.get("model")), event.get("attr"), _number(event.get("new"))
        if _is_reported(model, attribute):
            return None
        if model.name == HANDLES and attribute == "data":
            return self._handles(model, value)
        check = next((checks.get(str(attribute)) for kind, checks in OPERATED.items() if isinstance(model, kind)), None)
        if check is None:
            raise Refused(f"a change of {type(model).__name__}.{_short(attribute)}")
        if not check(model, value):
            raise Refused(f"{type(model).__name__}.{_short(attribute)} = {_short(value)}")
        return {"kind": "ModelChanged", "model": {"id": model.id}, "attr": attribute, "new": value}

    def _columns(self, event: Plain) -> Plain:
        model = self._model(event.get("model"))
        if model.name != HANDLES or event.get("attr", "data") != "data":
            raise Refused(f"a change of the data of {_short(model.name)}")
        return self._handles(model, event.get("data"))

    def _handles(self, model: Model, value: Any) -> Plain:
        """Check dragged handles of virtual detectors: columns of equal length, coordinates and plain texts."""
        if self._read_only or not isinstance(model, ColumnDataSource):
            raise Refused("virtual detectors of a read-only page")
        columns = _columns(value)
        lengths = {len(column) for column in columns.values()}
        places = [*columns.get("x", []), *columns.get("y", [])]
        words = [*columns.get("key", []), *columns.get("colour", [])]
        complete = columns.keys() == {"x", "y", "key", "colour"} and len(lengths) == 1 and max(lengths) <= MOST_HANDLES
        if not (complete and all(map(is_finite, places)) and all(map(is_text, words))):
            raise Refused("handles of virtual detectors that do not exist")
        entries = [[name, list(column)] for name, column in columns.items()]
        new = {"type": "map", "entries": entries}
        return {"kind": "ModelChanged", "model": {"id": model.id}, "attr": "data", "new": new}

    def _event(self, event: Plain) -> Plain | None:
        """Admit a click on a button or on a picture; other Bokeh events have no listener here."""
        data = event.get("msg_data")
        if event.get("msg_type") != "bokeh_event" or not isinstance(data, dict):
            raise Refused(f"a message of type {_short(event.get('msg_type'))}")
        values = _columns(data.get("values"))
        name = data.get("name")
        if name == "button_click":
            entries = self._click(values)
        elif name == "tap":
            entries = self._tap(values)
        else:
            return None
        rebuilt = {"type": "event", "name": name, "values": {"type": "map", "entries": entries}}
        return {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": rebuilt} if entries else None

    def _click(self, values: Plain) -> list[list[Any]]:
        model = self._model(values.get("model"))
        if not isinstance(model, Button):
            raise Refused(f"a click on {type(model).__name__}")
        if self._read_only:
            raise Refused("a button of a read-only page")
        return [] if model.disabled else [["model", {"id": model.id}]]

    def _tap(self, values: Plain) -> list[list[Any]]:
        model = self._model(values.get("model"))
        if not isinstance(model, Plot):
            raise Refused(f"a tap on {type(model).__name__}")
        places = {name: _number(values.get(name)) for name in ("sx", "sy", "x", "y")}
        if not all(map(is_finite, places.values())):
            return []
        return [["model", {"id": model.id}], *([name, value] for name, value in places.items())]


def _is_reported(model: Model, attribute: Any) -> bool:
    return any(isinstance(model, kind) and attribute in names for kind, names in REPORTED.items())


def _columns(value: Any) -> Plain:
    """Read a map as Bokeh writes it, or a plain one; empty for anything else."""
    if isinstance(value, dict) and value.get("type") == "map":
        entries = value.get("entries")
        pairs: Iterable[Any] = entries if isinstance(entries, list) else ()
        value = {pair[0]: pair[1] for pair in pairs if _is_pair(pair)}
    if not isinstance(value, dict):
        return {}
    return value


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)


def _number(value: Any) -> Any:
    """Read a number that JSON cannot represent, as BokehJS writes it (it also does so for -0)."""
    if isinstance(value, dict) and value.get("type") == "number" and value.get("value") == "-0":
        return 0.0
    return value


def _short(value: Any) -> str:
    """The beginning of an external value, as one line."""
    return repr(value)[:60] if not isinstance(value, dict | list) else f"a {type(value).__name__}"
