"""Parameters of which some are tested in every run, and the others with ``-m slow``."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def quick_first(values: Iterable[Any], quick: int = 1) -> list[Any]:
    """Values for ``parametrize``, with all but the first ``quick`` marked ``slow``; a tuple holds several arguments."""
    return [value if number < quick else _slow(value) for number, value in enumerate(values)]


def _slow(value: Any) -> ParameterSet:
    if isinstance(value, ParameterSet):
        return pytest.param(*value.values, marks=[*value.marks, pytest.mark.slow], id=value.id)
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
