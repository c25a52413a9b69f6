"""Settings for every test: one thread per kernel, one cache of compiled code, tests/ importable, no deadlines."""

import gc
import hashlib
import importlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# before numpy is imported, which reads them once: threads of BLAS that wait for work take a third more CPU time
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from ptylive.engine.backend.cache import use_persistent_cache  # noqa: E402
from ptylive.streamer.vetting import whole_file  # noqa: E402

# before any compiled code is imported: it would be cached next to its source, and servers would compile it again
use_persistent_cache()
sys.path.insert(0, str(Path(__file__).resolve().parent))

# the process that looks through files of a command stays to the end: each start costs half a second of imports
whole_file._READER = whole_file.Reader(kept_s=24 * 3600.0)

# the duration of an example depends on the machine
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--card``: device tests then run on cupy and its GPU instead of the stand-in; and ``--workers``."""
    parser.addoption("--card", action="store_true", help="tests of a device on the GPU of this machine")
    parser.addoption("--workers", type=int, default=1, metavar="N", help="run tests in N processes")


def pytest_configure(config: pytest.Config) -> None:
    """Runs before collection imports the stand-in, and before shared fixtures are set up."""
    config.pluginmanager.register(importlib.import_module("shared_values"))
    if config.getoption("--workers") > 1:
        config.pluginmanager.register(
            importlib.import_module("forked_workers").ForkedWorkers(config.getoption("--workers"))
        )
    if config.getoption("--card"):
        sys.modules["strict_device"] = importlib.import_module("real_card")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle files into an order that is the same everywhere and independent of their names; keep the order within a
    file.

    Tests of sockets, browsers and recordings wait, while those of the engine compute: mixed, they take less time than
    one kind after the other.
    """
    items.sort(key=lambda item: hashlib.sha256(item.nodeid.split("::")[0].encode()).digest())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude collected tests from garbage collection: ten thousand of them, each of many objects, stay to the end.

    Objects made by tests are collected less often, too: a page has a hundred thousand objects, all of them in use.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
        gc.enable()
