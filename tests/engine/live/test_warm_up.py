"""Code that maps need is compiled, or read from the cache, before the first frame."""

import subprocess
import sys

import pytest

LOADED = """
from ptylive.engine.backend.imaging import bank_numba
from ptylive.engine.live.warm_up import warm_up_maps
warm_up_maps()
wanted = ("contract", "contract_pair", "interpolate", "less_mean", "responses")
print(*(name for name in wanted if not getattr(bank_numba, name).signatures))
"""


@pytest.mark.slow
def test_maps_of_large_scans_wait_for_nothing_either():
    """Run in its own process, as other tests may have compiled the same code before."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
