"""Parameters of which some are asked by every run of the tests, and the others by ``-m slow``."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def quick_first(values: Iterable[Any], quick: int = 1) -> list[Any]:
    """The values of ``parametrize``, all but the first ``quick`` of them marked ``slow``; a tuple is one of several
    arguments.
    """
    return [value if number < quick else _slow(value) for number, value in enumerate(values)]


def _slow(value: Any) -> ParameterSet:
    if isinstance(value, ParameterSet):
        return pytest.param(*value.values, marks=[*value.marks, pytest.mark.slow], id=value.id)
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
