"""Filters of several maps share a limited amount of memory."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.imaging import filters
from ptylive.engine.imaging.filters import FilterStock

SIZES = {"a": 1e9, "b": 1.5e9, "c": 2e9}


@pytest.fixture
def made(monkeypatch):
    """Names of the filters that were made, in order."""
    names = list[str]()

    def build(name):
        return lambda _conditions, _mean: names.append(name) or f"filters of {name}"

    monkeypatch.setattr(filters, "BUILDERS", {name: build(name) for name in SIZES})
    return names


def stock_of(most, background=None):
    stock = FilterStock(tuple(SIZES), background, SIZES, most)
    conditions = SimpleNamespace()
    conditions.focused_for = lambda _method: conditions
    stock.order(conditions, np.zeros(1))
    return stock


def test_what_fits_is_made_quickest_first_and_the_rest_is_told(made):
    stock = stock_of(3e9)
    stock.need(["c", "b", "a"])
    assert made == ["a", "b"]
    assert stock.crowded == {"c": "2.0 GB of filters do not fit into memory next to a and b: show fewer maps"}


def test_what_nobody_needs_any_more_makes_room(made):
    stock = stock_of(3e9)
    stock.need(["a", "b"])
    stock.need(["a", "c"])
    assert set(stock.ready) == {"a", "c"}
    assert not stock.crowded
    stock.need(["a"])
    assert set(stock.ready) == {"a", "c"}  # there is room for one that may be viewed again
    assert made == ["a", "b", "c"]


def test_one_method_is_made_whatever_it_takes(made):
    stock = stock_of(1e9)
    stock.need(["c"])
    assert made == ["c"]
    assert not stock.crowded


def test_what_is_being_made_makes_room_too(made):
    with ThreadPoolExecutor(1) as background:
        stock = stock_of(2e9, background)
        stock.need(["b"])
        stock.need(["c"])
    stock.collect()
    assert set(stock.ready) == {"c"}
