"""Arguments of a command, checked against its signature."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from ptylive.schema import CommandError
from ptylive.server.serve.arguments import DEEPEST, check_form, checked


class Commands:
    def refine(self, name: str, epochs: int = 3, step: float | None = None, *, wait: bool = False) -> None:
        """For its signature."""

    def several(
        self,
        names: Iterable[str] = (),
        numbers: Iterable[float] = (),
        maps: Iterable[Mapping[str, Any]] = (),
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """For its signature."""


COMMANDS = Commands()


@pytest.mark.parametrize(
    ("given", "fitting"),
    [
        ({"name": "a"}, {"name": "a"}),
        ({"name": 12}, {"name": "12"}),
        ({"name": "a", "epochs": 4.0}, {"name": "a", "epochs": 4}),
        ({"name": "a", "step": 2}, {"name": "a", "step": 2.0}),
        ({"name": "a", "step": None}, {"name": "a", "step": None}),
        ({"name": "a", "epochs": None}, {"name": "a"}),
        ({"name": "a", "wait": True}, {"name": "a", "wait": True}),
    ],
)
def test_each_has_its_annotated_type(given, fitting):
    found = checked("refine", COMMANDS.refine, given)
    assert found == fitting
    assert [type(value) for value in found.values()] == [type(value) for value in fitting.values()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "refine needs name, text"),
        ({"name": None}, "name must be text, not None"),
        ({"name": True}, "name must be text"),
        ({"name": ["a"]}, "name must be text"),
        ({"name": "a", "epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"name": "a", "epochs": True}, "epochs must be a whole number"),
        ({"name": "a", "epochs": "2"}, "epochs must be a whole number"),
        ({"name": "a", "step": float("inf")}, "step must be a finite number"),
        ({"name": "a", "epochs": float("nan")}, "epochs must be a whole number"),
        ({"name": "a", "wait": 1}, "wait must be true or false"),
        ({"name": "a", "speed": 1}, "refine has no argument 'speed'"),
        ({"name": "a", "self": 1}, "refine has no argument 'self'"),
    ],
)
def test_the_first_that_does_not_fit_is_named(given, words):
    with pytest.raises(CommandError, match=words):
        checked("refine", COMMANDS.refine, given)


def test_what_a_command_takes_is_told():
    with pytest.raises(CommandError) as refused:
        checked("refine", COMMANDS.refine, {"speed": 1})
    assert refused.value.hint == "its arguments are: name, epochs, step, wait"


@pytest.mark.parametrize(
    ("given", "fitting"),
    [
        ({"names": ["a", 2]}, {"names": ["a", "2"]}),
        ({"names": "obf"}, {"names": ["obf"]}),
        ({"numbers": (1, 2.5)}, {"numbers": [1.0, 2.5]}),
        ({"maps": [{}, {"a": 1}]}, {"maps": [{}, {"a": 1}]}),
        ({"values": {"a": 1}}, {"values": {"a": 1}}),
        ({"values": None}, {"values": None}),
    ],
)
def test_lists_and_maps(given, fitting):
    assert checked("several", COMMANDS.several, given) == fitting


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"names": [["a"]]}, "a list of names"),
        ({"numbers": "12"}, "a list of finite numbers"),
        ({"numbers": [1.0, "2"]}, "a list of finite numbers"),
        ({"maps": [1]}, "a list of maps"),
        ({"maps": {}}, "a list of maps"),
        ({"values": []}, "a map of names to values"),
    ],
)
def test_other_lists_and_maps_are_refused(given, words):
    with pytest.raises(CommandError, match=words):
        checked("several", COMMANDS.several, given)


def nested(levels):
    inner = {}
    for level in range(levels - 1):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


def test_a_request_is_nested_only_so_deep():
    check_form({"request": nested(DEEPEST - 1)})
    with pytest.raises(CommandError, match=f"more than {DEEPEST} levels deep"):
        check_form({"request": nested(DEEPEST + 1)})


def test_keys_are_text_at_every_level():
    check_form({"a": [{"b": {"c": 1}}]})
    for wrong in ({1: 2}, {"a": [{"b": ({2: 3},)}]}):
        with pytest.raises(CommandError, match="a map has the key"):
            check_form(wrong)
