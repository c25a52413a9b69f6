"""Settings for every test: one thread per kernel, one store of compiled code, tests/ importable, no deadlines."""

import gc
import hashlib
import importlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ptylive.engine.backend.cache import use_persistent_cache

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# before anything compiled is imported, which would keep its code beside its source: servers would compile it again
use_persistent_cache()
sys.path.insert(0, str(Path(__file__).resolve().parent))

# how long an example takes is the machine's affair
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--card``: the tests of a device run on cupy and its GPU in the place of the stand-in."""
    parser.addoption("--card", action="store_true", help="tests of a device on the GPU of this machine")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is collected that imports the stand-in, or set up that several tests share."""
    config.pluginmanager.register(importlib.import_module("shared_values"))
    if config.getoption("--card"):
        sys.modules["strict_device"] = importlib.import_module("real_card")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in an order that is the same everywhere and has nothing to do with their names; within a file as they are.

    Tests of sockets, browsers and recordings wait, those of the engine compute: beside each other they take less time
    than one kind after the other.
    """
    items.sort(key=lambda item: hashlib.sha256(item.nodeid.split("::")[0].encode()).digest())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Ten thousand tests, each of many objects, stay to the end: nobody looks for garbage among them.

    Nor often among what tests make: a page has a hundred thousand objects, all of which are of use.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
        gc.enable()
