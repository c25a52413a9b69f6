"""Values shared by several tests are not written to: arrays that a fixture makes once are read-only for all tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """A fixture value made once is the same for every test, whichever came before."""
    value = yield
    if fixturedef.scope != "function":
        freeze(value)
    return value


def freeze(value: object) -> None:
    """Make arrays in frozen records, containers and namespaces read-only; other objects stay as they are."""
    _freeze(value, set())


def _freeze(value: object, seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        while isinstance(value, np.ndarray):
            value.flags.writeable = False  # and the array behind a view
            value = value.base
        return
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (tuple, list)):
        parts = list(value)
    elif isinstance(value, SimpleNamespace):
        parts = list(vars(value).values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value).__dataclass_params__.frozen:
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        return
    for part in parts:
        _freeze(part, seen)
