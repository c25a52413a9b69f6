"""128 x 128 scan of 256 x 256 uint16 patterns, 8 slices, full L-BFGS history: within 4 GiB."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_large_scan_fits_four_gibibytes():
    if psutil.virtual_memory().available < 6 << 30:
        pytest.skip("less than 6 GiB of memory are free")
    script = Path(__file__).with_name("large_refinement.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    peak, _, modes, slices, *_ = (int(word) for word in done.stdout.split())
    assert (modes, slices) == (1, 8)
    assert peak < 4 << 30
