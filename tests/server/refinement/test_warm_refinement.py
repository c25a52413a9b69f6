"""The compile cache filled by another process."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
from ptylive.server.refinement.warm_refinement import compiling
with compiling({pixels}, lambda *_: None):
    pass
"""


@pytest.mark.slow
def test_a_size_is_compiled_once(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for pixels in (30, 32):  # the same compiled code
        command = [sys.executable, "-c", PROGRAM.format(pixels=pixels)]
        subprocess.run(command, env=environment, check=True, timeout=200)
        assert len(list(tmp_path.rglob("compiled_kernel.add_loss_and_gradient*.nbc"))) == 1
        assert len(list(tmp_path.glob("refinement-32-*.compiled"))) == 1
