"""Bounds of a machine; sizes are small here, since the measured values do not matter."""

import pytest

from ptylive.server.cli.bounds import measured


@pytest.fixture
def small(monkeypatch):
    for name, size in {"MEMORY_BYTES": 1 << 16, "DISK_BYTES": 1 << 12, "MESSAGE_BYTES": 1 << 10, "MESSAGES": 3}.items():
        monkeypatch.setattr(measured, name, size)
    monkeypatch.setattr(measured, "CODED_FRAMES", 2)
    monkeypatch.setattr(measured, "REPEATS", 1)


@pytest.mark.parametrize("part", [name for name in measured.PARTS if name not in ("clock", "fma", "l1_read, l2_read")])
def test_every_part_measures_what_it_is_named_after(small, part):
    found = measured.PARTS[part]()
    assert all(name in found for name in part.split(", "))
    assert all(value > 0 for value in found.values())


@pytest.mark.slow
def test_all_of_it_is_measured_here():
    found, missing = measured.measure()
    assert not missing
    assert {name for part in measured.PARTS for name in part.split(", ")} <= set(found)


def test_what_a_machine_lacks_is_said_and_the_rest_goes_on(monkeypatch):
    def nothing():
        raise OSError("no such thing here")

    monkeypatch.setattr(measured, "PARTS", {"disk_write": nothing, "loopback": lambda: {"loopback": 2.0}})
    assert measured.measure() == ({"loopback": 2.0}, {"disk_write": "OSError: no such thing here"})
