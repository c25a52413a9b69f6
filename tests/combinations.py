"""Combinations of parameters: every pair of values in fast tests, all combinations in slow ones."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def every_two(*axes: Sequence[Any]) -> list[Any]:
    """Every combination of one value per axis, for ``parametrize``; all but a few that cover every pair are slow."""
    pairs = list(combinations(range(len(axes)), 2))
    every = list(product(*(range(len(axis)) for axis in axes)))
    missing = {(i, j, each[i], each[j]) for each in every for i, j in pairs}
    few = set()
    while missing:
        best = max(every, key=lambda each: len(missing.intersection((i, j, each[i], each[j]) for i, j in pairs)))
        missing.difference_update((i, j, best[i], best[j]) for i, j in pairs)
        few.add(best)
    return [
        pytest.param(
            *(axis[k] for axis, k in zip(axes, each, strict=True)), marks=() if each in few else pytest.mark.slow
        )
        for each in every
    ]
