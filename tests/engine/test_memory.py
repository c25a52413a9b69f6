"""Memory that a process may still take: what the machine has free, within the limit it was given."""

import math
import resource
from types import SimpleNamespace

import pytest

from ptylive.engine import memory
from ptylive.schema import MetadataError

GB = 10**9


@pytest.fixture
def machine(monkeypatch):
    """A machine with so much free, and a process that uses so much of a limit."""

    def has(free, used=0, limit=resource.RLIM_INFINITY):
        info = SimpleNamespace(memory_info=lambda: SimpleNamespace(vms=used))
        monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        monkeypatch.setattr(memory.psutil, "Process", lambda: info)
        monkeypatch.setattr(resource, "getrlimit", lambda _kind: (limit, limit))

    return has


def test_the_smaller_of_both_counts(machine):
    machine(8 * GB)
    assert memory.available_bytes() == 8 * GB
    machine(8 * GB, used=1 * GB, limit=3 * GB)
    assert memory.available_bytes() == 2 * GB
    machine(1 * GB, used=1 * GB, limit=3 * GB)
    assert memory.available_bytes() == 1 * GB
    machine(8 * GB, used=5 * GB, limit=3 * GB)
    assert memory.available_bytes() == 0


@pytest.mark.parametrize("needed", [2.1 * GB, math.inf, math.nan])
def test_what_does_not_fit_is_refused_with_both_numbers(machine, needed):
    machine(2 * GB)
    memory.check_fits(1.9 * GB, "the object", "use fewer slices")
    with pytest.raises(MetadataError, match=r"the object would take .* GB, 2 GB are free") as caught:
        memory.check_fits(needed, "the object", "use fewer slices")
    assert "use fewer slices" in caught.value.line()
