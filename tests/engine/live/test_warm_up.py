"""Code that maps need is compiled, or read from the cache, before the first frame."""

import subprocess
import sys

import pytest

from ptylive.engine.backend.imaging import bank_numba
from ptylive.engine.live.warm_up import warm_up_maps

WANTED = ("contract", "contract_pair", "interpolate", "less_mean", "responses")

LOADED = f"""
from ptylive.engine.backend.imaging import bank_numba
from ptylive.engine.live.warm_up import warm_up_maps
warm_up_maps()
print(*(name for name in {WANTED} if not getattr(bank_numba, name).signatures))
"""


def test_every_loop_of_the_maps_of_large_scans_is_called(monkeypatch):
    called = set()

    def noted(name):
        loop = getattr(bank_numba, name)
        return lambda *given: called.add(name) or loop(*given)

    for name in WANTED:
        monkeypatch.setattr(bank_numba, name, noted(name))
    warm_up_maps()
    assert called == set(WANTED)


@pytest.mark.slow
def test_maps_of_large_scans_wait_for_nothing_either():
    """Run in its own process, as other tests may have compiled the same code before."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
