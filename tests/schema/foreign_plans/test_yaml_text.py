"""YAML read as plain values only."""

import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.yaml_text import DEEPEST, LARGEST, read_yaml


def test_values_lists_and_tables():
    assert read_yaml("a: 1\nb: {c: [1.5, null, 'x']}\n", "f") == {"a": 1, "b": {"c": [1.5, None, "x"]}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x\n", r"has aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", r"f, line 1: could not determine a constructor"),
        ("a: !!python/name:os.system\n", r"f, line 1"),
        ("a: [1\n", r"f, line 2"),
        ("[1, 2]", "does not hold a table"),
        ("", "does not hold a table"),
        ("a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested too deeply"),
        ("a: " + "{b: " * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("a" * (LARGEST + 1), "too large"),
        ("a: 2001-99-99", r"month must be in|f"),
        ("a: \x00", r"f"),
    ],
    ids=["alias", "call", "name", "open", "list", "empty", "deep", "very deep", "large", "date", "control"],
)
def test_everything_else_is_one_line(text, said):
    with pytest.raises(MetadataError, match=said) as caught:
        read_yaml(text, "f")
    assert "\n" not in caught.value.line()


def test_brackets_closed_again_are_not_deep():
    assert len(read_yaml("".join(f"a{n}: [1]\n" for n in range(10 * DEEPEST)), "f")) == 10 * DEEPEST
